"""The class every script derives from, and the arguments its hooks receive (`modules.scripts` re-exports all)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

AlwaysVisible = object()


class MaskBlendArgs:
    """One blend of the original latent outside the inpaint mask; the final one has no denoiser."""

    def __init__(self, current_latent, nmask, init_latent, mask, blended_latent, denoiser=None, sigma=None):
        self.current_latent = current_latent
        self.nmask = nmask
        self.init_latent = init_latent
        self.mask = mask
        self.blended_latent = blended_latent
        self.denoiser = denoiser
        self.is_final_blend = denoiser is None
        self.sigma = sigma


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


class Script:
    """A script of the page. Hooks do nothing by default; the runner calls only those a subclass defines."""

    name = None
    section = None
    filename = None
    args_from = None
    args_to = None
    alwayson = False
    is_txt2img = False
    is_img2img = False
    tabname = None
    group = None
    create_group = True
    infotext_fields = None
    paste_field_names = None
    api_info = None
    on_before_component_elem_id = None
    on_after_component_elem_id = None
    setup_for_ui_only = False
    controls = None

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

    def setup(self, p, *args):
        """When the processing object is made."""

    def before_process(self, p, *args):
        """Before settings are overridden and seeds and prompts are expanded."""

    def process(self, p, *args):
        """Before the first batch."""

    def before_process_batch(self, p, *args, **kwargs):
        """Before the batch's extra networks are parsed from its prompts."""

    def after_extra_networks_activate(self, p, *args, **kwargs):
        """After the batch's extra networks came on."""

    def process_before_every_sampling(self, p, *args, **kwargs):
        """Before each sampling, the hires pass included."""

    def process_batch(self, p, *args, **kwargs):
        """Before the batch's conditions are computed."""

    def postprocess_batch(self, p, *args, **kwargs):
        """After the batch's images are decoded."""

    def postprocess_batch_list(self, p, pp: PostprocessBatchListArgs, *args, **kwargs):
        """As postprocess_batch, with a list that may be changed."""

    def on_mask_blend(self, p, mba: MaskBlendArgs, *args):
        """At each blend of inpainting."""

    def post_sample(self, p, ps: PostSampleArgs, *args):
        """After sampling, before the decoder."""

    def postprocess_image(self, p, pp: PostprocessImageArgs, *args):
        """For each image, before inpaint's composite."""

    def postprocess_maskoverlay(self, p, ppmo: PostProcessMaskOverlayArgs, *args):
        """For each image, before the overlay is put on."""

    def postprocess_image_after_composite(self, p, pp: PostprocessImageArgs, *args):
        """For each image, after inpaint's composite."""

    def postprocess(self, p, processed, *args):
        """At the end."""

    def before_hr(self, p, *args):
        """Before the hires pass."""

    def before_component(self, component, **kwargs):
        """Before any component of the page is made."""

    def after_component(self, component, **kwargs):
        """After any component of the page is made."""

    def on_before_component(self, callback, *, elem_id: str) -> None:
        """Call `callback(OnComponent)` before the component with this id is made."""
        self.on_before_component_elem_id = [*(self.on_before_component_elem_id or []), (elem_id, callback)]

    def on_after_component(self, callback, *, elem_id: str) -> None:
        """Call `callback(OnComponent)` after the component with this id is made."""
        self.on_after_component_elem_id = [*(self.on_after_component_elem_id or []), (elem_id, callback)]

    def describe(self) -> str:
        return ""

    def _tab_prefix(self) -> str:
        both = self.show(True) == self.show(False)
        return ("img2img_" if self.is_img2img else "txt2img_") if both else ""

    def elem_id(self, item_id: str) -> str:
        """An id for a component: script_{tab}_{title}_{item}."""
        title = re.sub("[^a-z_0-9]", "", re.sub(r"\s", "_", self.title().lower()))
        return f"script_{self._tab_prefix()}{title}_{item_id}"


class ScriptBuiltinUI(Script):
    """A part of the page itself, written as a script; its setup runs for the page only, not for the API."""

    setup_for_ui_only = True

    def elem_id(self, item_id: str) -> str:
        return f"{self._tab_prefix()}{item_id}"

    def show(self, is_img2img: bool):
        return AlwaysVisible
