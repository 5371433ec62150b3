"""The class every script derives from, and the arguments its hooks receive (`modules.scripts` re-exports all)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

AlwaysVisible = object()


@dataclass
class MaskBlendArgs:
    """One blend of the original latent outside the inpaint mask; the final one has no denoiser."""

    current_latent: Any
    nmask: Any
    init_latent: Any
    mask: Any
    blended_latent: Any
    denoiser: Any = None
    sigma: Any = None

    @property
    def is_final_blend(self) -> bool:
        return self.denoiser is None


@dataclass
class PostSampleArgs:
    samples: Any


@dataclass
class PostprocessImageArgs:
    image: Any


@dataclass
class PostProcessMaskOverlayArgs:
    index: int
    mask_for_overlay: Any
    overlay_image: Any


@dataclass
class PostprocessBatchListArgs:
    images: list


@dataclass
class OnComponent:
    component: Any


def call_hook(p, hook: str, *args, **kwargs) -> None:
    """Call a hook of the scripts of a request; a request without scripts calls nothing."""
    if p.scripts is not None:
        getattr(p.scripts, hook)(p, *args, **kwargs)


def blend(p, latent, mask, nmask, original, denoiser=None, sigma=None):
    """The latent where ``nmask`` is 1 and the original one where ``mask`` is 1; scripts may change it."""
    args = MaskBlendArgs(latent, nmask, original, mask, latent * nmask + original * mask, denoiser, sigma)
    call_hook(p, "on_mask_blend", args)
    return args.blended_latent


# Hooks of a generation in the order they come in: name -> what the runner hands on before the script's own arguments.
# All take keyword arguments too.
HOOKS = {
    "setup": "p",
    "before_process": "p",
    "process": "p",
    "before_process_batch": "p",
    "after_extra_networks_activate": "p",
    "process_batch": "p",
    "process_before_every_sampling": "p",
    "on_mask_blend": "p, a MaskBlendArgs",
    "before_hr": "p",
    "post_sample": "p, a PostSampleArgs",
    "postprocess_batch": "p",
    "postprocess_batch_list": "p, a PostprocessBatchListArgs",
    "postprocess_image": "p, a PostprocessImageArgs",
    "postprocess_maskoverlay": "p, a PostProcessMaskOverlayArgs",
    "postprocess_image_after_composite": "p, a PostprocessImageArgs",
    "postprocess": "p, the Processed",
}
COMPONENT_HOOKS = ("before_component", "after_component")


class Script:
    """A script of the page. Hooks do nothing by default; the runner calls only those a subclass defines.

    The hooks are methods of the names in HOOKS and COMPONENT_HOOKS; the latter get a component and the keyword
    arguments it was made with.
    """

    name = section = filename = tabname = group = api_info = controls = None
    args_from = args_to = infotext_fields = paste_field_names = None
    alwayson = is_txt2img = is_img2img = setup_for_ui_only = False
    on_before_component_elem_id = on_after_component_elem_id = None
    create_group = True

    def title(self) -> str:
        """The name in the page and, in lower case, in the API."""
        raise NotImplementedError

    def ui(self, is_img2img: bool):
        """Make the components; their values are handed to the hooks in the order of the returned list."""

    def show(self, is_img2img: bool):
        """False: not on this tab; True: in the list of scripts; AlwaysVisible: always on."""
        return True

    def run(self, p, *args):
        """Called instead of process_images when the script is chosen in the list."""

    def on_before_component(self, callback, *, elem_id: str) -> None:
        """Call `callback(OnComponent)` before the component with this id is made."""
        self._want("on_before_component_elem_id", elem_id, callback)

    def on_after_component(self, callback, *, elem_id: str) -> None:
        """Call `callback(OnComponent)` after the component with this id is made."""
        self._want("on_after_component_elem_id", elem_id, callback)

    def _want(self, where: str, elem_id: str, callback) -> None:
        setattr(self, where, [*(getattr(self, where) or []), (elem_id, callback)])

    def describe(self) -> str:
        return ""

    def _tab_prefix(self) -> str:
        both = self.show(True) == self.show(False)
        return ("img2img_" if self.is_img2img else "txt2img_") if both else ""

    def elem_id(self, item_id: str) -> str:
        """An id for a component: script_{tab}_{title}_{item}."""
        title = re.sub("[^a-z_0-9]", "", re.sub(r"\s", "_", self.title().lower()))
        return f"script_{self._tab_prefix()}{title}_{item_id}"


def _no_hook(self, *args, **kwargs) -> None:
    """Does nothing."""


for _name in (*HOOKS, *COMPONENT_HOOKS):
    setattr(Script, _name, _no_hook)


class ScriptBuiltinUI(Script):
    """A part of the page itself, written as a script; its setup runs for the page only, not for the API."""

    setup_for_ui_only = True

    def elem_id(self, item_id: str) -> str:
        return f"{self._tab_prefix()}{item_id}"

    def show(self, is_img2img: bool):
        return AlwaysVisible
