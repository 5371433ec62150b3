"""Motion modules put into a UNet by forward hooks, and taken out again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from lib_animatediff.errors import AnimateDiffError, UnsupportedError
from lib_animatediff.motion.files import MotionModel
from lib_animatediff.motion.module import Scratch
from lib_animatediff.unet.groupnorm import across_frames
from lib_animatediff.unet.slots import find_slots, norms_across_frames, output_channels


def check_fits(unet: nn.Module, model: MotionModel) -> None:
    """Raise UnsupportedError unless every module of ``model`` has a slot of its own width in ``unet``."""
    slots = find_slots(unet)
    if not slots:
        raise UnsupportedError(
            f"AnimateDiff cannot animate with this checkpoint: its network ({type(unet).__name__}) is not a Stable "
            "Diffusion UNet. Choose a Stable Diffusion 1.5 checkpoint."
        )
    missing = sorted(set(model.slots) - set(slots))
    wrong = [
        f"{name} wants {module.channels} channels, the checkpoint has {output_channels(slots[name])}"
        for name, module in model.slots.items()
        if name in slots and module.channels != output_channels(slots[name])
    ]
    if missing or wrong:
        detail = wrong[0] if wrong else f"the checkpoint has no place for {missing[0]}"
        raise UnsupportedError(
            f"The motion module {model.path.name} ({model.family.label}) does not fit the loaded checkpoint: {detail}. "
            "Choose a checkpoint of the family that the motion module was made for."
        )


@dataclass(frozen=True)
class Strength:
    """How much of the motion is wanted in each frame of the window: ``scale`` of the keys, ``effect`` of the whole.

    Both (frames,), None for 1 everywhere. ``positions``: see ``motion.module.stretched_positions``.
    """

    scale: torch.Tensor | None = None
    effect: torch.Tensor | None = None
    positions: str = "trained"


def _hook(module: nn.Module, frames: Callable[[], int], strength: Callable[[], Strength], scratch: Scratch) -> Callable:
    def run_motion_module(_layer: nn.Module, _inputs: tuple, output: torch.Tensor) -> torch.Tensor:
        length, wanted = frames(), strength()
        if output.shape[0] % length:
            raise AnimateDiffError(
                f"AnimateDiff got a batch of {output.shape[0]} images that is no multiple of its {length} frames. "
                "Another extension changes the batch; disable it for this run."
            )
        place(module, output)
        moved = module(output, length, key_scale=wanted.scale, positions=wanted.positions, scratch=scratch)
        if wanted.effect is None:
            return moved
        effect = wanted.effect.to(output).repeat(output.shape[0] // length).view(-1, 1, 1, 1)
        return torch.lerp(output, moved, effect)

    return run_motion_module


def place(module: nn.Module, x: torch.Tensor) -> None:
    """Bring the weights of one motion module to the device and dtype of the activation ``x`` (once per run)."""
    weight = next(module.parameters())
    if weight.device != x.device or weight.dtype != x.dtype:
        module.to(device=x.device, dtype=x.dtype)


@contextmanager
def attach_motion(
    unet: nn.Module, model: MotionModel, frames: Callable[[], int], strength: Callable[[], Strength] = Strength
) -> Iterator[None]:
    """While open, ``unet`` animates: its batch rows are clips of ``frames()`` consecutive frames each.

    ``frames`` and ``strength`` are asked at every call, since each context window has its own. Nothing is added to the
    module tree, and no class is touched. Raises UnsupportedError before anything is changed if ``model`` does not fit.
    """
    check_fits(unet, model)
    slots, scratch = find_slots(unet), Scratch()
    with ExitStack() as stack:
        if model.family.norm_across_frames:
            stack.enter_context(across_frames(norms_across_frames(unet), frames))
        for name, module in model.slots.items():
            handle = slots[name].register_forward_hook(_hook(module, frames, strength, scratch))
            stack.callback(handle.remove)
        yield
