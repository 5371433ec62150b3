"""One generation of the host, from the script's first hook to its last.

The host swallows what a script hook raises and makes a plain image instead, so the hooks only remember an error; it
is raised where the host cannot swallow it: in ``p.init``, before anything is sampled, or in the sampler's call.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from lib_animatediff.errors import AnimateDiffError, ModelFileError, UnsupportedError
from lib_animatediff.fields import FIELD
from lib_animatediff.film import film_between
from lib_animatediff.hosts.conds import Travel
from lib_animatediff.hosts.protocol import Host
from lib_animatediff.infotext import INFOTEXT_KEY, infotext_value
from lib_animatediff.motion.cache import MotionModelCache
from lib_animatediff.motion.files import list_motion_modules
from lib_animatediff.noise.initial import arrange_noise
from lib_animatediff.noise.ramp import blend_first_last
from lib_animatediff.output import show, unwritable, write_videos
from lib_animatediff.plan import AnimationPlan, frame_count, make_plan, plan_travel, sampled_frames, shared_frames
from lib_animatediff.request import AnimationRequest
from lib_animatediff.run import sample_animated, sample_animated_img2img
from lib_animatediff.unet.hooks import check_fits
from lib_animatediff.unet.patch import instance_attribute, pop_instance_attribute, set_instance_attribute
from lib_animatediff.video.interpolate import flow_between
from lib_animatediff.video.still import open_still
from lib_animatediff.video.write import WriterOptions

_ATTRIBUTE = "animatediff"
_SAMPLER_CALLS = ("sample", "sample_img2img")


class Settings(Protocol):
    """What the user set once for all runs; read at use."""

    def model_folder(self) -> Path: ...

    def film_file(self) -> Path: ...

    def writer_options(self) -> WriterOptions: ...

    def frames_in_own_folder(self) -> bool:
        """Whether PNG frames go into a folder of the animation, not among the host's own images."""

    def keep_motion_module(self) -> str:
        """Where the weights stay after a run: "device", "ram" or "nowhere"."""


@dataclass
class Animation:
    """The state of one generation; it lives as an attribute of the host's processing object and dies with it."""

    request: AnimationRequest | None
    host: Host | None
    models: MotionModelCache
    settings: Settings
    version: str
    error: AnimateDiffError | None = None
    plan: AnimationPlan | None = None
    travel: Travel | None = None
    hires_travel: Travel | None = None
    last_image: Image.Image | None = None
    between: Callable | str = "Off"
    ramp_noise: Any = None
    batches: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, p: Any) -> Animation | None:
        """The animation ``p`` is generating, or None when it makes plain images."""
        return vars(p).get(_ATTRIBUTE)

    @staticmethod
    def forget(p: Any) -> None:
        """Make ``p`` a plain generation again (scripts may run the same ``p`` several times)."""
        pop_instance_attribute(p, _ATTRIBUTE)
        pop_instance_attribute(p, "init")
        getattr(p, "extra_generation_params", {}).pop(INFOTEXT_KEY, None)

    def begin(self, p: Any) -> None:
        """First hook: size the batch for the animation and see to it that ``prepare`` runs before any sampling."""
        vars(p)[_ATTRIBUTE] = self
        host_init = p.init

        def init(*args: Any, **kwargs: Any) -> Any:
            pop_instance_attribute(p, "init")
            self.prepare(p)
            return host_init(*args, **kwargs)

        set_instance_attribute(p, "init", init)
        if self.request is None:
            return
        p.batch_size = sampled_frames(self.request)
        p.do_not_save_grid = True
        if "PNG" not in self.request.format or self.settings.frames_in_own_folder():
            p.do_not_save_samples = True
        if getattr(p, "txt2img_upscale", False):
            # the gallery's upscale button hands over one picture: the whole animation is made again, then upscaled
            p.txt2img_upscale, p.firstpass_image = False, None

    def prepare(self, p: Any) -> None:
        """Load and check everything the animation needs; raise AnimateDiffError for the user if it cannot be made."""
        if self.error is not None:
            raise self.error
        request = self.request
        missing = unwritable(request.format)
        if missing and not set(request.format) - set(missing) - {"TXT", "Frame"}:
            raise UnsupportedError(next(iter(missing.values())))
        images = getattr(p, "init_images", None)
        if images and len(images) not in (1, sampled_frames(request)):
            raise FIELD["video_length"].error(
                f"img2img got {len(images)} images for {sampled_frames(request)} frames. Give one image or one per "
                "frame.",
            )
        if request.interp == "FILM":
            self.between = film_between(self.settings.film_file(), self.host.device())
        elif request.interp == "Flow":
            self.between = flow_between()
        self.last_image = open_still(request.last_frame, "last_frame")
        self.host.check(p)
        model = self.models.get(motion_module_path(self.settings.model_folder(), request.model))
        check_fits(self.host.unet(p), model)
        if request.positions == "trained" and min(request.batch_size, sampled_frames(request)) > model.pe_length:
            raise FIELD["batch_size"].error(
                f"{request.batch_size} frames in one context window are more than the {model.pe_length} positions that "
                f"{model.path.name} knows. Use {model.pe_length} or less, or stretch them (positions: stretched); "
                "video_length may stay as long as it is.",
            )
        self.plan = make_plan(request, model)
        self._check_prompts(p)
        if request.use_main_seed:
            frames = self.plan.frames
            p.all_seeds[:] = [p.all_seeds[i - i % frames] for i in range(len(p.all_seeds))]
        p.extra_generation_params[INFOTEXT_KEY] = infotext_value(
            request,
            extra={"mm_hash": model.sha256[:8], "version": self.version},
            tab="txt2img" if images is None else "img2img",
        )

    def before_batch(self, p: Any) -> None:
        """Draw the noise an image fades into, before the host draws the noise it samples from."""
        if self.plan is not None and len(getattr(p, "init_images", None) or []) == 1:
            self.ramp_noise = p.rng.next()

    def _check_prompts(self, p: Any) -> None:
        """Raise RequestError for a keyframe that cannot be used, in any video's prompts."""
        frames = self.plan.frames
        texts = [(p.all_prompts, p.all_negative_prompts, ("prompt", "negative_prompt"))]
        if getattr(p, "enable_hr", False):
            texts.append((p.all_hr_prompts, p.all_hr_negative_prompts, ("hr_prompt", "hr_negative_prompt")))
        for prompts, negatives, fields in texts:
            for first in range(0, len(prompts), frames):
                plan_travel(self.request, prompts[first], negatives[first], fields)

    def before_encoding(self, p: Any) -> None:
        """Give each frame the prompt of its keyframe, before the host encodes this video's prompts.

        Only what is encoded is changed: the host goes back to the whole prompt for the infotext.
        """
        if self.plan is None:
            return
        try:
            self.travel = self._lay_out(p, "prompts", "negative_prompts")
            if getattr(p, "enable_hr", False):
                self.hires_travel = self._lay_out(p, "hr_prompts", "hr_negative_prompts")
        except AnimateDiffError as error:
            self.error, self.plan = error, None

    def _lay_out(self, p: Any, prompts: str, negatives: str) -> Travel | None:
        texts, negative_texts = getattr(p, prompts), getattr(p, negatives)
        travel = plan_travel(self.request, texts[0], negative_texts[0])
        if travel is not None and travel.prompt is not None:
            setattr(p, prompts, travel.prompt.prompts())
        if travel is not None and travel.negative is not None:
            setattr(p, negatives, travel.negative.prompts())
        return travel

    def before_sampling(self, p: Any) -> None:
        """Let the next call of this pass's sampler be an animated one (idempotent: some hosts ask twice a pass)."""
        sampler = p.sampler
        if any(getattr(vars(sampler).get(name), "is_animated", False) for name in _SAMPLER_CALLS):
            return
        stack = ExitStack()
        for name in _SAMPLER_CALLS:
            animated = self._animated(sampler, name, getattr(sampler, name), stack)
            stack.enter_context(instance_attribute(sampler, name, animated))

    def _animated(self, sampler: Any, name: str, sample: Callable, attached: ExitStack) -> Callable:
        def animated(p: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
            attached.close()
            if self.plan is None:
                raise self.error or AnimateDiffError("AnimateDiff was not prepared for this run; see the log.")
            if getattr(p, "is_hr_pass", False):
                # FreeInit finds the motion; a hires pass keeps the one it is given
                plan = replace(self.plan, free_init=None, travel=self.hires_travel)
            else:
                plan = replace(self.plan, travel=self.travel)
            if name == "sample":
                run, x = sample_animated, self._arranged(p, x)
            else:
                run, args = sample_animated_img2img, (self._arranged(p, args[0]), *args[1:])
                if self.ramp_noise is not None:
                    x = self._ramp(p, x)
            try:
                return run(self.host, plan, p, sampler, sample, x, *args, **kwargs)
            finally:
                self._release_memory(p)

        animated.is_animated = True
        return animated

    def _arranged(self, p: Any, noise: Any) -> Any:
        request = self.request
        return arrange_noise(
            noise,
            request.initial_noise,
            context=request.batch_size,
            overlap=shared_frames(request),
            seed=int(p.seeds[0]),
        )

    def _ramp(self, p: Any, x: Any) -> Any:
        """Latents of the first image, fading into noise or into the last image (frames, channels, height, width)."""
        request, noise = self.request, self.ramp_noise.to(x)
        self.ramp_noise = None
        return blend_first_last(
            x,
            None if self.last_image is None else self.host.encode_image(p, self.last_image).to(x),
            noise,
            power=request.latent_power,
            scale=request.latent_scale,
            power_last=request.latent_power_last,
            scale_last=request.latent_scale_last,
        )

    def _release_memory(self, p: Any) -> None:
        keep = self.settings.keep_motion_module()
        if keep == "nowhere":
            self.models.clear()
        if keep != "device" or self.host.low_memory(p):
            self.plan.motion_model.release()
            self.plan.motion_model.to("cpu")

    def after_sampling(self, sampled: Any) -> None:
        """Keep the frames of the video, where a whole context was sampled, before the host decodes them."""
        if self.plan is None:
            return
        frames = frame_count(self.request)
        if isinstance(sampled.samples, list):  # of a kind of the host's own, which says they are decoded already
            del sampled.samples[frames:]
        else:
            sampled.samples = sampled.samples[:frames]

    def count_batch(self, images: Sequence[Any]) -> None:
        """Remember how many frames the host decoded in one of its batches (one batch is one video)."""
        self.batches.append(len(images))

    def finish(self, p: Any, processed: Any) -> None:
        """Last hook: write the videos and hand them to the host."""
        if self.plan is None or not self.batches:
            return
        self._drop_unseen(processed)
        in_script = bool(p.script_args and p.script_args[0])  # one of the scripts dropdown uses the images itself
        own_png = "PNG" in self.request.format and self.settings.frames_in_own_folder()
        options = self.settings.writer_options()
        videos = write_videos(
            processed, self.batches, self.request, p.outpath_samples, options, png=own_png, between=self.between
        )
        show(processed, videos, self.request, is_api=getattr(p, "is_api", False), keep_pictures=in_script)

    def _drop_unseen(self, processed: Any) -> None:
        """Seeds and prompts of frames that were sampled and not kept."""
        frames, sampled = frame_count(self.request), sampled_frames(self.request)
        if frames == sampled:
            return
        for name in ("all_prompts", "all_negative_prompts", "all_seeds", "all_subseeds"):
            values = getattr(processed, name)
            kept = [values[first : first + frames] for first in range(0, len(values), sampled)]
            setattr(processed, name, [value for video in kept for value in video])


def motion_module_path(folder: Path, name: str) -> Path:
    """The file ``name`` in the motion module folder; ModelFileError with the names there are if it is not there."""
    path = folder / name
    if path.is_file():
        return path
    names = list_motion_modules(folder)
    known = f"It holds: {', '.join(names[:20])}." if names else "It holds no motion module; put one there."
    near = difflib.get_close_matches(name, names, 1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise ModelFileError(f"There is no motion module {name} in {folder}.{hint} {known}")
