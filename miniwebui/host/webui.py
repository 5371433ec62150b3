"""The host: reads the command line, loads extensions, model and page, and serves them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

HOST = Path(__file__).resolve().parent
REPOSITORY = HOST.parent.parent
for _folder in (str(REPOSITORY), str(HOST)):
    if _folder in sys.path:
        sys.path.remove(_folder)
    sys.path.insert(0, _folder)

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
# Gradio asks its own port whether it is up; a proxy must not stand between.
for _name in ("no_proxy", "NO_PROXY"):
    _hosts = [x for x in os.environ.get(_name, "").split(",") if x]
    os.environ[_name] = ",".join(dict.fromkeys([*_hosts, "127.0.0.1", "localhost"]))

from modules import timer  # noqa: E402 - the path is set above


def install_extensions() -> None:
    """Run the installer of each extension in a process of its own, as A1111 does."""
    from modules import extensions, shared

    if shared.cmd_opts.skip_install:
        return
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HOST), os.environ.get("PYTHONPATH", "")])}
    for extension in extensions.active():
        installer = os.path.join(extension.path, "install.py")
        if os.path.isfile(installer):
            result = subprocess.run(
                [sys.executable, installer], env=environment, cwd=extension.path, capture_output=True, text=True,
                check=False,
            )  # fmt: skip
            if result.stdout:
                print(result.stdout.rstrip())
            if result.returncode != 0:
                print(f"*** {installer} failed:\n{result.stderr}", file=sys.stderr)


def initialize() -> None:
    """Everything before the page: settings, extensions, scripts, the model."""
    from modules import shared_init

    # First of all: other modules take `shared.opts` when they are imported.
    shared_init.initialize()
    from modules import call_queue, extensions, gradio_extensons, scripts, sd_models, sd_samplers, sd_unet, shared

    timer.startup_timer.record("imports")
    gradio_extensons.install()
    sd_samplers.set_samplers()
    extensions.list_extensions()
    install_extensions()
    timer.startup_timer.record("extensions")
    prepare_weights()
    sd_models.setup_model()
    sd_models.list_models()
    scripts.load_scripts()
    sd_unet.list_unets()
    shared.opts.onchange("sd_model_checkpoint", call_queue.wrap_queued_call(sd_models.reload_model_weights), call=False)
    if not (shared.cmd_opts.nowebui and shared.cmd_opts.skip_load_model_at_start):
        _ = shared.sd_model
        timer.startup_timer.record("model")


def prepare_weights() -> None:
    """Make the stand-in weights where no checkpoint is given, and show the extension the folder of motion modules."""
    from modules import shared

    if os.path.isfile(shared.cmd_opts.ckpt or ""):
        return
    from miniwebui import standin

    made = standin.ensure(shared.data_path)
    key = "animatediff_model_path"
    if made.motion and not shared.opts.data.get(key):
        shared.opts.data[key] = str(Path(next(iter(made.motion.values()))).parent)
    timer.startup_timer.record("stand-in weights")


def create_api(app) -> None:
    from modules.api.api import Api
    from modules.call_queue import queue_lock

    Api(app, queue_lock)


def add_routes(app) -> None:
    """Routes beside the page's own."""
    from modules import progress, ui

    progress.setup_progress_api(app)
    ui.setup_ui_api(app)


def server_name() -> str | None:
    from modules.shared import cmd_opts

    return cmd_opts.server_name or ("0.0.0.0" if cmd_opts.listen else None)


def api_only() -> None:
    """Serve the API without the page."""
    import uvicorn
    from fastapi import FastAPI
    from modules import script_callbacks, shared

    initialize()
    app = FastAPI()
    add_routes(app)
    script_callbacks.before_ui_callback()
    create_api(app)
    script_callbacks.app_started_callback(None, app)
    print(f"Startup time: {timer.startup_timer.summary()}.", flush=True)
    options = shared.cmd_opts
    config = uvicorn.Config(
        app, host=server_name() or "127.0.0.1", port=options.port or 7861, log_level="warning",
        timeout_keep_alive=options.timeout_keep_alive, root_path=f"/{options.subpath}" if options.subpath else "",
    )  # fmt: skip
    server = uvicorn.Server(config)
    _stop_on_command(server)
    server.run()


def _stop_on_command(server) -> None:
    """End the server when the API asks for it."""
    import threading

    from modules import shared

    def wait() -> None:
        while shared.state.wait_for_server_command() not in ("stop", "restart"):
            continue
        server.should_exit = True

    threading.Thread(target=wait, daemon=True).start()


def allowed_paths() -> list[str]:
    """Folders whose files the page may show."""
    from modules import extensions, paths_internal, shared

    opts = shared.opts
    names = [x for x in opts.data_labels if x.startswith("outdir_")]
    folders = [paths_internal.default_output_dir, str(HOST), *shared.cmd_opts.gradio_allowed_path]
    folders += [getattr(opts, x) for x in names if getattr(opts, x)]
    folders += [x.path for x in extensions.active()]
    return [os.path.abspath(x) for x in dict.fromkeys(folders)]


def webui() -> None:
    """Serve the page, and the API if asked for."""
    initialize()
    from modules import gradio_extensons, script_callbacks, shared, ui

    script_callbacks.before_ui_callback()
    demo = shared.demo = ui.create_ui()
    timer.startup_timer.record("page")
    queue = {"default_concurrency_limit": 64} if gradio_extensons.GRADIO_4 else {"concurrency_count": 64}
    demo.queue(**queue)
    options = shared.cmd_opts
    app, local_url, _ = demo.launch(
        server_name=server_name(),
        server_port=options.port,
        inbrowser=options.autolaunch,
        prevent_thread_lock=True,
        allowed_paths=allowed_paths(),
        root_path=f"/{options.subpath}" if options.subpath else None,
        app_kwargs={"docs_url": "/docs", "redoc_url": "/redoc"},
        quiet=True,
    )
    # Gradio answers any origin; pages of other sites must not reach the API. The stack is rebuilt with our parts.
    app.user_middleware = [x for x in app.user_middleware if "CORS" not in x.cls.__name__]
    app.middleware_stack = None
    add_routes(app)
    if options.api:
        create_api(app)
    script_callbacks.app_started_callback(demo, app)
    print(f"Running on local URL:  {local_url}")
    print(f"Startup time: {timer.startup_timer.summary()}.", flush=True)
    try:
        while shared.state.wait_for_server_command(timeout=5) not in ("stop", "restart"):
            continue
    except KeyboardInterrupt:
        print("Interrupted, stopping.")
    demo.close()
    time.sleep(0.2)


def main() -> None:
    from modules.shared import cmd_opts

    if cmd_opts.nowebui:
        api_only()
    else:
        webui()


if __name__ == "__main__":
    main()
