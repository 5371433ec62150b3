"""AND prompts: rows sorted into clips and back, against A1111's own way of combining them."""

from types import SimpleNamespace

import pytest
import torch

from lib_animatediff.errors import UnsupportedError
from lib_animatediff.hosts.clip_order import clip_order, count_parts, on_cfg_denoised, on_cfg_denoiser


class Denoiser:
    def __init__(self):
        self.inner_model = SimpleNamespace()


def batch(frames, parts, *, as_dict=False):
    """CFGDenoiserParams as A1111 makes them: conditional rows frame by frame, then unconditional ones."""
    rows = frames * parts
    x = torch.arange(rows + frames, dtype=torch.float64).view(-1, 1, 1, 1)
    cond = torch.arange(rows, dtype=torch.float64).view(-1, 1, 1)
    return SimpleNamespace(
        x=x.clone(),
        sigma=x.flatten().clone(),
        image_cond=x.clone(),
        text_cond={"crossattn": cond, "vector": cond[:, 0]} if as_dict else cond,
        text_uncond=None,
        denoiser=None,
    )


@pytest.mark.parametrize("as_dict", [False, True])
@pytest.mark.parametrize(("frames", "parts"), [(4, 2), (3, 3), (1, 2), (5, 1)])
@pytest.mark.parametrize("skip_uncond", [False, True])
def test_sorted_for_the_unet_and_back_for_the_host(frames, parts, skip_uncond, as_dict):
    denoiser, rows = Denoiser(), frames * parts
    with clip_order(denoiser) as order:
        order.frames, order.parts = frames, parts
        params = batch(frames, parts, as_dict=as_dict)
        params.denoiser = denoiser
        in_host_order = params.x.clone()
        on_cfg_denoiser(params)

        # in whole clips: the frame of a row is its number modulo the frames
        frame_of_row = (params.x[:rows].flatten() // parts).long()
        assert frame_of_row.tolist() == list(range(frames)) * parts
        text = params.text_cond["crossattn"] if as_dict else params.text_cond
        assert torch.equal(text.flatten(), params.x[:rows].flatten()), "prompts travel with their rows"
        assert torch.equal(params.sigma, params.x.flatten())

        # the host: output = 10 * input, and with skip_uncond the first part of each frame counted in host order
        x_in = params.x[:rows] if skip_uncond else params.x
        output = x_in * 10
        if skip_uncond:
            output = torch.cat([output, torch.cat([output[i * parts : i * parts + 1] for i in range(frames)])])
        on_cfg_denoised(SimpleNamespace(x=output, inner_model=denoiser.inner_model))

        assert torch.equal(output[:rows], in_host_order[:rows] * 10)
        assert torch.equal(params.x[:rows], in_host_order[:rows]), "last_latent is made from the input later"
        expected_tail = in_host_order[:rows:parts] if skip_uncond else in_host_order[rows:]
        assert torch.equal(output[rows:], expected_tail * 10)
        assert order.error is None
    assert not vars(denoiser.inner_model)
    assert list(vars(denoiser)) == ["inner_model"]


def test_other_denoisers_are_left_alone():
    params = batch(2, 2)
    params.denoiser = Denoiser()
    x = params.x
    on_cfg_denoiser(params)
    on_cfg_denoised(SimpleNamespace(x=x, inner_model=params.denoiser.inner_model))
    assert params.x is x


def test_an_error_of_the_callback_is_kept_for_the_run():
    denoiser = Denoiser()
    with clip_order(denoiser) as order:
        order.frames, order.parts = 2, 2
        params = batch(2, 2)
        params.denoiser, params.image_cond = denoiser, "no tensor"
        on_cfg_denoiser(params)
        assert isinstance(order.error, Exception)


def test_frames_with_unequal_parts_are_refused():
    assert count_parts(SimpleNamespace(batch=[[1, 2], [1, 2]])) == 2
    with pytest.raises(UnsupportedError, match="same number of AND parts"):
        count_parts(SimpleNamespace(batch=[[1, 2], [1]]))
