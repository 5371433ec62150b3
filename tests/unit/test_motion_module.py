import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_animatediff.errors import AnimateDiffError
from lib_animatediff.motion import module as motion_module
from lib_animatediff.motion.module import Scratch, TemporalTransformer, position_table, stretched_positions
from tests.unit.motion_files import BLOCK, random_tensors


def by_the_formulas(tensors, x, frames, key_scale=None):
    """The published steps one by one, on (rows of one position, frames, C)."""
    p = {name: tensor.to(x.dtype) for name, tensor in tensors.items()}
    batch, c, height, width = x.shape
    groups = x.view(batch, 32, -1)
    h = (groups - groups.mean(-1, keepdim=True)) / (groups.var(-1, keepdim=True, unbiased=False) + 1e-6).sqrt()
    h = h.view_as(x) * p["norm.weight"].view(1, c, 1, 1) + p["norm.bias"].view(1, c, 1, 1)
    h = h.view(-1, frames, c, height * width).permute(0, 3, 1, 2).reshape(-1, frames, c)
    h = h @ p["proj_in.weight"].T + p["proj_in.bias"]

    def layer_norm(y, name):
        y = (y - y.mean(-1, keepdim=True)) / (y.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt()
        return y * p[name + ".weight"] + p[name + ".bias"]

    for i in (0, 1):
        attention = f"{BLOCK}attention_blocks.{i}."
        n = layer_norm(h, f"{BLOCK}norms.{i}") + p[attention + "pos_encoder.pe"][0, :frames]
        q, k, v = ((n @ p[f"{attention}to_{z}.weight"].T).unflatten(-1, (8, -1)).transpose(1, 2) for z in "qkv")
        if key_scale is not None:
            k = k * key_scale.view(1, 1, frames, 1)
        seen = (q @ k.transpose(-1, -2) / math.sqrt(c // 8)).softmax(-1) @ v
        h = h + seen.transpose(1, 2).flatten(2) @ p[attention + "to_out.0.weight"].T + p[attention + "to_out.0.bias"]
    wide = layer_norm(h, f"{BLOCK}ff_norm") @ p[f"{BLOCK}ff.net.0.proj.weight"].T + p[f"{BLOCK}ff.net.0.proj.bias"]
    value, gate = wide.chunk(2, -1)
    gelu = 0.5 * gate * (1 + torch.erf(gate / math.sqrt(2)))
    h = h + (value * gelu) @ p[f"{BLOCK}ff.net.2.weight"].T + p[f"{BLOCK}ff.net.2.bias"]
    h = h @ p["proj_out.weight"].T + p["proj_out.bias"]
    return x + h.view(-1, height * width, frames, c).permute(0, 2, 3, 1).reshape(x.shape)


def latents(batch, channels=32, height=4, width=3, dtype=torch.float64, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, channels, height, width, generator=generator, dtype=torch.float64).to(dtype)


@settings(deadline=None, max_examples=40)
@given(
    channels=st.sampled_from([32, 64, 96]),
    groups=st.integers(1, 3),
    frames=st.integers(1, 32),
    height=st.sampled_from([1, 2, 5, 8]),
    width=st.sampled_from([1, 3, 8]),
    chunk_bytes=st.one_of(st.none(), st.integers(1, 200_000)),
)
def test_equals_the_formulas(channels, groups, frames, height, width, chunk_bytes):
    tensors = random_tensors(channels)
    x = latents(groups * frames, channels, height + 1, width)  # on both sides of MIN_FRAME_PRODUCT
    before = x.clone()
    out = TemporalTransformer(tensors)(x, frames, chunk_bytes=chunk_bytes)
    torch.testing.assert_close(out, by_the_formulas(tensors, x, frames), rtol=0, atol=1e-11)
    assert torch.equal(x, before)


@pytest.mark.parametrize("differentiable", [False, True])
def test_the_scale_of_the_keys_equals_the_formulas(differentiable):
    tensors, scale = random_tensors(64), torch.linspace(0, 2.5, 5, dtype=torch.float64)
    x = latents(10, 64).requires_grad_(differentiable)
    module = TemporalTransformer(tensors)
    wanted = by_the_formulas(tensors, x.detach(), 5, scale)
    torch.testing.assert_close(module(x, 5, key_scale=scale).detach(), wanted, rtol=0, atol=1e-11)
    assert (module(x.detach(), 5) - wanted).abs().max() > 1e-3
    torch.testing.assert_close(module(x.detach(), 5, key_scale=torch.ones(5)), module(x.detach(), 5), rtol=0, atol=0)


# positions of longer contexts


def test_stretched_positions_are_sinusoids_of_places_between():
    table = position_table(64, 24)[None].expand(2, -1, -1)
    for how, used in (("stretched", 24), ("sweet spot", 16)):
        made = stretched_positions(table, 40, how)
        assert made.shape == (2, 40, 64)
        for frame in (0, 7, 39):
            place = frame * (used - 1) / 39
            rate = 10000.0 ** (-torch.arange(0, 64, 2, dtype=torch.float64) / 64)
            torch.testing.assert_close(made[1, frame, 0::2].double(), (place * rate).sin(), rtol=0, atol=2e-6)
            torch.testing.assert_close(made[1, frame, 1::2].double(), (place * rate).cos(), rtol=0, atol=2e-6)


def test_a_learned_table_is_stretched_along_straight_lines():
    table = torch.randn(2, 5, 8, dtype=torch.float64)
    made = stretched_positions(table, 9, "stretched")
    torch.testing.assert_close(made[:, 0::2], table, rtol=0, atol=1e-12)
    torch.testing.assert_close(made[:, 1::2], (table[:, 1:] + table[:, :-1]) / 2, rtol=0, atol=1e-12)
    assert stretched_positions(table[:, :1], 3, "stretched").equal(table[:, :1].expand(-1, 3, -1))


def test_positions_that_suffice_are_left_alone():
    table = position_table(32, 24)[None]
    assert torch.equal(stretched_positions(table, 24, "stretched"), table)
    assert torch.equal(stretched_positions(table, 16, "sweet spot"), table[:, :16])
    assert torch.equal(stretched_positions(table, 20, "trained"), table[:, :20])


def test_a_module_sees_more_frames_with_stretched_positions():
    module = TemporalTransformer(random_tensors(32, positions=8))
    x = latents(12)
    with pytest.raises(AnimateDiffError, match="8 positions"):
        module(x, 12)
    stretched, spot = module(x, 12, positions="stretched"), module(x, 12, positions="sweet spot")
    assert stretched.shape == x.shape
    torch.testing.assert_close(stretched, spot, rtol=0, atol=0)  # the table is shorter than the sweet spot
    assert torch.equal(module(x, 6, positions="stretched"), module(x, 6))


@settings(deadline=None, max_examples=25)
@given(frames=st.integers(1, 16), chunk_bytes=st.integers(1, 100_000))
def test_chunks_equal_the_whole(frames, chunk_bytes):
    module, x = TemporalTransformer(random_tensors(64)), latents(2 * frames, 64)
    whole = module(x, frames, chunk_bytes=1 << 40)
    torch.testing.assert_close(module(x, frames, chunk_bytes=chunk_bytes), whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [3, 9])  # on both sides of MIN_FRAME_PRODUCT
def test_modules_share_scratch_memory(size):
    small, large = TemporalTransformer(random_tensors(32)), TemporalTransformer(random_tensors(64, seed=5))
    scratch = Scratch()
    for module in (small, large, small):
        x = latents(8, module.channels, size, size)
        with torch.inference_mode():
            assert torch.equal(module(x, 4, scratch=scratch), module(x, 4))
        assert torch.equal(module(x, 4, scratch=scratch), module(x, 4))  # made within inference mode, used without
    x = latents(8, 64, dtype=torch.float32)
    assert torch.equal(large.float()(x, 4, scratch=scratch), large(x, 4))


def test_groups_do_not_see_each_other():
    module, x = TemporalTransformer(random_tensors(32)), latents(12)
    together = module(x, 4)
    for start in (0, 4, 8):
        torch.testing.assert_close(together[start : start + 4], module(x[start : start + 4], 4), rtol=0, atol=1e-12)


def test_frames_see_each_other_and_their_order_matters():
    module, x = TemporalTransformer(random_tensors(32)), latents(4)
    changed = x.clone()
    changed[3] += 1 + latents(1, seed=5)[0]
    assert (module(changed, 4)[0] - module(x, 4)[0]).abs().max() > 1e-3
    assert (module(x.flip(0), 4).flip(0) - module(x, 4)).abs().max() > 1e-3


def test_positions_in_space_do_not_see_each_other_but_through_the_norm():
    tensors = random_tensors(32)
    module, x = TemporalTransformer(tensors), latents(4, height=2, width=2)
    swapped = x.flip(-1)
    torch.testing.assert_close(module(swapped, 4).flip(-1), module(x, 4), rtol=0, atol=1e-12)


def test_a_zero_output_projection_is_the_identity():
    tensors = random_tensors(32)
    tensors |= {name: torch.zeros_like(tensors[name]) for name in ("proj_out.weight", "proj_out.bias")}
    x = latents(6)
    assert torch.equal(TemporalTransformer(tensors)(x, 3), x)


@pytest.mark.parametrize("height", [5, 9])
@pytest.mark.parametrize("layout", ["channels last", "transposed", "slice of a larger tensor"])
def test_memory_layouts_of_the_input(layout, height):
    module, x = TemporalTransformer(random_tensors(32)), latents(4, height=height, width=8)
    expected = module(x, 4)
    if layout == "channels last":
        laid = x.to(memory_format=torch.channels_last)
    elif layout == "transposed":
        laid = x.transpose(2, 3).contiguous().transpose(2, 3)
    else:
        laid = torch.cat([x, x], 1)[:, :32]
    assert not laid.is_contiguous()
    torch.testing.assert_close(module(laid, 4), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-6), (torch.float32, 2e-5), (torch.float16, 2e-2), (torch.bfloat16, 0.15)],
)
def test_computes_in_the_dtype_of_the_input(dtype, tolerance):
    if dtype == torch.float16 and torch.__version__ < "2.2":
        pytest.skip("before 2.2 torch had no half-precision norms for CPUs")
    tensors = random_tensors(32, dtype=torch.float32)
    module, x = TemporalTransformer(tensors), latents(8)
    out = module(x.to(dtype), 4)
    assert out.dtype == dtype
    expected = by_the_formulas({name: tensor.double() for name, tensor in tensors.items()}, x.to(dtype).double(), 4)
    assert (out.double() - expected).abs().max() < tolerance
    assert module.proj_in.weight.dtype == torch.float32


def test_autocast_changes_nothing():
    module, x = TemporalTransformer(random_tensors(32)).float(), latents(4, dtype=torch.float32)
    expected = module(x, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = module(x, 4)
        with_gradients = module(x.clone().requires_grad_(), 4)
    assert torch.equal(out, expected)
    torch.testing.assert_close(with_gradients.detach(), expected, rtol=0, atol=1e-5)


def test_gradients_are_those_of_the_formulas():
    tensors = random_tensors(32)
    module = TemporalTransformer(tensors)
    ours, theirs = latents(6).requires_grad_(), latents(6).requires_grad_()
    target = latents(6, seed=3)
    (module(ours, 3) * target).sum().backward()
    (by_the_formulas(tensors, theirs, 3) * target).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-10)
    assert module.proj_in.weight.grad is None


def test_the_position_table_follows_frames_dtype_and_a_detour_through_half():
    module, x = TemporalTransformer(random_tensors(32)), latents(8)
    expected = {frames: module(x, frames) for frames in (8, 4, 2)}
    for frames in (2, 8, 4, 8):
        assert torch.equal(module(x, frames), expected[frames])
    exact = module.positions.clone()
    module.half().double()
    assert torch.equal(module.positions, exact)


def test_more_frames_than_positions_are_refused_with_both_numbers():
    module = TemporalTransformer(random_tensors(32, positions=24))
    assert module.max_frames == 24
    with pytest.raises(AnimateDiffError, match=r"24 positions.*25 frames"):
        module(latents(25), 25)


def test_a_batch_that_is_no_multiple_of_the_frames_is_refused():
    with pytest.raises(AnimateDiffError, match="batch of 7"):
        TemporalTransformer(random_tensors(32))(latents(7), 4)


def test_a_missing_table_is_computed():
    tensors = random_tensors(32)
    without = {name: tensor for name, tensor in tensors.items() if not name.endswith("pe")}
    module = TemporalTransformer(without, positions=64)
    assert module.max_frames == 64
    x = latents(6)
    torch.testing.assert_close(module(x, 6), TemporalTransformer(tensors)(x, 6), rtol=0, atol=1e-12)


@settings(deadline=None, max_examples=20)
@given(channels=st.integers(1, 60).map(lambda n: 2 * n), length=st.integers(1, 130))
def test_position_table_is_the_published_one(channels, length):
    table = position_table(channels, length).double()
    for position in {0, length // 2, length - 1}:
        for i in {0, channels // 4, channels // 2 - 1}:
            angle = position * math.exp(-math.log(10000.0) * 2 * i / channels)
            assert table[position, 2 * i].item() == pytest.approx(math.sin(angle), abs=2e-5)
            assert table[position, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=2e-5)


def test_attention_never_sees_more_rows_than_a_cuda_grid_holds(monkeypatch):
    seen = []
    attention = F.scaled_dot_product_attention

    def spy(q, k, v):
        seen.append(q.shape[0])
        return attention(q, k, v)

    monkeypatch.setattr(F, "scaled_dot_product_attention", spy)
    monkeypatch.setattr(motion_module, "CHUNK_BYTES", {"cpu": 1 << 40, "other": 1 << 40})
    module, x = TemporalTransformer(random_tensors(32)).float(), latents(1, height=260, width=260, dtype=torch.float32)
    out = module(x, 1)
    assert sum(seen) == 2 * 260 * 260 > 2 * 65535
    assert max(seen) < 65535
    corner = module(latents(1, dtype=torch.float32), 1)
    assert out.isfinite().all()
    assert corner.isfinite().all()


def test_weights_are_frozen_and_never_inference_tensors():
    module = TemporalTransformer(random_tensors(32))
    with torch.inference_mode():
        module.to(torch.float32)
        module(latents(4, dtype=torch.float32), 4)
    assert not any(p.requires_grad for p in module.parameters())
    assert not module.training
    assert not any(p.is_inference() for p in module.parameters())
    x = latents(4, dtype=torch.float32).requires_grad_()
    module(x, 4).sum().backward()
    assert x.grad.isfinite().all()


def test_the_weights_stay_one_block_of_memory_wherever_they_are_moved():
    module = TemporalTransformer(random_tensors(32))
    values = {name: value.clone() for name, value in module.state_dict().items()}
    for dtype in (torch.float16, torch.float32, torch.float64):
        module.to(dtype=dtype)
        assert len({value.untyped_storage().data_ptr() for value in module.parameters()}) == 1
    assert all(torch.equal(value.half(), values[name].half()) for name, value in module.state_dict().items())


def test_weights_moved_one_by_one_are_not_lost():
    module = TemporalTransformer(random_tensors(32))
    changed = module.norm
    changed.weight = torch.nn.Parameter(changed.weight.detach() + 1, requires_grad=False)
    expected = changed.weight.clone()
    module.to(dtype=torch.float64)
    assert torch.equal(changed.weight, expected.double())
