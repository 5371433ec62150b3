"""What a request means on a host: the facts a sampling run needs, decided once, before sampling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from lib_animatediff.fields import FIELD
from lib_animatediff.hosts.conds import Travel
from lib_animatediff.motion.files import MotionModel
from lib_animatediff.noise.schedule import alphas_cumprod
from lib_animatediff.request import AnimationRequest
from lib_animatediff.timeline.blend import BLENDS, EASINGS
from lib_animatediff.timeline.curves import parse_curve
from lib_animatediff.timeline.fuse import fuse_weights
from lib_animatediff.timeline.schedules import parse_schedule, windows_at
from lib_animatediff.timeline.travel import parse_travel
from lib_animatediff.unet.hooks import Strength


@dataclass(frozen=True)
class FreeInitPlan:
    """FreeInit (Wu et al. 2023): how often the animation is sampled anew and which frequencies are kept.

    ``fast``: the first passes are shorter, see ``steps_of_pass``.
    """

    iterations: int
    kind: str
    d_s: float
    d_t: float
    fast: bool = False

    def steps_of_pass(self, number: int, steps: int) -> int:
        """Steps of pass ``number`` (from 0) of an animation of ``steps``: the coarse-to-fine sampling of section 4.3.

        Pass k of n takes (k + 1) / n of them, the last one all.
        """
        return max(1, steps * (number + 1) // self.iterations) if self.fast else steps


@dataclass(frozen=True)
class AnimationPlan:
    """One animation: everything ``run.sampling_run`` needs and nothing of the host.

    ``windows``: from a step and the number of steps to the windows of that step, none longer than ``context``;
    ``weights``: from a window to the weight of each of its frames. ``motion_scale`` and ``motion_effect``: (frames,),
    None for 1 everywhere; ``positions``: see ``motion.module.stretched_positions``.
    """

    frames: int
    context: int
    windows: Callable[[int, int], list[list[int]]]
    weights: Callable[[list[int]], list[float]]
    motion_model: MotionModel
    alphas_cumprod: torch.Tensor
    free_init: FreeInitPlan | None = None
    travel: Travel | None = None
    motion_scale: torch.Tensor | None = None
    motion_effect: torch.Tensor | None = None
    positions: str = "trained"

    def strength(self, window: list[int]) -> Strength:
        """How much motion the frames of one window want."""
        scale, effect = (None if v is None else v[window] for v in (self.motion_scale, self.motion_effect))
        return Strength(scale, effect, self.positions)


def shared_frames(request: AnimationRequest) -> int:
    """Frames that neighbouring context windows share; -1 asks for a quarter of the context."""
    return request.batch_size // 4 if request.overlap == -1 else request.overlap


def frame_count(request: AnimationRequest) -> int:
    """Frames of the video; 0 asks for one context window's worth (contract of the incumbent)."""
    return request.video_length or request.batch_size


def sampled_frames(request: AnimationRequest) -> int:
    """Frames that are sampled: those of the video, or a whole context of which the video is the beginning."""
    frames = frame_count(request)
    return max(frames, request.batch_size) if request.full_context else frames


def plan_travel(
    request: AnimationRequest, prompt: str, negative: str, fields: tuple[str, str] = ("prompt", "negative_prompt")
) -> Travel | None:
    """Where the prompts of one video travel, or None when neither has keyframes.

    Raises RequestError naming one of ``fields`` for a line that is a keyframe but cannot be used.
    """
    frames = frame_count(request)
    wraps = request.closed_loop in ("R+P", "A") and frames > request.batch_size
    found = [
        parse_travel(text, frames, wraps=wraps, field=field)
        for text, field in zip((prompt, negative), fields, strict=True)
    ]
    if not any(found):
        return None
    found = [travel and replace(travel, frames=sampled_frames(request)) for travel in found]
    return Travel(*found, BLENDS[request.prompt_interpolation], EASINGS[request.prompt_easing])


def curve_values(request: AnimationRequest, name: str) -> list[float]:
    """A field's value for each frame of the video; RequestError for a key outside the animation."""
    try:
        return parse_curve(getattr(request, name)).values(frame_count(request))
    except ValueError as error:
        raise FIELD[name].error(str(error)) from None


def plan_curve(request: AnimationRequest, name: str) -> torch.Tensor | None:
    """A field's value for each sampled frame, None where it is 1 throughout; RequestError as ``curve_values``."""
    values = curve_values(request, name)
    values += values[-1:] * (sampled_frames(request) - len(values))
    return None if set(values) == {1.0} else torch.tensor(values)


def plan_windows(request: AnimationRequest) -> Callable[[int, int], list[list[int]]]:
    """From a step and the number of steps to the context windows of that step."""
    phases = parse_schedule(request.context_schedule)

    def windows(step: int, total_steps: int) -> list[list[int]]:
        return windows_at(
            phases,
            step,
            total_steps,
            frames=sampled_frames(request),
            context=request.batch_size,
            stride=request.stride,
            overlap=shared_frames(request),
            closed_loop=request.closed_loop,
        )

    return windows


def make_plan(request: AnimationRequest, motion_model: MotionModel) -> AnimationPlan:
    """The plan for ``request`` with its motion model loaded."""
    frames = sampled_frames(request)

    def weights(window: list[int]) -> list[float]:
        return fuse_weights(len(window), request.context_fuse, shared_frames(request))

    betas = motion_model.family.beta_schedule
    free_init = None
    if request.freeinit_enable:
        free_init = FreeInitPlan(
            request.freeinit_iters,
            request.freeinit_filter,
            request.freeinit_ds,
            request.freeinit_dt,
            request.freeinit_fast,
        )
    return AnimationPlan(
        frames,
        min(frames, request.batch_size),
        plan_windows(request),
        weights,
        motion_model,
        alphas_cumprod(betas.kind, betas.start, betas.end),
        free_init,
        motion_scale=plan_curve(request, "motion_scale"),
        motion_effect=plan_curve(request, "motion_effect"),
        positions=request.positions,
    )
