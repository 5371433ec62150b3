"""Write tests/golden/{v1,v2,v3}.npz: outputs of the official AnimateDiff UNet in float64.

    git clone https://github.com/guoyww/AnimateDiff           (made with commit e92bd56)
    pip install --no-deps --target LIBRARIES diffusers==0.11.1 huggingface_hub==0.16.4 einops
    python -m tests.golden.make_golden ANIMATEDIFF LIBRARIES

The weights are not stored: tests.golden.drawing draws them from their names. A file holds the names and shapes, the
digest of the weights, the position tables, the inputs' names and the output.
"""

import importlib.machinery
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

from tests.golden.drawing import digest, uniform, weight

FOLDER = Path(__file__).parent
WIDTHS = (32, 64, 96, 96)
CONTEXT_WIDTH = 24
CLIPS, FRAMES, HEIGHT, WIDTH, TOKENS = 2, 5, 16, 8, 7
TIMESTEPS = (601, 37)
POSITIONS = {"v1": 24, "v2": 32, "v3": 32}


def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Latents (clips, 4, frames, h, w), context (clips, tokens, width), timesteps (clips,): unlike in every clip."""
    latents = 2 * uniform("input.latents", (CLIPS, 4, FRAMES, HEIGHT, WIDTH))
    context = uniform("input.context", (CLIPS, TOKENS, CONTEXT_WIDTH))
    return latents, context, torch.tensor(TIMESTEPS)


def official_unet(family: str) -> torch.nn.Module:
    """The official network with the settings of configs/inference/inference-{family}.yaml, but narrow."""
    from animatediff.models.unet import UNet3DConditionModel

    unet = UNet3DConditionModel(
        sample_size=HEIGHT,
        block_out_channels=WIDTHS,
        cross_attention_dim=CONTEXT_WIDTH,
        attention_head_dim=8,
        use_inflated_groupnorm=family != "v1",
        use_motion_module=True,
        motion_module_resolutions=[1, 2, 4, 8],
        motion_module_mid_block=family == "v2",
        motion_module_type="Vanilla",
        motion_module_kwargs={
            "num_attention_heads": 8,
            "num_transformer_block": 1,
            "attention_block_types": ["Temporal_Self", "Temporal_Self"],
            "temporal_position_encoding": True,
            "temporal_position_encoding_max_len": POSITIONS[family],
            "temporal_attention_dim_div": 1,
            "zero_initialize": True,
        },
    )
    return unet.double().eval()


def make(family: str) -> None:
    unet = official_unet(family)
    weights = {name: weight(name, tuple(tensor.shape)) for name, tensor in unet.state_dict().items()}
    unet.load_state_dict(weights)
    tables = {
        module.pe.shape[2]: module.pe for module in unet.modules() if type(module).__name__ == "PositionalEncoding"
    }
    latents, context, timesteps = inputs()
    with torch.no_grad():
        output = unet(latents, timesteps, context).sample
    np.savez_compressed(
        FOLDER / f"{family}.npz",
        shapes=json.dumps({name: list(tensor.shape) for name, tensor in weights.items()}),
        weights_sha256=digest(weights),
        output=output.numpy(),
        **{f"pe{width}": table.float().numpy() for width, table in tables.items()},
    )
    print(f"{family}: {len(weights)} tensors, output of size {output.abs().mean():.3f}")


def prepare_imports(checkout: str, libraries: str) -> None:
    """The official code and its libraries first; what it imports and does not need here, hidden."""
    sys.path[:0] = [libraries, checkout]
    find_spec = importlib.util.find_spec

    def hiding(name: str, package: str | None = None) -> importlib.machinery.ModuleSpec | None:
        return (
            None if name.partition(".")[0] in ("transformers", "accelerate", "xformers") else find_spec(name, package)
        )

    importlib.util.find_spec = hiding
    sys.modules["torchvision"] = ModuleType("torchvision")


if __name__ == "__main__":
    prepare_imports(*sys.argv[1:3])
    for name in POSITIONS:
        make(name)
