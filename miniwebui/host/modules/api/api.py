"""The HTTP API under /sdapi/v1, with A1111's routes, names and shapes of errors."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import socket
import time
from contextlib import closing
from io import BytesIO
from secrets import compare_digest
from typing import Any
from urllib.parse import urlparse

import gradio as gr
from fastapi import Depends, FastAPI, Request, Response
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import HTTPException
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from PIL import Image

from modules import (
    errors,
    images,
    infotext_utils,
    progress,
    script_callbacks,
    scripts,
    sd_models,
    sd_samplers,
    sd_schedulers,
    shared,
    ui,
)
from modules.api import models
from modules.processing import StableDiffusionProcessingImg2Img, StableDiffusionProcessingTxt2Img, process_images

# Request fields that are not the processing's.
_NOT_FOR_PROCESSING = (
    "script_name", "script_args", "alwayson_scripts", "infotext", "send_images", "save_images", "force_task_id",
    "include_init_images", "sampler_index",
)  # fmt: skip


def _failure(detail: str, status: int = 500) -> HTTPException:
    return HTTPException(status, detail)


def verify_url(url: str) -> bool:
    """True if all addresses of the host in the URL are public."""
    try:
        addresses = socket.gethostbyname_ex(urlparse(url).netloc)[2]
        return all(ipaddress.ip_address(x).is_global for x in addresses)
    except (OSError, ValueError):
        return False


def decode_base64_to_image(encoding: str) -> Image.Image:
    """An image from base64 text, a data URI, or (where the settings allow it) a URL."""
    if encoding.startswith(("http://", "https://")):
        return _download_image(encoding)
    data = encoding.rpartition(",")[2] if encoding.startswith("data:") else encoding
    try:
        return images.read(BytesIO(base64.b64decode(data)))
    except (OSError, binascii.Error, ValueError) as error:
        raise _failure("Invalid encoded image") from error


def _download_image(url: str) -> Image.Image:
    import httpx

    wanted = shared.opts
    for allowed, reason in (
        (wanted.api_enable_requests, "Requests not allowed"),
        (not wanted.api_forbid_local_requests or verify_url(url), "Request to local resource not allowed"),
    ):
        if not allowed:
            raise _failure(reason)
    agent = {"user-agent": wanted.api_useragent} if wanted.api_useragent else {}
    try:
        return images.read(BytesIO(httpx.get(url, timeout=30, headers=agent).content))
    except (OSError, httpx.HTTPError) as error:
        raise _failure("Invalid image url") from error


def encode_pil_to_base64(image: Image.Image | str) -> str:
    """The image as base64 of a file in the format of the settings; a text stays as it is."""
    if isinstance(image, str):
        return image
    kind = shared.opts.samples_format.lower()
    buffer = BytesIO()
    if kind == "png":
        image.save(buffer, format="PNG", pnginfo=images.png_texts(image.info))
    elif kind in ("jpg", "jpeg", "webp"):
        plain = image.convert("RGB") if image.mode in ("RGBA", "P") else image
        exif = images.exif_with_comment(image.info.get("parameters") or "")
        plain.save(buffer, format="WEBP" if kind == "webp" else "JPEG", exif=exif, quality=shared.opts.jpeg_quality)
    else:
        raise _failure("Invalid image format")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def api_middleware(app: FastAPI) -> None:
    """Time of each request in a header; every exception as JSON, with the status and detail it carries itself."""

    @app.middleware("http")
    async def log_and_time(request: Request, call_next):
        started = time.time()
        response: Response = await call_next(request)
        duration = str(round(time.time() - started, 4))
        response.headers["X-Process-Time"] = duration
        path = request.scope.get("path", "")
        if shared.cmd_opts.api_log and path.startswith("/sdapi"):
            print(f"API {response.status_code} {request.method} {path} {duration} s")
        return response

    async def handle_exception(request: Request, error: Exception) -> JSONResponse:
        own = vars(error)
        content = {
            "error": type(error).__name__,
            "detail": own.get("detail", ""),
            "body": own.get("body", ""),
            "errors": str(error),
        }
        if not isinstance(error, HTTPException):
            errors.report(f"API error: {request.method}: {request.url} {content}", exc_info=True)
        return JSONResponse(status_code=own.get("status_code", 500), content=jsonable_encoder(content))

    @app.middleware("http")
    async def answer_errors(request: Request, call_next):
        try:
            answer = await call_next(request)
        except Exception as error:  # noqa: BLE001 - each becomes an answer
            answer = await handle_exception(request, error)
        return answer

    for kind in (Exception, HTTPException):
        app.add_exception_handler(kind, handle_exception)


class Api:
    """The routes, bound to an application."""

    def __init__(self, app: FastAPI, queue_lock) -> None:
        self.app = app
        self.queue_lock = queue_lock
        self.credentials = dict(x.split(":", 1) for x in (shared.cmd_opts.api_auth or "").split(",") if ":" in x)
        api_middleware(app)
        get, post = ["GET"], ["POST"]
        for path, endpoint, methods, response in (
            ("txt2img", self.text2imgapi, post, models.TextToImageResponse),
            ("img2img", self.img2imgapi, post, models.ImageToImageResponse),
            ("png-info", self.pnginfoapi, post, models.PNGInfoResponse),
            ("progress", self.progressapi, get, models.ProgressResponse),
            ("interrupt", self.interruptapi, post, None),
            ("skip", self.skip, post, None),
            ("options", self.get_config, get, None),
            ("options", self.set_config, post, None),
            ("cmd-flags", self.get_cmd_flags, get, None),
            ("samplers", self.get_samplers, get, list[models.SamplerItem]),
            ("schedulers", self.get_schedulers, get, list[models.SchedulerItem]),
            ("upscalers", self.get_upscalers, get, list[models.UpscalerItem]),
            ("latent-upscale-modes", self.list_latent_upscale_modes, get, list[models.LatentUpscalerModeItem]),
            ("sd-models", self.get_sd_models, get, list[models.SDModelItem]),
            ("sd-vae", self.get_nothing, get, None),
            ("prompt-styles", self.get_nothing, get, None),
            ("refresh-checkpoints", self.list_checkpoints_again, post, None),
            ("unload-checkpoint", self.unloadapi, post, None),
            ("reload-checkpoint", self.reloadapi, post, None),
            ("scripts", self.get_scripts_list, get, models.ScriptsList),
            ("script-info", self.get_script_info, get, list[models.ScriptInfo]),
        ):
            self.add_api_route(f"/sdapi/v1/{path}", endpoint, methods=methods, response_model=response)

        if not scripts.scripts_txt2img.scripts or not scripts.scripts_img2img.scripts:
            ui.create_ui()
        self.default_script_arg_txt2img = self.init_default_script_args(scripts.scripts_txt2img)
        self.default_script_arg_img2img = self.init_default_script_args(scripts.scripts_img2img)

    def add_api_route(self, path: str, endpoint, **kwargs) -> None:
        if self.credentials:
            kwargs["dependencies"] = [Depends(self.auth)]
        self.app.add_api_route(path, endpoint, **kwargs)

    def auth(self, credentials: HTTPBasicCredentials = Depends(HTTPBasic())) -> bool:  # noqa: B008 - FastAPI's way
        expected = self.credentials.get(credentials.username)
        if expected is not None and compare_digest(credentials.password.encode(), expected.encode()):
            return True
        raise HTTPException(401, "Incorrect username or password", headers={"WWW-Authenticate": "Basic"})

    # Generation

    def init_default_script_args(self, runner: scripts.ScriptRunner) -> list:
        """The values a page that nobody touched would send: made by calling each ui() again."""
        args: list[Any] = [None] * max([1, *[x.args_to or 0 for x in runner.scripts]])
        args[0] = 0
        with gr.Blocks():
            for script in runner.scripts:
                controls = scripts.wrap_call(script.ui, script.filename, "ui", script.is_img2img)
                if controls:
                    args[script.args_from : script.args_to] = [x.value for x in controls]
        return args

    @staticmethod
    def _find_script(name: str, candidates: list) -> Any:
        for script in candidates:
            if script.title().lower() == name.lower():
                return script
        raise HTTPException(status_code=422, detail=f"Script '{name}' not found")

    def init_script_args(self, request, defaults: list, selected, runner: scripts.ScriptRunner, from_infotext: dict):
        """Arguments of all scripts: defaults, then the infotext's, then the request's."""
        args = list(defaults)
        for index, value in from_infotext.items():
            args[index] = value
        if selected is not None:
            args[selected.args_from : selected.args_to] = request.script_args or []
            args[0] = runner.selectable_scripts.index(selected) + 1
        for name, given in (request.alwayson_scripts or {}).items():
            script = self._find_script(name, runner.scripts)
            if not script.alwayson:
                raise HTTPException(422, "Cannot have a selectable script in the always on scripts params")
            if "args" in given:
                for offset, value in enumerate(given["args"][: script.args_to - script.args_from]):
                    args[script.args_from + offset] = value
        return args

    def apply_infotext(self, request, tab: str, runner: scripts.ScriptRunner) -> dict[int, Any]:
        """Fill what the request leaves out from its infotext; the values of script arguments by index."""
        if not request.infotext:
            return {}
        types = models.txt2img_fields if tab == "txt2img" else models.img2img_fields
        fields = infotext_utils.paste_fields[tab]["fields"]
        read = infotext_utils.parse_generation_parameters(request.infotext)

        def value_of(field) -> Any:
            value = field.value_in(read)
            if isinstance(value, dict) and "__type__" in value:
                value = value.get("value")
            kind = types[field.api][0] if field.api in types else type(getattr(field.component, "value", None))
            if value is None or kind is type(None):
                return None
            return value if kind is Any or isinstance(value, kind) else kind(value)

        written = models.fields_set(request)
        left_out = [x for x in fields if x.api in types and x.api not in written]
        for name, value in [(x.api, value_of(x)) for x in left_out]:
            if value is not None:
                setattr(request, name, value)
        settings = {key: value for _, key, value in infotext_utils.get_override_settings(read)}
        request.override_settings = {**settings, **(request.override_settings or {})}

        indexes = {id(x): i for i, x in enumerate(runner.inputs)}
        found = {indexes[id(x.component)]: value_of(x) for x in fields if id(x.component) in indexes}
        return {index: value for index, value in found.items() if value is not None}

    def _generate(self, request, tab: str, runner: scripts.ScriptRunner, defaults: list, make, changes: dict):
        """Run one request; the finished Processed."""
        task = request.force_task_id or progress.create_task_id(tab)
        from_infotext = self.apply_infotext(request, tab, runner)
        selected = self._find_script(request.script_name, runner.selectable_scripts) if request.script_name else None
        name, scheduler = sd_samplers.get_sampler_and_scheduler(
            request.sampler_name or request.sampler_index, request.scheduler
        )
        if name not in sd_samplers.all_samplers_map:
            raise _failure("Sampler not found", 400)
        args = {k: v for k, v in vars(request).items() if k not in _NOT_FOR_PROCESSING}
        args.update(changes, sampler_name=name)
        args["do_not_save_samples"] = args["do_not_save_grid"] = not request.save_images
        if not args.get("scheduler") and scheduler != "Automatic":
            args["scheduler"] = scheduler
        script_args = self.init_script_args(request, defaults, selected, runner, from_infotext)

        progress.add_task_to_queue(task)
        with self.queue_lock, closing(make(sd_model=shared.sd_model, **args)) as p:
            p.is_api = True
            p.scripts = runner
            p.outpath_grids = getattr(shared.opts, f"outdir_{tab}_grids")
            p.outpath_samples = getattr(shared.opts, f"outdir_{tab}_samples")
            try:
                shared.state.begin(job=f"scripts_{tab}")
                progress.start_task(task)
                p.script_args = script_args if selected is not None else tuple(script_args)
                processed = runner.run(p, *p.script_args) if selected is not None else process_images(p)
                progress.finish_task(task)
            finally:
                shared.state.end()
        return processed, [encode_pil_to_base64(x) for x in processed.images] if request.send_images else []

    @staticmethod
    def _answer(kind: type, request, processed, encoded: list[str]):
        return kind(images=encoded, parameters=dict(vars(request)), info=processed.js())

    def text2imgapi(self, request: models.StableDiffusionTxt2ImgProcessingAPI):
        done = self._generate(
            request, "txt2img", scripts.scripts_txt2img, self.default_script_arg_txt2img,
            StableDiffusionProcessingTxt2Img, {},
        )  # fmt: skip
        return self._answer(models.TextToImageResponse, request, *done)

    def img2imgapi(self, request: models.StableDiffusionImg2ImgProcessingAPI):
        if request.init_images is None:
            raise _failure("Init image not found", 404)
        pictures = {
            "init_images": [decode_base64_to_image(x) for x in request.init_images],
            "mask": decode_base64_to_image(request.mask) if request.mask else None,
        }
        done = self._generate(
            request, "img2img", scripts.scripts_img2img, self.default_script_arg_img2img,
            StableDiffusionProcessingImg2Img, pictures,
        )  # fmt: skip
        if request.include_init_images is not True:
            request.init_images = request.mask = None
        return self._answer(models.ImageToImageResponse, request, *done)

    # Progress

    def progressapi(self, req: models.ProgressRequest = Depends()):  # noqa: B008 - FastAPI's way
        state = shared.state
        if state.job_count == 0:
            return models.ProgressResponse(progress=0, eta_relative=0, state=state.dict(), textinfo=state.textinfo)
        done = min(0.01 + progress.fraction_done(), 1)
        elapsed = time.time() - state.time_start
        state.set_current_image()
        image = None if req.skip_current_image else state.current_image
        return models.ProgressResponse(
            progress=done,
            eta_relative=elapsed / done - elapsed,
            state=state.dict(),
            current_image=encode_pil_to_base64(image) if image is not None else None,
            textinfo=state.textinfo,
            current_task=progress.current_task,
        )

    def interruptapi(self):
        shared.state.interrupt()
        return {}

    def skip(self):
        shared.state.skip()

    # Facts and settings

    def pnginfoapi(self, picture: models.PNGInfoRequest):
        text, items = images.read_info_from_image(decode_base64_to_image(picture.image.strip()))
        parameters = infotext_utils.parse_generation_parameters(text or "")
        script_callbacks.infotext_pasted_callback(text or "", parameters)
        return models.PNGInfoResponse(info=text or "", items=jsonable_encoder(items), parameters=parameters)

    def get_config(self):
        return {k: v for k, v in shared.opts.data.items() if isinstance(v, (str, int, float, list, dict, type(None)))}

    def set_config(self, wanted: dict[str, Any]):
        checkpoint = wanted.get("sd_model_checkpoint")
        if checkpoint is not None and checkpoint not in sd_models.checkpoint_aliases:
            raise RuntimeError(f"model {checkpoint!r} not found")
        for pair in wanted.items():
            shared.opts.set(*pair, is_api=True)
        shared.opts.save(filename=shared.config_filename)

    def get_cmd_flags(self):
        return vars(shared.cmd_opts)

    def get_samplers(self):
        return [{"name": x.name, "aliases": x.aliases, "options": x.options} for x in sd_samplers.all_samplers]

    def get_schedulers(self):
        names = ("name", "label", "aliases", "default_rho", "need_inner_model")
        return [{key: getattr(x, key, None) for key in names} for x in sd_schedulers.schedulers]

    def get_upscalers(self):
        return [{"name": x.name, "scale": x.scale} for x in shared.sd_upscalers]

    def list_latent_upscale_modes(self):
        return [{"name": x} for x in shared.latent_upscale_modes]

    def get_sd_models(self):
        return [
            {
                "title": x.title,
                "model_name": x.model_name,
                "hash": x.shorthash,
                "sha256": x.sha256,
                "filename": x.filename,
            }
            for x in sd_models.checkpoints_list.values()
        ]

    def get_nothing(self):
        """Kinds of models this host does not have."""
        return []

    def _locked(self, action) -> dict:
        with self.queue_lock:
            action()
        return {}

    def list_checkpoints_again(self):
        self._locked(sd_models.list_models)

    def unloadapi(self):
        return self._locked(sd_models.unload_model_weights)

    def reloadapi(self):
        return self._locked(sd_models.reload_model_weights)

    def get_scripts_list(self):
        names = [
            [x.name for x in runner.scripts if x.name is not None]
            for runner in (scripts.scripts_txt2img, scripts.scripts_img2img)
        ]
        return models.ScriptsList(txt2img=names[0], img2img=names[1])

    def get_script_info(self):
        runners = (scripts.scripts_txt2img, scripts.scripts_img2img)
        return [x.api_info for runner in runners for x in runner.scripts if x.api_info is not None]
