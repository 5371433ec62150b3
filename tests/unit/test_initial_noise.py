"""The noise that sampling starts from, against the published rules written out independently."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lib_animatediff.fields import FIELD
from lib_animatediff.noise.initial import NOISE_KINDS, arrange_noise
from tests.unit.test_request import UNHURRIED


def own_noise(frames, size=8):
    return torch.randn(frames, 4, size, size, generator=torch.Generator().manual_seed(3))


def arranged(noise, kind, context=16, overlap=4, seed=1):
    return arrange_noise(noise, kind, context=context, overlap=overlap, seed=seed)


def order_of(noise, made):
    """Which frame of ``noise`` each frame of ``made`` is."""
    found = [[i for i, frame in enumerate(noise) if torch.equal(frame, one)] for one in made]
    assert all(len(frames) == 1 for frames in found)
    return [frames[0] for frames in found]


def test_the_simple_kinds():
    noise = own_noise(20)
    assert arranged(noise, "per frame") is noise
    assert order_of(noise, arranged(noise, "shared")) == [0] * 20
    assert order_of(noise, arranged(noise, "repeated", context=8)) == [*range(8), *range(8), *range(4)]
    assert tuple(NOISE_KINDS) == FIELD["initial_noise"].choices
    with pytest.raises(ValueError, match="FreeNoise"):
        arranged(noise, "freenoise")


@UNHURRIED
@given(st.integers(1, 70), st.integers(1, 24), st.data(), st.integers(0, 2**63))
def test_free_noise_shuffles_the_pieces_of_one_context_before(frames, context, data, seed):
    overlap = data.draw(st.integers(0, context - 1))
    noise = own_noise(frames, 2)
    order = order_of(noise, arranged(noise, "FreeNoise", context, overlap, seed))
    assert order[:context] == list(range(min(context, frames)))
    hop = context - overlap
    for start in range(context, frames, hop):
        piece, before = order[start : start + hop], order[start - context : start - context + hop]
        assert set(piece) <= set(before)
        assert len(set(piece)) == len(piece)
        if len(piece) == hop:
            assert set(piece) == set(before)


def test_free_noise_goes_by_the_seed():
    noise = own_noise(64, 2)
    assert torch.equal(arranged(noise, "FreeNoise"), arranged(noise, "FreeNoise"))
    assert not torch.equal(arranged(noise, "FreeNoise"), arranged(noise, "FreeNoise", seed=2))


def test_mixed_noise_has_unit_variance_and_half_of_it_in_common():
    made = arranged(own_noise(24, 32), "mixed").double().flatten(1)
    assert made.var(1).sub(1).abs().max() < 0.1
    correlation = torch.corrcoef(made)
    off = correlation[~torch.eye(24, dtype=torch.bool)]
    assert (off - 0.5).abs().max() < 0.08
    assert arranged(own_noise(3).half(), "mixed").dtype == torch.float16
