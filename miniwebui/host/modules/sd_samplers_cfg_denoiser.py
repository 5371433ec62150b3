"""Classifier-free guidance (Ho & Salimans 2022) around a denoiser: what a sampler's function calls in every step."""

from __future__ import annotations

import torch

from modules import prompt_parser, sd_samplers_common, shared
from modules.script_base import blend
from modules.script_callbacks import (
    AfterCFGCallbackParams,
    CFGDenoisedParams,
    CFGDenoiserParams,
    cfg_after_cfg_callback,
    cfg_denoised_callback,
    cfg_denoiser_callback,
)
from modules.sd_samplers_common import InterruptedException
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
        # of the request and its inpainting; filled by `Sampler.initialize`
        self.p = self.mask = self.nmask = self.init_latent = self.image_cfg_scale = None
        # steps as the user asked, and the expected number of calls of forward
        self.steps = self.total_steps = None
        self.step = 0
        # what methods ask for; the first spelling is A1111's
        self.cond_scale_miltiplier = 1.0
        self.need_last_noise_uncond = self.mask_before_denoising = False
        # what happened
        self.model_wrap = self.last_noise_uncond = None
        self.padded_cond_uncond = self.padded_cond_uncond_v0 = False

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
        filler = shared.sd_model.cond_stage_model_empty_prompt
        longest = max(cond.shape[1], uncond.shape[1])
        padded = []
        for x in (cond, uncond):
            times = (longest - x.shape[1]) // filler.shape[1]
            self.padded_cond_uncond |= times > 0
            padded.append(torch.cat([x, filler.repeat(len(x), times, 1)], dim=1) if times else x)
        return tuple(padded)

    def pad_cond_uncond_v0(self, cond, uncond):
        """Cut the uncond to the cond's length, or repeat its last row up to it."""
        missing = cond.shape[1] - uncond.shape[1]
        self.padded_cond_uncond_v0 |= missing != 0
        if missing > 0:
            return cond, torch.cat([uncond, uncond[:, -1:].repeat(1, missing, 1)], dim=1)
        return cond, uncond[:, : cond.shape[1]]

    def _blend(self, latent, sigma):
        """Put the original picture back where the mask keeps it."""
        return blend(self.p, latent, self.mask, self.nmask, self.init_latent, denoiser=self, sigma=sigma)

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

    def _padded(self, text, uncond):
        """Cond and uncond, brought to one length if the settings say how."""
        self.padded_cond_uncond = self.padded_cond_uncond_v0 = False
        if text.shape[1] != uncond.shape[1]:
            for wanted, pad in (
                (opts.pad_cond_uncond_v0, self.pad_cond_uncond_v0),
                (opts.pad_cond_uncond, self.pad_cond_uncond),
            ):
                if wanted:
                    return pad(text, uncond)
        return text, uncond

    def _show(self, x_in, x_out, denoised, firsts: list[int], unconds: int, sigma) -> None:
        """Keep the latent of the first cond of each image, and what the settings want to see in the preview."""

        def predicted(rows, out):
            return self.get_pred_x0(x_in[rows], out, sigma)

        last = slice(len(x_in) - unconds, None)
        self.sampler.last_latent = predicted(firsts, x_out[firsts])
        subjects = {
            "Prompt": lambda: self.sampler.last_latent,
            "Negative prompt": lambda: predicted(last, x_out[-unconds:]),
        }
        show = subjects.get(opts.live_preview_content, lambda: predicted(firsts, denoised))
        sd_samplers_common.store_latent(show())

    def forward(self, x, sigma, uncond, cond, cond_scale, s_min_uncond, image_cond):
        """Denoised latents (eps for timesteps samplers) of one step; all arguments hold one row per image."""
        if state.skipped or state.interrupted:
            raise InterruptedException
        if sd_samplers_common.apply_refiner(self, sigma):
            now = self.sampler.sampler_extra_args
            cond, uncond = now["cond"], now["uncond"]
        inpainting = self.mask is not None
        if inpainting and self.mask_before_denoising:
            x = self._blend(x, sigma)

        parts_of, text = prompt_parser.reconstruct_multicond_batch(cond, self.step)
        images, repeats = len(parts_of), [len(parts) for parts in parts_of]
        firsts = [parts[0][0] for parts in parts_of]
        progress = state.sampling_step, state.sampling_steps
        rows = CFGDenoiserParams(
            _rows(x, repeats), _rows(image_cond, repeats), _rows(sigma, repeats), *progress, text,
            prompt_parser.reconstruct_cond_batch(uncond, self.step), self,
        )  # fmt: skip
        cfg_denoiser_callback(rows)

        alone = self._skips_uncond(sigma, s_min_uncond)
        kept = slice(len(rows.x) - images if alone else None)
        x_in = rows.x[kept]
        text, uncond = self._padded(rows.text_cond, rows.text_uncond)
        x_out = self._run_rows(x_in, rows.sigma[kept], text, uncond, rows.image_cond, images, alone)
        if alone:  # the cond stands in for the uncond that was not computed
            x_out = torch.cat([x_out, x_out[firsts]])
        cfg_denoised_callback(CFGDenoisedParams(x_out, *progress, self.inner_model))

        unconds = len(uncond)
        if self.need_last_noise_uncond:
            self.last_noise_uncond = x_out[-unconds:].clone()
        scale = 1.0 if alone else cond_scale * self.cond_scale_miltiplier
        denoised = self.combine_denoised(x_out, parts_of, uncond, scale)
        if inpainting and not self.mask_before_denoising:
            denoised = self._blend(denoised, sigma)
        self._show(x_in, x_out, denoised, firsts, unconds, sigma)

        after = AfterCFGCallbackParams(denoised, *progress)
        cfg_after_cfg_callback(after)
        self.step += 1
        return after.x
