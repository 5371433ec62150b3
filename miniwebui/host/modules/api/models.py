"""Requests and responses of the API. The generation requests are made from the fields of the processing classes,
so a name A1111 accepts is accepted here; both pydantic 1 and 2 are served."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any, Union

import pydantic
from pydantic import Field, create_model

from modules.processing import StableDiffusionProcessingImg2Img, StableDiffusionProcessingTxt2Img

PYDANTIC_2 = pydantic.VERSION.startswith("2.")

if PYDANTIC_2:

    class BaseModel(pydantic.BaseModel):
        model_config = {"protected_namespaces": (), "arbitrary_types_allowed": True}

else:
    BaseModel = pydantic.BaseModel

# Filled by the host, never by a request.
_NOT_ALLOWED = {
    "sd_model", "outpath_samples", "outpath_grids", "sampler_index", "extra_generation_params", "overlay_images",
    "do_not_reload_embeddings", "seed_enable_extras", "prompt_for_display", "sampler_noise_scheduler_override",
    "ddim_discretize",
}  # fmt: skip
_PLAIN = (bool, int, float, str)


def _plain_type(hint: Any) -> Any:
    """The type a request field is checked against; anything but plain types, lists and dicts is let through."""
    if hint in _PLAIN:
        return hint
    origin = typing.get_origin(hint)
    if origin in (Union, types.UnionType):
        inner = [x for x in typing.get_args(hint) if x is not type(None)]
        return _plain_type(inner[0]) if len(inner) == 1 else Any
    if origin in (list, tuple) or hint in (list, tuple):
        inner = [_plain_type(x) for x in typing.get_args(hint)]
        return list[inner[0]] if origin is list and inner and inner[0] in _PLAIN else list
    return dict if origin is dict or hint is dict else Any


def _fields_of(cls: type) -> dict[str, tuple[Any, Any]]:
    """Name -> (type, default) of each constructor argument a request may fill."""
    hints = typing.get_type_hints(cls)
    result = {}
    for field in dataclasses.fields(cls):
        if not field.init or field.name in _NOT_ALLOWED or field.name.startswith("_"):
            continue
        default = None if field.default is dataclasses.MISSING or isinstance(field.default, property) else field.default
        result[field.name] = (_plain_type(hints.get(field.name, Any)), default)
    return result


_COMMON: dict[str, tuple[Any, Any]] = {
    "sampler_index": (str, "Euler"),
    "script_name": (str, None),
    "script_args": (list, []),
    "send_images": (bool, True),
    "save_images": (bool, False),
    "alwayson_scripts": (dict, {}),
    "force_task_id": (str, None),
    "infotext": (str, None),
}
_IMG2IMG: dict[str, tuple[Any, Any]] = {
    "init_images": (list, None),
    "denoising_strength": (float, 0.75),
    "mask": (str, None),
    "include_init_images": (bool, False),
}

txt2img_fields = {**_fields_of(StableDiffusionProcessingTxt2Img), **_COMMON}
img2img_fields = {**_fields_of(StableDiffusionProcessingImg2Img), **_IMG2IMG, **_COMMON}


def _request_model(name: str, fields: dict[str, tuple[Any, Any]]) -> type[BaseModel]:
    members = {key: (kind | None, Field(default=default)) for key, (kind, default) in fields.items()}
    return create_model(name, __base__=BaseModel, **members)


StableDiffusionTxt2ImgProcessingAPI = _request_model("StableDiffusionProcessingTxt2Img", txt2img_fields)
StableDiffusionImg2ImgProcessingAPI = _request_model("StableDiffusionProcessingImg2Img", img2img_fields)


def fields_set(request: BaseModel) -> set[str]:
    """Names the client wrote."""
    return set(request.model_fields_set if PYDANTIC_2 else request.__fields_set__)


class TextToImageResponse(BaseModel):
    images: list[str] | None = None
    parameters: dict
    info: str


class ImageToImageResponse(TextToImageResponse):
    pass


class PNGInfoRequest(BaseModel):
    image: str


class PNGInfoResponse(BaseModel):
    info: str
    items: dict = {}
    parameters: dict = {}


class ProgressRequest(BaseModel):
    skip_current_image: bool = False


class ProgressResponse(BaseModel):
    progress: float
    eta_relative: float
    state: dict
    current_image: str | None = None
    textinfo: str | None = None
    current_task: str | None = None


class SamplerItem(BaseModel):
    name: str
    aliases: list[str]
    options: dict[str, Any]


class SchedulerItem(BaseModel):
    name: str
    label: str
    aliases: list[str] | None = None
    default_rho: float | None = None
    need_inner_model: bool | None = None


class UpscalerItem(BaseModel):
    name: str
    model_name: str | None = None
    model_path: str | None = None
    model_url: str | None = None
    scale: float | None = None


class LatentUpscalerModeItem(BaseModel):
    name: str


class SDModelItem(BaseModel):
    title: str
    model_name: str
    hash: str | None = None
    sha256: str | None = None
    filename: str
    config: str | None = None


class ScriptsList(BaseModel):
    txt2img: list = []
    img2img: list = []


class ScriptArg(BaseModel):
    label: str | None = None
    value: Any | None = None
    minimum: Any | None = None
    maximum: Any | None = None
    step: Any | None = None
    choices: list[str] | None = None


class ScriptInfo(BaseModel):
    name: str | None = None
    is_alwayson: bool | None = None
    is_img2img: bool | None = None
    args: list[ScriptArg]


def script_arg(control: Any) -> ScriptArg:
    """Description of one component of a script."""
    values = {name: getattr(control, name, None) for name in ("value", "minimum", "maximum", "step")}
    choices = getattr(control, "choices", None)
    if choices is not None:
        choices = [str(x[0] if isinstance(x, (tuple, list)) else x) for x in choices]
    return ScriptArg(label=getattr(control, "label", None) or "", choices=choices, **values)
