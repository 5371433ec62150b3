"""Callbacks outside scripts: one list per event; what a callback raises is reported and the rest go on."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from modules import errors, extensions, shared, util


@dataclass
class ImageSaveParams:
    """An image about to be saved: the PIL image, the processing, the file name, the texts of a PNG."""

    image: Any
    p: Any
    filename: str
    pnginfo: dict


@dataclass
class ExtraNoiseParams:
    """Noise, clean latent and noised latent of img2img's extra noise."""

    noise: Any
    x: Any
    xi: Any


@dataclass
class CFGDenoiserParams:
    """The batch handed to the UNet in one step."""

    x: Any
    image_cond: Any
    sigma: Any
    sampling_step: int
    total_sampling_steps: int
    text_cond: Any
    text_uncond: Any
    denoiser: Any = None


@dataclass
class CFGDenoisedParams:
    """What the UNet gave, before guidance."""

    x: Any
    sampling_step: int
    total_sampling_steps: int
    inner_model: Any


@dataclass
class AfterCFGCallbackParams:
    """The latent after guidance."""

    x: Any
    sampling_step: int
    total_sampling_steps: int


@dataclass
class UiTrainTabParams:
    txt2img_preview_params: Any


@dataclass
class ImageGridLoopParams:
    imgs: list
    cols: int
    rows: int


@dataclass
class BeforeTokenCounterParams:
    prompt: str
    steps: int
    styles: list
    is_positive: bool = True


@dataclass
class ScriptCallback:
    script: str
    callback: Callable
    name: str = "unnamed"


EVENTS = (
    "app_started", "model_loaded", "ui_tabs", "ui_train_tabs", "ui_settings", "before_image_saved", "image_saved",
    "extra_noise", "cfg_denoiser", "cfg_denoised", "cfg_after_cfg", "before_component", "after_component",
    "image_grid", "infotext_pasted", "script_unloaded", "before_ui", "on_reload", "list_optimizers", "list_unets",
    "before_token_counter",
)  # fmt: skip

callback_map: dict[str, list[ScriptCallback]] = {f"callbacks_{event}": [] for event in EVENTS}


def add_callback(
    callbacks: list[ScriptCallback],
    fun: Callable,
    *,
    name: str | None = None,
    category: str = "unknown",
    filename: str | None = None,
) -> None:
    """Append a callback under the name extension/file/event[/name], made unique with a number."""
    if filename is None:
        frame = sys._getframe(1)
        while frame.f_back is not None and frame.f_code.co_filename == __file__:
            frame = frame.f_back
        filename = frame.f_code.co_filename
    owner = extensions.find_extension(filename)
    parts = [owner.canonical_name if owner else "base", os.path.basename(filename), category]
    base = "/".join(parts + ([name] if name else []))
    taken = {x.name for x in callbacks}
    unique, number = base, 1
    while unique in taken:
        number += 1
        unique = f"{base}-{number}"
    callbacks.append(ScriptCallback(filename, fun, unique))


def sort_callbacks(category: str, callbacks: list[ScriptCallback], *, enable_user_sort: bool = True) -> list:
    """Order by the wishes of the extensions' metadata.ini, then by the user's list of favourites."""
    by_name = {x.name: x for x in callbacks}
    after: dict[str, list[str]] = {name: [] for name in by_name}
    wishes = (w for x in extensions.extensions for w in x.metadata.list_callback_order_instructions())
    for wish in (w for w in wishes if w.name in by_name):
        after[wish.name] += [x for x in wish.after if x in by_name]
        for other in wish.before:
            after.get(other, []).append(wish.name)
    result = [by_name[x] for x in util.topological_sort(after)]
    if enable_user_sort:
        favourites = getattr(shared.opts, f"prioritized_callbacks_{category}", [])
        result.sort(key=lambda x: favourites.index(x.name) if x.name in favourites else len(favourites))
    return result


def ordered_callbacks(category: str) -> list[ScriptCallback]:
    return sort_callbacks(category, callback_map[f"callbacks_{category}"])


def clear_callbacks() -> None:
    for callbacks in callback_map.values():
        callbacks.clear()


def remove_current_script_callbacks() -> None:
    """Take out all callbacks of the script that calls this."""
    filename = inspect.stack()[1].filename
    for callbacks in callback_map.values():
        callbacks[:] = [x for x in callbacks if x.script != filename]


def remove_callbacks_for_function(callback_func: Callable) -> None:
    for callbacks in callback_map.values():
        callbacks[:] = [x for x in callbacks if x.callback != callback_func]


def _run(category: str, *args, **kwargs) -> list:
    """Call each callback of an event; the results of those that raised nothing."""
    results = []
    for entry in ordered_callbacks(category):
        try:
            results.append(entry.callback(*args, **kwargs))
        except Exception:  # noqa: BLE001 - one extension must not stop the host
            errors.report(f"Error executing callback {category}_callback for {entry.script}", exc_info=True)
    return results


def app_started_callback(demo, app) -> None:
    _run("app_started", demo, app)


def app_reload_callback() -> None:
    _run("on_reload")


def model_loaded_callback(sd_model) -> None:
    _run("model_loaded", sd_model)


def ui_tabs_callback() -> list:
    return [tab for tabs in _run("ui_tabs") for tab in tabs or []]


def ui_train_tabs_callback(params: UiTrainTabParams) -> None:
    _run("ui_train_tabs", params)


def ui_settings_callback() -> None:
    _run("ui_settings")


def before_image_saved_callback(params: ImageSaveParams) -> None:
    _run("before_image_saved", params)


def image_saved_callback(params: ImageSaveParams) -> None:
    _run("image_saved", params)


def extra_noise_callback(params: ExtraNoiseParams) -> None:
    _run("extra_noise", params)


def cfg_denoiser_callback(params: CFGDenoiserParams) -> None:
    _run("cfg_denoiser", params)


def cfg_denoised_callback(params: CFGDenoisedParams) -> None:
    _run("cfg_denoised", params)


def cfg_after_cfg_callback(params: AfterCFGCallbackParams) -> None:
    _run("cfg_after_cfg", params)


def before_component_callback(component, **kwargs) -> None:
    _run("before_component", component, **kwargs)


def after_component_callback(component, **kwargs) -> None:
    _run("after_component", component, **kwargs)


def image_grid_callback(params: ImageGridLoopParams) -> None:
    _run("image_grid", params)


def infotext_pasted_callback(infotext: str, params: dict[str, Any]) -> None:
    _run("infotext_pasted", infotext, params)


def script_unloaded_callback() -> None:
    _run("script_unloaded")


def before_ui_callback() -> None:
    _run("before_ui")


def list_optimizers_callback() -> list:
    found: list = []
    _run("list_optimizers", found)
    return found


def list_unets_callback() -> list:
    found: list = []
    _run("list_unets", found)
    return found


def before_token_counter_callback(params: BeforeTokenCounterParams) -> None:
    _run("before_token_counter", params)


def _registrar(category: str) -> Callable:
    def register(callback: Callable, *, name: str | None = None) -> None:
        add_callback(callback_map[f"callbacks_{category}"], callback, name=name, category=category)

    register.__name__ = f"on_{category.removeprefix('on_')}"
    register.__doc__ = f"Register a callback for the event {category!r}."
    return register


on_app_started = _registrar("app_started")
on_before_reload = _registrar("on_reload")
on_model_loaded = _registrar("model_loaded")
on_ui_tabs = _registrar("ui_tabs")
on_ui_train_tabs = _registrar("ui_train_tabs")
on_ui_settings = _registrar("ui_settings")
on_before_image_saved = _registrar("before_image_saved")
on_image_saved = _registrar("image_saved")
on_extra_noise = _registrar("extra_noise")
on_cfg_denoiser = _registrar("cfg_denoiser")
on_cfg_denoised = _registrar("cfg_denoised")
on_cfg_after_cfg = _registrar("cfg_after_cfg")
on_before_component = _registrar("before_component")
on_after_component = _registrar("after_component")
on_image_grid = _registrar("image_grid")
on_infotext_pasted = _registrar("infotext_pasted")
on_script_unloaded = _registrar("script_unloaded")
on_before_ui = _registrar("before_ui")
on_list_optimizers = _registrar("list_optimizers")
on_list_unets = _registrar("list_unets")
on_before_token_counter = _registrar("before_token_counter")
