"""Renders one animation through the real extension over HTTP and prints the files it made."""

from __future__ import annotations

import argparse
import sys
import threading
import time
from pathlib import Path

from miniwebui import server
from miniwebui.environment import REPOSITORY

PROMPT = "a red ball rolls over green grass, blue sky"


def motion_module(url: str) -> str:
    """A motion module the host lists, one of family v3 if there is."""
    for script in server.request(f"{url}/sdapi/v1/script-info"):
        for argument in script["args"] if script["name"] == "animatediff" else []:
            if argument["label"] == "Motion module" and argument["choices"]:
                names = argument["choices"]
                return next((x for x in names if "v3" in x), names[0])
    raise RuntimeError(
        "The host lists no motion module: put one into the folder of the setting animatediff_model_path."
    )


def request_body(model: str, frames: int) -> dict:
    """A request a client would send: txt2img with AnimateDiff switched on."""
    animation = {
        "enable": True,
        "model": model,
        "video_length": frames,
        "fps": 8,
        "format": ["GIF", "MP4", "WEBP"],
    }
    return {
        "prompt": PROMPT,
        "seed": 1,
        "steps": 20,
        "width": 128,
        "height": 128,
        "cfg_scale": 7.5,
        "sampler_name": "Euler",
        "alwayson_scripts": {"AnimateDiff": {"args": [animation]}},
    }


def files_below(folder: Path) -> set[Path]:
    return {x for x in folder.rglob("*") if x.is_file()} if folder.is_dir() else set()


def show_progress(url: str, done: threading.Event) -> None:
    """A line that is rewritten as steps are done, until the event is set."""
    shown = ""
    while not done.wait(0.5):
        try:
            answer = server.request(f"{url}/sdapi/v1/progress?skip_current_image=true", timeout=10)
        except (OSError, RuntimeError):
            continue
        state = answer["state"]
        line = f"[demo] {answer['progress'] * 100:3.0f} %  step {state['sampling_step']}/{state['sampling_steps']}"
        if answer["progress"] and line != shown:
            print(f"\r{line}   ", end="", flush=True)
            shown = line


def render(url: str, frames: int) -> list[Path]:
    """Send the request; the new files below the host's output folder."""
    folder = Path(server.request(f"{url}/sdapi/v1/options")["outdir_txt2img_samples"])
    body = request_body(motion_module(url), frames)
    before = files_below(folder)
    done = threading.Event()
    watcher = threading.Thread(target=show_progress, args=(url, done), daemon=True)
    watcher.start()
    started = time.monotonic()
    try:
        server.request(f"{url}/sdapi/v1/txt2img", body)
    finally:
        done.set()
        watcher.join()
    print(f"\r[demo] {frames} frames in {time.monotonic() - started:.1f} s          ", flush=True)
    return sorted(files_below(folder) - before)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m miniwebui")
    parser.add_argument("--frames", type=int, default=16, help="number of frames, 16 by default")
    parser.add_argument("--url", default=None, help="use a WebUI that already runs")
    own, rest = parser.parse_known_args(arguments)
    if own.url:
        files = render(own.url.rstrip("/"), own.frames)
    else:
        print("[demo] Starting miniwebui ...", flush=True)
        log = REPOSITORY / ".cache" / "miniwebui" / "demo.log"
        with server.start(["--nowebui", *rest], log=log, progress=sys.stdout) as running:
            try:
                files = render(running.url, own.frames)
            except RuntimeError:
                print(running.tail(), file=sys.stderr)
                raise
    if not files:
        print("[demo] The host wrote no file; its output is in .cache/miniwebui/demo.log.", file=sys.stderr)
        return 1
    print("[demo] Written:")
    for path in files:
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
