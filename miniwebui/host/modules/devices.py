"""Where tensors live and in what precision: the names extensions read from ``modules.devices``.

Half precision is used on CUDA only; every other device computes in float32.
"""

from __future__ import annotations

import gc
from contextlib import AbstractContextManager, nullcontext

import torch

from modules.shared_cmd_options import cmd_opts


class NansException(Exception):  # noqa: N818  (the name is part of the extension contract)
    """A network answered with numbers that are not numbers."""


cpu, fp8 = torch.device("cpu"), False


def get_optimal_device_name() -> str:
    """The best device this machine has: CUDA (ROCm answers to that name too), XPU, MPS, else the CPU."""
    if torch.cuda.is_available():
        chosen = getattr(cmd_opts, "device_id", None)
        return "cuda" if chosen is None else f"cuda:{chosen}"
    xpu = getattr(torch, "xpu", None)
    if xpu is not None and xpu.is_available():
        return "xpu"
    if torch.backends.mps.is_available():
        return "mps"
    return "cpu"


def get_optimal_device() -> torch.device:
    """`get_optimal_device_name` as a device."""
    name = get_optimal_device_name()
    return torch.device(name)


def get_device_for(task: str) -> torch.device:
    """The device for one task ("sd", ...), the CPU where ``--use-cpu`` names the task or ``all``."""
    on_cpu = getattr(cmd_opts, "use_cpu", None) or []
    return cpu if task in on_cpu or "all" in on_cpu else get_optimal_device()


device: torch.device = get_device_for("sd")
_half = device.type == "cuda" and not getattr(cmd_opts, "no_half", False)
dtype: torch.dtype = torch.float16 if _half else torch.float32
dtype_unet: torch.dtype = dtype
dtype_inference: torch.dtype = dtype
dtype_vae: torch.dtype = torch.float32 if getattr(cmd_opts, "no_half_vae", False) else dtype
unet_needs_upcast: bool = False


def has_mps() -> bool:
    """True where Apple's Metal backend can be used."""
    return torch.backends.mps.is_available()


def torch_gc() -> None:
    """Give cached accelerator memory back to the driver."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.empty_cache()
            torch.cuda.ipc_collect()
    elif device.type == "mps":
        gc.collect()
        torch.mps.empty_cache()
    elif device.type == "xpu":
        torch.xpu.empty_cache()


def autocast(disable: bool = False) -> AbstractContextManager:
    """Mixed precision for what runs inside; nothing where everything is float32 already."""
    return torch.autocast(device.type, enabled=True) if dtype != torch.float32 and not disable else nullcontext()


def without_autocast(disable: bool = False) -> AbstractContextManager:
    """Suspend `autocast` for what runs inside."""
    needed = torch.is_autocast_enabled() and not disable
    return torch.autocast(device.type, enabled=False) if needed else nullcontext()


def cond_cast_unet(x: torch.Tensor) -> torch.Tensor:
    """The tensor in the UNet's dtype where the UNet is upcast; as it is otherwise."""
    return x.to(dtype_unet) if unet_needs_upcast else x


def cond_cast_float(x: torch.Tensor) -> torch.Tensor:
    """The tensor in float32 where the UNet is upcast; as it is otherwise."""
    return x.float() if unet_needs_upcast else x


def test_for_nans(x: torch.Tensor, where: str) -> None:
    """Raise `NansException` when the first element of ``x`` is NaN (one look is enough: NaN spreads)."""
    if getattr(cmd_opts, "disable_nan_check", False) or not torch.isnan(x.flatten()[0]):
        return
    names = {"unet": "the UNet", "vae": "the VAE"}
    hint = "" if dtype == torch.float32 else " Half precision may be too narrow for this model: try --no-half."
    raise NansException(
        f"{names.get(where, where)} produced a tensor of NaNs.{hint} "
        "The flag --disable-nan-check switches this check off."
    )


# The random functions live in rng.py, which needs this module; it puts them here under their usual names.
randn = None
randn_local = None
randn_like = None
randn_without_seed = None
manual_seed = None
