"""Motion modules in and out of a UNet."""

import pytest
import torch
from torch import nn

from lib_animatediff.errors import AnimateDiffError, UnsupportedError
from lib_animatediff.unet.groupnorm import group_norm_across_frames
from lib_animatediff.unet.hooks import Strength, attach_motion
from lib_animatediff.unet.slots import find_slots, norms_across_frames, output_channels

from .fake_unet import FakeMotionModel, FakeUNet


@pytest.fixture
def unet():
    torch.manual_seed(0)
    return FakeUNet().double().requires_grad_(False)


def state_of(unet):
    """Everything a leak would show in: hooks, instance attributes, names and values of the state dict."""
    return {
        name: (len(module._forward_hooks), len(module._forward_pre_hooks), sorted(vars(module)))
        for name, module in unet.named_modules()
    }, {name: tensor.clone() for name, tensor in unet.state_dict().items()}


def test_sd15_has_the_official_slots_in_the_order_of_the_forward_pass(unet):
    slots = find_slots(unet)
    assert len(slots) == 21
    assert [name for name in slots if name.startswith("down")] == [
        f"down_blocks.{i}.motion_modules.{j}" for i in range(4) for j in range(2)
    ]
    assert [name for name in slots if name.startswith("up")] == [
        f"up_blocks.{i}.motion_modules.{j}" for i in range(4) for j in range(3)
    ]
    assert slots["down_blocks.0.motion_modules.0"] is unet.input_blocks[1][1]
    assert slots["down_blocks.3.motion_modules.1"] is unet.input_blocks[11][0]
    assert slots["mid_block.motion_modules.0"] is unet.middle_block[1]
    assert slots["up_blocks.1.motion_modules.2"] is unet.output_blocks[5][1], "before the upsampler"
    assert [output_channels(slots[f"up_blocks.{i}.motion_modules.0"]) for i in range(4)] == [96, 96, 64, 32]


def test_a_module_that_is_no_unet_has_no_slots():
    assert find_slots(nn.Linear(1, 1)) == {}


@pytest.mark.parametrize("across_frames", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_left_behind(unet, across_frames, fails):
    x = torch.randn(6, 4, 8, 8, dtype=torch.float64)
    plain, before = unet(x), state_of(unet)
    model = FakeMotionModel(across_frames=across_frames)
    try:
        with attach_motion(unet, model, lambda: 3):
            assert not torch.equal(unet(x), plain)
            if fails:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    after = state_of(unet)
    assert after[0] == before[0]
    assert after[1].keys() == before[1].keys()
    assert all(torch.equal(after[1][name], before[1][name]) for name in before[1])
    assert torch.equal(unet(x), plain)


def test_clips_of_a_batch_do_not_see_each_other(unet):
    x = torch.randn(6, 4, 8, 8, dtype=torch.float64)
    with attach_motion(unet, FakeMotionModel(across_frames=True), lambda: 3):
        together = unet(x)
        apart = torch.cat([unet(x[:3]), unet(x[3:])])
    torch.testing.assert_close(together, apart, rtol=0, atol=1e-12)


def test_the_effect_is_blended_frame_by_frame(unet):
    x, model = torch.randn(6, 4, 8, 8, dtype=torch.float64), FakeMotionModel()
    for module in model.slots.values():
        module.share.data.zero_()
    last = model.slots["up_blocks.3.motion_modules.2"]
    last.share.data.fill_(0.5)  # one module moves: the blend of all is then the blend of the picture
    plain, effect = [], torch.tensor([0.0, 0.25, 1.5])
    handle = find_slots(unet)["up_blocks.3.motion_modules.2"].register_forward_hook(lambda *a: plain.append(a[-1]))
    moved = []
    with attach_motion(unet, model, lambda: 3, lambda: Strength(effect=effect)):
        after = find_slots(unet)["up_blocks.3.motion_modules.2"].register_forward_hook(lambda *a: moved.append(a[-1]))
        unet(x)
        after.remove()
    handle.remove()
    whole = last(plain[0], 3)
    share = effect.double().repeat(2).view(-1, 1, 1, 1)
    torch.testing.assert_close(moved[0], plain[0] + share * (whole - plain[0]), rtol=0, atol=1e-12)
    assert torch.equal(moved[0][0], plain[0][0])


def test_the_modules_get_the_scale_and_the_positions_of_the_moment(unet):
    model, seen = FakeMotionModel(), []
    for module in model.slots.values():
        module.forward = lambda x, frames, **wanted: seen.append(wanted) or x
    scale = torch.tensor([1.0, 2.0])
    with attach_motion(unet, model, lambda: 2, lambda: Strength(scale=scale, positions="stretched")):
        unet(torch.randn(4, 4, 8, 8, dtype=torch.float64))
    assert len(seen) == 21
    assert all(wanted["key_scale"] is scale and wanted["positions"] == "stretched" for wanted in seen)


def test_every_module_runs_once_per_call_with_the_frames_of_the_moment(unet):
    model, frames = FakeMotionModel(), [4]
    with attach_motion(unet, model, lambda: frames[0]):
        unet(torch.randn(8, 4, 8, 8, dtype=torch.float64))
        frames[0] = 2
        unet(torch.randn(2, 4, 8, 8, dtype=torch.float64))
    assert all(module.calls == [4, 2] for module in model.slots.values())


def test_a_batch_that_is_no_whole_number_of_clips_is_an_error_for_the_user(unet):
    with attach_motion(unet, FakeMotionModel(), lambda: 4), pytest.raises(AnimateDiffError, match=r"6 images.+4"):
        unet(torch.randn(6, 4, 8, 8, dtype=torch.float64))


def test_a_model_of_other_widths_is_refused_and_nothing_is_hooked(unet):
    before = state_of(unet)[0]
    model = FakeMotionModel(widths=(32, 64, 128, 128))
    with (
        pytest.raises(UnsupportedError, match="wants 128 channels, the checkpoint has 96"),
        attach_motion(unet, model, lambda: 1),
    ):
        pass
    assert state_of(unet)[0] == before


def test_an_instance_forward_of_somebody_else_is_put_back(unet):
    norm = unet.out[0]
    theirs = norm.forward
    vars(norm)["forward"] = theirs
    with attach_motion(unet, FakeMotionModel(across_frames=True), lambda: 1):
        assert vars(norm)["forward"] is not theirs
    assert vars(norm)["forward"] is theirs


def test_only_resnet_and_output_norms_see_all_frames(unet):
    norms = norms_across_frames(unet)
    transformers = [m.norm for m in unet.modules() if type(m).__name__ == "SpatialTransformer"]
    assert len(norms) == 2 * 22 + 1
    assert not {id(n) for n in norms} & {id(n) for n in transformers}


@pytest.mark.parametrize("clips", [1, 2, 3])
@pytest.mark.parametrize("frames", [1, 5])
def test_norm_across_frames_is_group_norm_in_five_dimensions(clips, frames):
    norm = nn.GroupNorm(4, 8).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = torch.randn(clips * frames, 8, 3, 5, dtype=torch.float64)
    expected = norm(x.view(clips, frames, 8, 3, 5).transpose(1, 2)).transpose(1, 2).reshape(x.shape)
    torch.testing.assert_close(group_norm_across_frames(norm, x, frames), expected, rtol=0, atol=1e-12)


def test_half_precision_is_normalised_in_float32():
    norm = nn.GroupNorm(4, 8)
    x = torch.randn(4, 8, 3, 5)
    expected = group_norm_across_frames(norm, x.half().float(), 2)
    actual = group_norm_across_frames(norm.half(), x.half(), 2)
    assert actual.dtype == torch.float16
    torch.testing.assert_close(actual.float(), expected, rtol=2e-3, atol=2e-3)
