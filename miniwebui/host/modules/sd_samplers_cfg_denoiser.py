"""Classifier-free guidance (Ho & Salimans 2022) around a denoiser: what a sampler's function calls in every step."""

from __future__ import annotations

import torch

from modules import prompt_parser, scripts, sd_samplers_common, shared
from modules.script_callbacks import (
    AfterCFGCallbackParams,
    CFGDenoisedParams,
    CFGDenoiserParams,
    cfg_after_cfg_callback,
    cfg_denoised_callback,
    cfg_denoiser_callback,
)
from modules.shared import opts, state


def _rows(x: torch.Tensor, repeats: list[int]) -> torch.Tensor:
    """Image i of ``x`` repeated ``repeats[i]`` times, then ``x`` once more for the uncond."""
    counts = torch.tensor(repeats, device=x.device)
    return torch.cat([x.repeat_interleave(counts, dim=0), x])


class CFGDenoiser(torch.nn.Module):
    """Runs the UNet for cond and uncond rows and mixes the two.

    Rows are [the AND parts of image 0, of image 1, ...][uncond of each image].
    """

    def __init__(self, sampler):
        super().__init__()
        self.sampler = sampler
        self.model_wrap = None
        self.p = None
        self.mask = None
        self.nmask = None
        self.init_latent = None
        self.steps: int | None = None  # as the user asked
        self.total_steps: int | None = None  # expected calls of forward
        self.step = 0
        self.image_cfg_scale = None
        self.padded_cond_uncond = False
        self.padded_cond_uncond_v0 = False
        self.cond_scale_miltiplier = 1.0  # the spelling is A1111's
        self.need_last_noise_uncond = False
        self.last_noise_uncond = None
        self.mask_before_denoising = False

    @property
    def inner_model(self):
        """The denoiser around ``shared.sd_model``; made when first asked for, and when ``model_wrap`` is None."""
        raise NotImplementedError

    def update_inner_model(self) -> None:
        """Called when the checkpoint has changed in the middle of sampling."""
        self.model_wrap = None
        cond, uncond = self.p.get_conds()
        self.sampler.sampler_extra_args.update(cond=cond, uncond=uncond)

    def get_pred_x0(self, x_in, x_out, sigma):
        """The denoised latent that an output stands for."""
        return x_out

    def combine_denoised(self, x_out, conds_list, uncond, cond_scale):
        """uncond + scale * sum of weight * (cond - uncond), per image."""
        base = x_out[-uncond.shape[0] :]
        denoised = base.clone()
        for i, parts in enumerate(conds_list):
            for row, weight in parts:
                denoised[i] += (x_out[row] - base[i]) * (weight * cond_scale)
        return denoised

    def pad_cond_uncond(self, cond, uncond):
        """Fill the shorter of the two up with empty prompts."""
        empty = shared.sd_model.cond_stage_model_empty_prompt
        missing = (cond.shape[1] - uncond.shape[1]) // empty.shape[1]

        def filled(x, times):
            return torch.cat([x, empty.repeat(x.shape[0], times, 1)], dim=1)

        self.padded_cond_uncond |= missing != 0
        return (filled(cond, -missing), uncond) if missing < 0 else (cond, filled(uncond, missing))

    def pad_cond_uncond_v0(self, cond, uncond):
        """Cut the uncond to the cond's length, or repeat its last row up to it."""
        missing = cond.shape[1] - uncond.shape[1]
        self.padded_cond_uncond_v0 |= missing != 0
        if missing > 0:
            return cond, torch.cat([uncond, uncond[:, -1:].repeat(1, missing, 1)], dim=1)
        return cond, uncond[:, : cond.shape[1]]

    def _blend(self, latent, sigma):
        """Put the original picture back where the mask keeps it."""
        blended = latent * self.nmask + self.init_latent * self.mask
        if self.p.scripts is None:
            return blended
        args = scripts.MaskBlendArgs(
            latent, self.nmask, self.init_latent, self.mask, blended, denoiser=self, sigma=sigma
        )
        self.p.scripts.on_mask_blend(self.p, args)
        return args.blended_latent

    def _skips_uncond(self, sigma, s_min_uncond) -> bool:
        """True if this step does without the negative prompt (early steps, or NGMS at low sigma)."""
        noted = self.p.extra_generation_params
        early = opts.skip_early_cond
        if early != 0.0 and self.step / self.total_steps <= early:
            noted["Skip Early CFG"] = early
            return True
        if s_min_uncond > 0 and (self.step % 2 or opts.s_min_uncond_all) and sigma[0] < s_min_uncond:
            noted["NGMS"] = s_min_uncond
            if opts.s_min_uncond_all:
                noted["NGMS all steps"] = True
            return True
        return False

    def _evaluate(self, x, sigma, text, image_cond, size: int | None = None) -> torch.Tensor:
        """The denoiser on all rows, ``size`` rows at a time."""
        size = size or len(x)
        parts = [
            self.inner_model(
                x[a : a + size],
                sigma[a : a + size],
                cond={"c_crossattn": [text[a : a + size]], "c_concat": [image_cond[a : a + size]]},
            )
            for a in range(0, len(x), size)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _run_rows(self, x_in, sigma_in, tensor, uncond, image_cond_in, images: int, skip_uncond: bool) -> torch.Tensor:
        """All rows through the denoiser: at once where cond and uncond have the same length and the user allows it."""
        together = opts.batch_cond_uncond
        if skip_uncond or tensor.shape[1] == uncond.shape[1]:
            text = tensor if skip_uncond else torch.cat([tensor, uncond])
            return self._evaluate(x_in, sigma_in, text, image_cond_in[: len(x_in)], None if together else images)
        n = len(tensor)
        size = images * 2 if together else images
        conds = self._evaluate(x_in[:n], sigma_in[:n], tensor, image_cond_in[:n], size)
        return torch.cat([conds, self._evaluate(x_in[n:], sigma_in[n:], uncond, image_cond_in[n:])])

    def forward(self, x, sigma, uncond, cond, cond_scale, s_min_uncond, image_cond):
        """Denoised latents (eps for timesteps samplers) of one step; all arguments hold one row per image."""
        if state.interrupted or state.skipped:
            raise sd_samplers_common.InterruptedException
        if sd_samplers_common.apply_refiner(self, sigma):
            cond = self.sampler.sampler_extra_args["cond"]
            uncond = self.sampler.sampler_extra_args["uncond"]

        conds_list, tensor = prompt_parser.reconstruct_multicond_batch(cond, self.step)
        uncond = prompt_parser.reconstruct_cond_batch(uncond, self.step)
        if self.mask_before_denoising and self.mask is not None:
            x = self._blend(x, sigma)

        images = len(conds_list)
        repeats = [len(parts) for parts in conds_list]
        params = CFGDenoiserParams(
            _rows(x, repeats), _rows(image_cond, repeats), _rows(sigma, repeats),
            state.sampling_step, state.sampling_steps, tensor, uncond, self,
        )  # fmt: skip
        cfg_denoiser_callback(params)
        x_in, sigma_in, image_cond_in = params.x, params.sigma, params.image_cond
        tensor, uncond = params.text_cond, params.text_uncond

        skip_uncond = self._skips_uncond(sigma, s_min_uncond)
        if skip_uncond:
            x_in, sigma_in = x_in[:-images], sigma_in[:-images]
        self.padded_cond_uncond = self.padded_cond_uncond_v0 = False
        if tensor.shape[1] != uncond.shape[1]:
            if opts.pad_cond_uncond_v0:
                tensor, uncond = self.pad_cond_uncond_v0(tensor, uncond)
            elif opts.pad_cond_uncond:
                tensor, uncond = self.pad_cond_uncond(tensor, uncond)

        x_out = self._run_rows(x_in, sigma_in, tensor, uncond, image_cond_in, images, skip_uncond)
        first_rows = [parts[0][0] for parts in conds_list]
        if skip_uncond:  # the cond stands in for the uncond that was not computed
            x_out = torch.cat([x_out, x_out[first_rows]])
        cfg_denoised_callback(CFGDenoisedParams(x_out, state.sampling_step, state.sampling_steps, self.inner_model))

        if self.need_last_noise_uncond:
            self.last_noise_uncond = x_out[-uncond.shape[0] :].clone()
        scale = 1.0 if skip_uncond else cond_scale * self.cond_scale_miltiplier
        denoised = self.combine_denoised(x_out, conds_list, uncond, scale)
        if not self.mask_before_denoising and self.mask is not None:
            denoised = self._blend(denoised, sigma)

        self.sampler.last_latent = self.get_pred_x0(x_in[first_rows], x_out[first_rows], sigma)
        content = opts.live_preview_content
        if content == "Prompt":
            preview = self.sampler.last_latent
        elif content == "Negative prompt":
            n = uncond.shape[0]
            preview = self.get_pred_x0(x_in[-n:], x_out[-n:], sigma)
        else:
            preview = self.get_pred_x0(x_in[first_rows], denoised, sigma)
        sd_samplers_common.store_latent(preview)

        after = AfterCFGCallbackParams(denoised, state.sampling_step, state.sampling_steps)
        cfg_after_cfg_callback(after)
        self.step += 1
        return after.x
