"""One sampling pass of the host, animated: what is put in before it and taken out after it, whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from lib_animatediff.errors import AnimateDiffError
from lib_animatediff.hosts.clip_order import count_parts
from lib_animatediff.hosts.conds import conds_of_frames
from lib_animatediff.hosts.protocol import Host
from lib_animatediff.noise.freeinit import diffuse_to_end, low_pass_filter, mix_frequencies
from lib_animatediff.plan import AnimationPlan
from lib_animatediff.timeline.fuse import WeightedMean
from lib_animatediff.unet.hooks import Strength, attach_motion
from lib_animatediff.unet.patch import instance_attribute, instance_attributes

# CFGDenoiser.forward has these parameters, in this order, in every host (after x and sigma)
DENOISER_PARAMETERS = ("uncond", "cond", "cond_scale", "s_min_uncond", "image_cond")


class SamplingRun:
    """The motion model in the UNet, its schedule in the sampler, and the window loop around the denoiser.

    A context manager for exactly one call of the host's ``sampler.sample`` or ``sampler.sample_img2img``.
    """

    def __init__(self, host: Host, plan: AnimationPlan, p: Any, sampler: Any):
        self.host, self.plan, self.p, self.sampler = host, plan, p, sampler
        self.denoiser = sampler.model_wrap_cfg
        self.window_length = plan.frames
        self._strength = Strength()

    def __enter__(self) -> SamplingRun:
        with ExitStack() as stack:
            self._model_side = stack.enter_context(ExitStack())
            self._attach()
            self._order = stack.enter_context(self.host.clip_order(self.sampler))
            self._denoise = self.denoiser.forward
            stack.enter_context(instance_attribute(self.denoiser, "forward", self._forward))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _attach(self) -> None:
        """Motion model and schedule onto whatever checkpoint the host has loaded now."""
        self.host.check(self.p)
        self._model_side.enter_context(self.host.room(self.p, self.plan.motion_model, self.plan.context))
        unet = self.host.unet(self.p)
        self._model_side.enter_context(
            attach_motion(unet, self.plan.motion_model, lambda: self.window_length, lambda: self._strength)
        )
        self.schedule = self.host.noise_schedule(self.p, self.sampler, self.plan.alphas_cumprod)
        self._model_side.enter_context(self.schedule)

    def _forward(self, x: torch.Tensor, sigma: torch.Tensor, *args: Any, **extra: Any) -> torch.Tensor:
        """Stands in for ``CFGDenoiser.forward``: ``x`` is (frames, channels, height, width), ``sigma`` (frames,)."""
        extra.update(zip(DENOISER_PARAMETERS, args, strict=False))
        if x.shape[0] != self.plan.frames:
            raise AnimateDiffError(
                f"AnimateDiff asked for {self.plan.frames} frames and the host samples {x.shape[0]} images. "
                "Another extension or script changes the batch size; disable it for this run."
            )
        swapped = None
        if not self.host.interrupted():
            swapped = self.host.follow_refiner(self.p, self.sampler, x, sigma, self.schedule)
        if swapped is not None:
            self._model_side.close()
            self._attach()
            extra["cond"], extra["uncond"] = swapped
        self._order.parts = count_parts(extra["cond"])
        self.host.check_conds(extra["cond"])

        windows = self.plan.windows(self.denoiser.step, self.denoiser.total_steps or 1)
        if len(windows) == 1:
            if self.plan.travel is not None:
                extra["cond"], extra["uncond"] = self._conds(extra, windows[0])
            return self._denoise_window(windows[0], x, sigma, extra)
        return self._denoise_windows(windows, x, sigma, extra)

    def _denoise_window(self, window: list[int], x: torch.Tensor, sigma: torch.Tensor, extra: dict) -> torch.Tensor:
        self.window_length = self._order.frames = len(window)
        self._strength = self.plan.strength(window)
        denoised = self._denoise(x, sigma, **extra)
        if self._order.error is not None:
            raise self._order.error
        return denoised

    def _denoise_windows(
        self, windows: list[list[int]], x: torch.Tensor, sigma: torch.Tensor, extra: dict
    ) -> torch.Tensor:
        """Each window by itself, overlaps averaged; the denoiser is left as one call of it would leave it."""
        denoiser, sampler = self.denoiser, self.sampler
        step, last_latent = denoiser.step, sampler.last_latent
        means = {"denoised": WeightedMean(x), "last_latent": WeightedMean(x)}
        if getattr(denoiser, "need_last_noise_uncond", False):
            means["last_noise_uncond"] = WeightedMean(x)
        try:
            for window in windows:
                denoiser.step = step
                rows = torch.tensor(window, device=x.device)
                with self._window_of_denoiser(rows), self.host.window(self.p, window):
                    denoised = self._denoise_window(
                        window, x[rows], sigma[rows], self._slice_arguments(extra, window, rows)
                    )
                results = {
                    "denoised": denoised,
                    "last_latent": sampler.last_latent,
                    "last_noise_uncond": getattr(denoiser, "last_noise_uncond", None),
                }
                weights = self.plan.weights(window)
                for name, mean in means.items():
                    mean.add(window, results[name], weights)
        except BaseException:
            # an interrupt returns last_latent as the result of the run: it must hold every frame
            sampler.last_latent = last_latent
            raise
        sampler.last_latent = means["last_latent"].result()
        self.host.preview(sampler.last_latent)
        if "last_noise_uncond" in means:
            denoiser.last_noise_uncond = means["last_noise_uncond"].result()
        return means["denoised"].result()

    def _slice_arguments(self, extra: dict, window: list[int], rows: torch.Tensor) -> dict:
        """The denoiser's arguments for the frames of one window."""
        cond, uncond = self._conds(extra, window)
        return {**extra, "cond": cond, "uncond": uncond, "image_cond": _slice_tensor(extra["image_cond"], rows)}

    def _conds(self, extra: dict, window: list[int]) -> tuple[Any, list[Any] | None]:
        travel = self.plan.travel
        of_frames = conds_of_frames if travel is None else travel.conds_of_frames
        return of_frames(extra["cond"], extra["uncond"], window)

    @contextmanager
    def _window_of_denoiser(self, rows: torch.Tensor) -> Iterator[None]:
        """The denoiser's own per-frame tensors cut to the window, and put back."""
        with instance_attributes() as patch:
            for name in ("init_latent", "mask", "nmask"):
                value = vars(self.denoiser).get(name)
                if isinstance(value, torch.Tensor) and value.ndim == 4 and value.shape[0] == self.plan.frames:
                    patch(self.denoiser, name, value[rows.to(value.device)])
            yield


def _slice_tensor(value: Any, rows: torch.Tensor) -> Any:
    if isinstance(value, dict):
        return {name: _slice_tensor(part, rows) for name, part in value.items()}
    return value[rows.to(value.device)] if isinstance(value, torch.Tensor) else value


def sample_animated(
    host: Host, plan: AnimationPlan, p: Any, sampler: Any, sample: Callable, x: torch.Tensor, *args: Any, **kwargs: Any
) -> torch.Tensor:
    """Call the host's ``sample(p, x, *args, **kwargs)`` with everything of ``plan`` in place; latents of all frames.

    ``x`` is the noise that txt2img starts from, unit variance, (frames, channels, height, width). With FreeInit the
    pass is repeated: the low frequencies of the result, diffused back to the last timestep with the first noise,
    replace those of fresh noise (Wu et al. 2023, "FreeInit: Bridging Initialization Gap in Video Diffusion Models",
    eq. 6-8).
    """
    with SamplingRun(host, plan, p, sampler):
        latents = sample(p, x, *args, **_shortened(kwargs, plan, p, 0))
        first_noise = x
        for number, low_pass in _free_init_passes(host, plan, x):
            diffused = diffuse_to_end(latents.to(first_noise), first_noise, float(plan.alphas_cumprod[-1]))
            mixed = mix_frequencies(diffused, p.rng.next().to(first_noise), low_pass)
            latents = sample(p, mixed * host.noise_gain(p, sampler), *args, **_shortened(kwargs, plan, p, number))
        return latents


def sample_animated_img2img(
    host: Host,
    plan: AnimationPlan,
    p: Any,
    sampler: Any,
    sample: Callable,
    x: torch.Tensor,
    noise: torch.Tensor,
    *args: Any,
    **kwargs: Any,
) -> torch.Tensor:
    """As ``sample_animated``, for ``sample(p, x, noise, ...)``, which starts from the image latents ``x`` under noise.

    With FreeInit the start of the next pass holds the low frequencies of the result under the first noise and the high
    ones of the image under fresh noise. Mixing is linear, so images and noises are mixed apart, and the host's own
    strength of the noise applies to the mixture.
    """
    with SamplingRun(host, plan, p, sampler):
        latents = sample(p, x, noise, *args, **_shortened(kwargs, plan, p, 0))
        for number, low_pass in _free_init_passes(host, plan, noise):
            start = mix_frequencies(latents.to(noise), x.to(noise), low_pass)
            mixed = mix_frequencies(noise, p.rng.next().to(noise), low_pass)
            latents = sample(p, start, mixed, *args, **_shortened(kwargs, plan, p, number))
        return latents


def _shortened(kwargs: dict[str, Any], plan: AnimationPlan, p: Any, number: int) -> dict[str, Any]:
    """The arguments of the host's ``sample`` for one of FreeInit's passes; as they are without its fast sampling."""
    if plan.free_init is None or not plan.free_init.fast:
        return kwargs
    return {**kwargs, "steps": plan.free_init.steps_of_pass(number, kwargs.get("steps") or p.steps)}


def _free_init_passes(host: Host, plan: AnimationPlan, like: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
    """The number of each pass after the first, from 1, and FreeInit's low-pass filter, until the user stops."""
    if plan.free_init is None:
        return
    frames, _, height, width = like.shape
    free_init = plan.free_init
    low_pass = low_pass_filter((frames, height, width), free_init.kind, free_init.d_s, free_init.d_t)
    for number in range(1, free_init.iterations):
        if host.interrupted():
            return
        yield number, low_pass
