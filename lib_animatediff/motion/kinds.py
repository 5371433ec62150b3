"""What a file of tensors is when it is not a motion module, and where it belongs; told by its tensor names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """name: for programs; what and belongs: for the sentence; patterns: each must be found in some tensor name."""

    name: str
    what: str
    belongs: str
    patterns: tuple[str, ...]

    def matches(self, joined: str) -> bool:
        return all(re.search(pattern, joined, re.MULTILINE) for pattern in self.patterns)


_LORA = r"\.lora_(down|up|A|B)\b|_lora\.(down|up)\b|\.hada_w1_a|\.lokr_w[12]|\.oft_(blocks|diag)|^lora_(unet|te)"

# The first that matches is taken, so the narrower stand before the wider.
KINDS = (
    Kind(
        "motion lora",
        "a motion LoRA",
        "Move it to models/Lora and call it in the prompt as <lora:name:1>",
        (_LORA, r"motion_modules|temporal_transformer"),
    ),
    Kind(
        "domain adapter",
        "the domain adapter of AnimateDiff v3, a LoRA",
        "Move it to models/Lora and call it in the prompt as <lora:name:1>",
        (r"attentions\.\d+\.transformer_blocks\.\d+\.attn1\.processor\.to_q_lora",),
    ),
    Kind("lora", "a LoRA", "Move it to models/Lora and call it in the prompt as <lora:name:1>", (_LORA,)),
    Kind(
        "sparsectrl",
        "a SparseCtrl encoder",
        "Move it to models/ControlNet and choose it in the ControlNet panel",
        (r"controlnet_cond_embedding\.|input_hint_block\.", r"motion_modules"),
    ),
    Kind(
        "controlnet",
        "a ControlNet",
        "Move it to models/ControlNet and choose it in the ControlNet panel",
        (
            r"^(module\.|state_dict\.)*control_model\.|input_hint_block\.|controlnet_cond_embedding\.|controlnet_down_blocks",
        ),
    ),
    Kind(
        "ip-adapter",
        "an IP-Adapter",
        "Move it to models/ControlNet and choose it in the ControlNet panel",
        (r"^(ip_adapter|image_proj|state_dict\.ip_adapter)\.",),
    ),
    Kind(
        "t2i-adapter",
        "a T2I-Adapter",
        "Move it to models/ControlNet and choose it in the ControlNet panel",
        (r"^(adapter\.)?body\.\d+\.(block1|resnets)\.",),
    ),
    Kind(
        "camera encoder",
        "the pose encoder of CameraCtrl",
        "This extension has no use for it yet",
        (r"pose_encoder|encoder_down_conv_blocks",),
    ),
    Kind(
        "checkpoint",
        "a whole checkpoint",
        "Move it to models/Stable-diffusion and choose it at the top of the page",
        (r"model\.diffusion_model\.", r"first_stage_model\.|cond_stage_model\.|conditioner\."),
    ),
    Kind(
        "unet",
        "the UNet of a checkpoint, with no motion modules",
        "Use a whole checkpoint in models/Stable-diffusion and choose a motion module here",
        (
            r"model\.diffusion_model\.|^(unet\.|state_dict\.|module\.)*(input_blocks\.0\.|down_blocks\.0\.resnets\.)|"
            r"^(unet\.|state_dict\.|module\.)*(double_blocks|transformer_blocks|joint_blocks)\.\d",
            r"time_embed|time_embedding|t_embedder|time_in|input_blocks",
        ),
    ),
    Kind(
        "vae",
        "a VAE",
        "Move it to models/VAE and choose it in Settings",
        (
            r"(^|first_stage_model\.|state_dict\.|vae\.)(encoder|decoder)\.(conv_in|down|up|mid|up_blocks|down_blocks)\b",
        ),
    ),
    Kind(
        "vision model",
        "a CLIP vision model",
        "It belongs to the ControlNet extension",
        (r"vision_model\.|^visual\.transformer",),
    ),
    Kind(
        "text encoder",
        "a text encoder",
        "It belongs to a checkpoint; this extension has no use for it",
        (r"text_model\.encoder|transformer\.resblocks|^encoder\.block\.\d+\.layer|cond_stage_model\.",),
    ),
    Kind(
        "embedding",
        "a textual-inversion embedding",
        "Move it to the folder embeddings and name it in the prompt",
        (r"^(string_to_param\b.*|emb_params|clip_[lg]|<[^>]+>)$",),
    ),
    Kind(
        "hypernetwork",
        "a hypernetwork",
        "Move it to models/hypernetworks",
        (r"^(layer_structure|768\.|320\.linear|activation_func)",),
    ),
    Kind(
        "upscaler",
        "an upscaler",
        "Move it to models/ESRGAN or the folder of its kind",
        (
            r"RRDB_trunk|\.rdb\d\.|^(params(_ema)?\.)?conv_first\.|^(params(_ema)?\.)?body\.\d+\.(weight|conv)|"
            r"^model\.\d+\.(sub|weight)|relative_position_bias_table",
        ),
    ),
)


def recognise(names: Iterable[str]) -> Kind | None:
    """The kind of file that holds tensors (and other values) of these names, or None."""
    joined = "\n".join(names)
    return next((kind for kind in KINDS if kind.matches(joined)), None)
