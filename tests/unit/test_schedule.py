"""Noise schedules against their formulas."""

import math

import pytest
import torch

from lib_animatediff.motion.families import FAMILIES
from lib_animatediff.noise.schedule import alphas_cumprod, rescale_zero_terminal_snr


def by_hand(kind, start, end):
    product, table = 1.0, []
    for i in range(1000):
        if kind == "linear":
            beta = start + (end - start) * i / 999
        else:
            beta = (math.sqrt(start) + (math.sqrt(end) - math.sqrt(start)) * i / 999) ** 2
        product *= 1 - beta
        table.append(product)
    return torch.tensor(table, dtype=torch.float64)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_each_familys_table_is_its_formula(family):
    betas = family.beta_schedule
    table = alphas_cumprod(betas.kind, betas.start, betas.end)
    assert table.dtype == torch.float32
    torch.testing.assert_close(table.double(), by_hand(betas.kind, betas.start, betas.end), rtol=2e-4, atol=1e-7)


def test_sd15_motion_models_and_checkpoints_do_not_share_a_schedule():
    motion = alphas_cumprod("linear", 0.00085, 0.012)
    checkpoint = alphas_cumprod("scaled_linear", 0.00085, 0.012)
    assert (motion - checkpoint).abs().max() > 0.05


def test_another_name_is_an_error():
    with pytest.raises(ValueError, match="sqrt_linear"):
        alphas_cumprod("sqrt_linear", 0.1, 0.2)


def test_zero_terminal_snr_keeps_the_first_step_and_empties_the_last():
    table = alphas_cumprod("linear", 0.00085, 0.012)
    rescaled = rescale_zero_terminal_snr(table)
    assert rescaled[0] == pytest.approx(float(table[0]), rel=1e-6)
    assert 0 < rescaled[-1] < 1e-7
    assert bool((rescaled.diff() < 0).all())
    roots = (table.double().sqrt() - table[-1].double().sqrt()) / (table[0].double().sqrt() - table[-1].double().sqrt())
    torch.testing.assert_close(
        rescaled[:-1].double().sqrt(), roots[:-1] * table[0].double().sqrt(), rtol=1e-4, atol=1e-6
    )
