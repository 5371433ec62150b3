"""A latent-diffusion UNet with our modules hooked in gives the numbers of the official UNet3DConditionModel."""

import contextlib
import io
import json
import sys
from types import ModuleType

import ldm.modules.attention
import numpy as np
import pytest
import torch
from ldm.modules.diffusionmodules.openaimodel import UNetModel
from ldm.modules.diffusionmodules.util import GroupNorm32
from safetensors.torch import save_file

from lib_animatediff.motion.files import load_motion_model
from lib_animatediff.unet.hooks import attach_motion
from tests.golden.drawing import digest, weight
from tests.golden.ldm_keys import to_ldm
from tests.golden.make_golden import CONTEXT_WIDTH, FOLDER, FRAMES, HEIGHT, POSITIONS, WIDTHS, inputs

TOLERANCE = 1e-9


class Golden:
    """One dump: the official weights (drawn anew and checked), position tables and output."""

    def __init__(self, family):
        with np.load(FOLDER / f"{family}.npz") as data:
            shapes = json.loads(str(data["shapes"]))
            self.weights = {name: weight(name, tuple(shape)) for name, shape in shapes.items()}
            assert digest(self.weights) == str(data["weights_sha256"])
            self.tables = {width: torch.from_numpy(data[f"pe{width}"]) for width in set(WIDTHS)}
            self.output = torch.from_numpy(data["output"])

    def save_motion_module(self, path):
        motion = {name: tensor for name, tensor in self.weights.items() if ".motion_modules." in name}
        for name in list(motion):
            if name.endswith(".to_q.weight"):
                table = self.tables[motion[name].shape[0]]
                motion[name.replace("to_q.weight", "pos_encoder.pe")] = table.clone()
        save_file(motion, path)
        return path


@pytest.fixture(autouse=True)
def _float64_ldm(monkeypatch):
    """ldm rounds some steps to float32; the comparison needs them in float64."""
    monkeypatch.setattr(ldm.modules.attention, "_ATTN_PRECISION", "as it comes")
    monkeypatch.setattr(GroupNorm32, "forward", torch.nn.GroupNorm.forward)


def build_unet(golden, monkeypatch):
    list_config = ModuleType("omegaconf.listconfig")  # ldm only asks whether an argument is one
    list_config.ListConfig = type("ListConfig", (), {})
    monkeypatch.setitem(sys.modules, "omegaconf", ModuleType("omegaconf"))
    monkeypatch.setitem(sys.modules, "omegaconf.listconfig", list_config)
    with contextlib.redirect_stdout(io.StringIO()):
        unet = UNetModel(
            image_size=HEIGHT,
            in_channels=4,
            out_channels=4,
            model_channels=WIDTHS[0],
            attention_resolutions=[4, 2, 1],
            num_res_blocks=2,
            channel_mult=[width // WIDTHS[0] for width in WIDTHS],
            num_heads=8,
            use_spatial_transformer=True,
            context_dim=CONTEXT_WIDTH,
            use_checkpoint=False,
            legacy=False,
        )
    unet.double().eval()
    unet.dtype = torch.float64
    spatial = {to_ldm(name): t for name, t in golden.weights.items() if ".motion_modules." not in name}
    unet.load_state_dict(spatial)
    unet.time_embed.register_forward_pre_hook(lambda _module, args: (args[0].double(),))
    return unet


def run(unet, model, **attach):
    latents, context, timesteps = inputs()
    rows = latents.transpose(1, 2).flatten(0, 1)  # (clips * frames, 4, h, w)
    context, timesteps = context.repeat_interleave(FRAMES, 0), timesteps.repeat_interleave(FRAMES, 0)
    with torch.no_grad(), attach_motion(unet, model, **attach):
        out = unet(rows, timesteps, context)
    return out.unflatten(0, (-1, FRAMES)).transpose(1, 2)


@pytest.mark.parametrize("family", POSITIONS)
def test_whole_unet_equals_the_official_one(family, tmp_path, monkeypatch):
    golden = Golden(family)
    model = load_motion_model(golden.save_motion_module(tmp_path / "motion.safetensors"))
    assert model.family.name == family
    out = run(build_unet(golden, monkeypatch), model, frames=lambda: FRAMES)
    error = (out - golden.output).abs().max().item()
    print(f"{family}: max abs error {error:.2e}")
    assert error < TOLERANCE


def test_the_comparison_can_tell_families_and_clips_apart(tmp_path, monkeypatch):
    golden = Golden("v1")
    model = load_motion_model(golden.save_motion_module(tmp_path / "motion.safetensors"))
    unet = build_unet(golden, monkeypatch)
    everything_one_clip = run(unet, model, frames=lambda: 2 * FRAMES)
    per_frame_norms = load_motion_model(Golden("v3").save_motion_module(tmp_path / "v3.safetensors"))
    assert (everything_one_clip - golden.output).abs().max() > 1e-3
    assert (run(unet, per_frame_norms, frames=lambda: FRAMES) - golden.output).abs().max() > 1e-3
