"""The networks of an SD1.x checkpoint: Stability's ``ldm`` UNet and autoencoder, CLIP from transformers.

The names inside (``model.diffusion_model``, ``first_stage_model``, ``cond_stage_model``, ``alphas_cumprod``) are those
of the checkpoint files, and what extensions reach for.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
import yaml
from ldm.modules import attention
from ldm.modules.diffusionmodules import openaimodel
from ldm.modules.diffusionmodules.model import Decoder, Encoder
from ldm.modules.distributions.distributions import DiagonalGaussianDistribution
from torch import nn
from torch.overrides import TorchFunctionMode

from modules import devices, sd_unet
from modules.sd_clip import TextEncoder

# SD1.5's own sizes; widths that a file shows by its shapes are read from there.
UNET = {
    "image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": 320, "attention_resolutions": [4, 2, 1],
    "num_res_blocks": 2, "channel_mult": [1, 2, 4, 4], "num_heads": 8, "use_spatial_transformer": True,
    "transformer_depth": 1, "context_dim": 768, "use_checkpoint": False, "legacy": False,
}  # fmt: skip
AUTOENCODER = {
    "double_z": True, "z_channels": 4, "resolution": 256, "in_channels": 3, "out_ch": 3, "ch": 128,
    "ch_mult": [1, 2, 4, 4], "num_res_blocks": 2, "attn_resolutions": [], "dropout": 0.0,
}  # fmt: skip
PREFIX_UNET = "model.diffusion_model."
PREFIX_TEXT = "cond_stage_model.transformer.text_model."


class CheckpointError(ValueError):
    """The file is not a checkpoint that this host can load; the message says what it is."""


@dataclass(frozen=True)
class ModelConfig:
    """What a checkpoint's networks look like."""

    unet: Mapping = field(default_factory=lambda: dict(UNET))
    autoencoder: Mapping = field(default_factory=lambda: dict(AUTOENCODER))
    clip_width: int = 768
    clip_layers: int = 12
    clip_inner: int = 3072
    linear_start: float = 0.00085
    linear_end: float = 0.012
    timesteps: int = 1000
    scale_factor: float = 0.18215
    parameterization: str = "eps"


def read_config(state: Mapping[str, torch.Tensor], path: Path | None) -> ModelConfig:
    """The config of a checkpoint: from the YAML file beside it where there is one, the widths from the tensors.

    Raises `CheckpointError` for files of another kind.
    """
    _refuse_foreign(state)
    params = yaml.safe_load(path.read_text(encoding="utf-8"))["model"]["params"] if path else {}
    unet = {**UNET, **params.get("unet_config", {}).get("params", {}), "use_checkpoint": False, "use_fp16": False}
    autoencoder = {**AUTOENCODER, **params.get("first_stage_config", {}).get("params", {}).get("ddconfig", {})}
    unet["model_channels"] = state[PREFIX_UNET + "input_blocks.0.0.weight"].shape[0]
    cross = state.get(PREFIX_UNET + "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight")
    if cross is not None:
        unet["context_dim"] = cross.shape[1]
    autoencoder["ch"] = state["first_stage_model.encoder.conv_in.weight"].shape[0]
    layer = re.compile(re.escape(PREFIX_TEXT) + r"encoder\.layers\.(\d+)\.")
    layers = {int(found[1]) for key in state if (found := layer.match(key))}
    return ModelConfig(
        unet=unet,
        autoencoder=autoencoder,
        clip_width=state[PREFIX_TEXT + "embeddings.token_embedding.weight"].shape[1],
        clip_layers=len(layers),
        clip_inner=state[PREFIX_TEXT + "encoder.layers.0.mlp.fc1.weight"].shape[0],
        linear_start=float(params.get("linear_start", 0.00085)),
        linear_end=float(params.get("linear_end", 0.012)),
        timesteps=int(params.get("timesteps", 1000)),
        scale_factor=float(params.get("scale_factor", 0.18215)),
        parameterization=params.get("parameterization", "eps"),
    )


def _refuse_foreign(state: Mapping[str, torch.Tensor]) -> None:
    first = state.get(PREFIX_UNET + "input_blocks.0.0.weight")
    if any(key.startswith("conditioner.") for key in state):
        raise CheckpointError("This is an SDXL checkpoint; this WebUI loads checkpoints of the SD1.x family only.")
    if any(key.startswith("cond_stage_model.model.") for key in state):
        raise CheckpointError("This is an SD2 checkpoint; this WebUI loads checkpoints of the SD1.x family only.")
    if first is None or PREFIX_TEXT + "embeddings.token_embedding.weight" not in state:
        raise CheckpointError("This file holds no SD1.x checkpoint: the UNet or the text encoder is missing in it.")
    if first.shape[1] != 4:
        raise CheckpointError(
            f"This checkpoint's UNet takes {first.shape[1]} channels; only plain SD1.x (4) is loaded."
        )


class _NoInitialisation(TorchFunctionMode):
    """Parameters stay as allocated: they are about to be overwritten from a file."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in (torch.Tensor.normal_, torch.Tensor.uniform_):
            return args[0]
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def _building():
    """Around the building of ldm's networks: no initial values, no prints, no need of omegaconf.

    ldm asks omegaconf for one class, to see whether an argument is of it; where the package is not installed, a class
    that nothing is of answers the question.
    """
    names = [] if find_spec("omegaconf") else ["omegaconf", "omegaconf.listconfig"]
    for name in names:
        sys.modules[name] = ModuleType(name)
        sys.modules[name].ListConfig = type("ListConfig", (), {})
    try:
        with contextlib.redirect_stdout(io.StringIO()), _NoInitialisation():
            yield
    finally:
        for name in names:
            del sys.modules[name]


class _TorchThatFits:
    """`torch` with a ``cat`` that resizes skip connections, for pictures that are no multiple of 64."""

    def __getattr__(self, name):
        return getattr(torch, name)

    @staticmethod
    def cat(tensors, *args, **kwargs):
        if len(tensors) == 2 and tensors[0].shape[-2:] != tensors[1].shape[-2:]:
            h, skip = tensors
            tensors = (nn.functional.interpolate(h, skip.shape[-2:], mode="nearest"), skip)
        return torch.concat(tensors, *args, **kwargs)


def _attention_forward(self, x, context=None, mask=None):
    """Multi-head attention by torch's fused kernel in place of ldm's explicit softmax."""
    context = x if context is None else context

    def heads(t):
        return t.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    q, k, v = heads(self.to_q(x)), heads(self.to_k(context)), heads(self.to_v(context))
    out = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return self.to_out(out.transpose(1, 2).flatten(2).to(x.dtype))


attention.CrossAttention.forward = _attention_forward
openaimodel.th = _TorchThatFits()
openaimodel.UNetModel.forward = sd_unet.create_unet_forward(openaimodel.UNetModel.forward)


class Autoencoder(nn.Module):
    """AutoencoderKL of ldm, without its training half."""

    def __init__(self, config: Mapping, embed_dim: int = 4):
        super().__init__()
        self.encoder = Encoder(**config)
        self.decoder = Decoder(**config)
        self.quant_conv = nn.Conv2d(2 * config["z_channels"], 2 * embed_dim, 1)
        self.post_quant_conv = nn.Conv2d(embed_dim, config["z_channels"], 1)

    @property
    def dtype(self) -> torch.dtype:
        return self.post_quant_conv.weight.dtype

    def encode(self, x: torch.Tensor) -> DiagonalGaussianDistribution:
        """Images (b, 3, h, w) in -1..1 to a distribution over latents (b, 4, h/8, w/8)."""
        return DiagonalGaussianDistribution(self.quant_conv(self.encoder(x)))

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Latents to images in -1..1."""
        return self.decoder(self.post_quant_conv(z))


class DiffusionWrapper(nn.Module):
    """Holds the UNet under the name the checkpoints give it."""

    def __init__(self, config: Mapping):
        super().__init__()
        self.conditioning_key = "crossattn"
        self.diffusion_model = openaimodel.UNetModel(**config)

    def forward(self, x, t, c_concat=None, c_crossattn: Sequence[torch.Tensor] = ()):
        return self.diffusion_model(x, t, context=torch.cat(list(c_crossattn), 1))


class LatentDiffusion(nn.Module):
    """A whole SD1.x model, with the attributes that A1111's code and its extensions ask for."""

    is_sd1, is_sd2, is_sdxl, is_ssd, is_sd3, is_sdxl_inpaint = True, False, False, False, False, False
    cond_stage_key = "txt"
    latent_channels = 4

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.parameterization = config.parameterization
        self.scale_factor = config.scale_factor
        self.num_timesteps = config.timesteps
        with _building():
            self.model = DiffusionWrapper(config.unet)
            self.first_stage_model = Autoencoder(config.autoencoder)
            self.cond_stage_model = TextEncoder(config.clip_width, config.clip_layers, config.clip_inner)
        self.lowvram = False
        self.requires_grad_(False)
        self._register_schedule()

    def _register_schedule(self) -> None:
        """The "scaled linear" noise schedule: betas are squares of evenly spaced numbers (float64, kept as float32)."""
        c = self.config
        betas = np.linspace(c.linear_start**0.5, c.linear_end**0.5, c.timesteps, dtype=np.float64) ** 2
        self.register_buffer("betas", torch.tensor(betas, dtype=torch.float32))
        self.register_buffer("alphas_cumprod", torch.tensor(np.cumprod(1.0 - betas), dtype=torch.float32))

    @property
    def dtype(self) -> torch.dtype:
        return self.model.diffusion_model.out[2].weight.dtype

    @property
    def device(self) -> torch.device:
        return self.betas.device

    def apply_model(self, x_noisy: torch.Tensor, t: torch.Tensor, cond) -> torch.Tensor:
        """One UNet pass; ``cond`` is ``{"c_crossattn": [...], "c_concat": [...]}`` or the text cond alone."""
        if not isinstance(cond, Mapping):
            cond = {"c_crossattn": [cond]}
        to = devices.dtype_unet
        cond = {name: [x.to(to) for x in tensors] for name, tensors in cond.items()}
        with devices.autocast():
            return self.model(x_noisy.to(to), t.to(to), **cond)

    def get_learned_conditioning(self, texts: Sequence[str]) -> torch.Tensor:
        """Texts to conds (texts, tokens, width)."""
        return self.cond_stage_model(texts)

    def encode_first_stage(self, x: torch.Tensor) -> DiagonalGaussianDistribution:
        vae = self.first_stage_model
        return vae.encode(x)

    def get_first_stage_encoding(self, posterior) -> torch.Tensor:
        z = posterior.sample() if isinstance(posterior, DiagonalGaussianDistribution) else posterior
        return self.scale_factor * z

    def decode_first_stage(self, z: torch.Tensor) -> torch.Tensor:
        return self.first_stage_model.decode(z / self.scale_factor)
