"""Loading checkpoints and switching between them, as A1111 does: one model object per config, filled again."""

from __future__ import annotations

import threading
from contextvars import ContextVar
from pathlib import Path

import safetensors.torch
import torch

from modules import devices, errors, lowvram, script_callbacks, sd_unet, shared
from modules.sd_checkpoints import (  # noqa: F401  (found here by extensions)
    CheckpointInfo,
    checkpoint_aliases,
    checkpoint_tiles,
    checkpoints_list,
    get_closet_checkpoint_match,
    list_models,
    model_hash,
    model_path,
    select_checkpoint,
)
from modules.sd_network import CheckpointError, LatentDiffusion, read_config
from modules.timer import Timer

# keys of old files -> the names of today
_RENAMED = {
    f"cond_stage_model.transformer.{part}.": f"cond_stage_model.transformer.text_model.{part}."
    for part in ("embeddings", "encoder", "final_layer_norm")
}


def setup_model() -> None:
    """Called once at start: make the folder of checkpoints."""
    Path(model_path).mkdir(parents=True, exist_ok=True)


def read_state_dict(checkpoint_file: str, map_location: str = "cpu") -> dict[str, torch.Tensor]:
    """All tensors of a checkpoint file under today's names. Pickles are read weights-only."""
    if Path(checkpoint_file).suffix.lower() == ".safetensors":
        state = safetensors.torch.load_file(checkpoint_file, device=map_location)
    else:
        state = torch.load(checkpoint_file, map_location=map_location, weights_only=True)
        state = state.get("state_dict", state)
    renamed = {}
    for key, value in state.items():
        old = next((x for x in _RENAMED if key.startswith(x)), "")
        renamed[_RENAMED[old] + key[len(old) :] if old else key] = value
    return renamed


# true while a checkpoint is loaded for one request only
_for_now: ContextVar[bool] = ContextVar("_for_now", default=False)


def _note_in_settings(info: CheckpointInfo) -> None:
    if not _for_now.get():
        shared.opts.data["sd_model_checkpoint"] = info.title


def use_for_now(info: CheckpointInfo | None) -> None:
    """Make a checkpoint the current one and leave the setting `sd_model_checkpoint` alone."""
    token = _for_now.set(True)
    try:
        reload_model_weights(info=info)
    finally:
        _for_now.reset(token)


def checkpoint_named(name: str) -> CheckpointInfo:
    """The checkpoint of that name; ValueError if there is none."""
    found = get_closet_checkpoint_match(name)
    if found is None:
        raise ValueError(f"Could not find checkpoint with name {name}")
    return found


def rescale_zero_terminal_snr_abar(alphas_cumprod: torch.Tensor) -> torch.Tensor:
    """Shift and scale sqrt(abar) so that the last step carries no signal (Lin et al. 2023, algorithm 1).

    The last value is a tiny number and not 0, so that sigmas stay finite.
    """
    root = alphas_cumprod.sqrt()
    first, last = root[0].clone(), root[-1].clone()
    rescaled = ((root - last) * (first / (first - last))) ** 2
    rescaled[-1] = 4.8973451890853435e-08
    return rescaled


def apply_alpha_schedule_override(sd_model, p=None) -> None:
    """Put the checkpoint's noise schedule back, changed as the settings ask."""
    if not hasattr(sd_model, "alphas_cumprod_original"):
        return
    schedule = sd_model.alphas_cumprod_original.to(devices.device)
    noted = {}
    if shared.opts.use_downcasted_alpha_bar:
        noted["Downcast alphas_cumprod"] = True
        schedule = schedule.half()
    if shared.opts.sd_noise_schedule == "Zero Terminal SNR":
        noted["Noise Schedule"] = shared.opts.sd_noise_schedule
        schedule = rescale_zero_terminal_snr_abar(schedule)
    sd_model.alphas_cumprod = schedule
    if p is not None:
        p.extra_generation_params.update(noted)


class SdModelData:
    """The current model, and those kept beside it."""

    def __init__(self):
        self.sd_model = None
        self.loaded_sd_models: list[LatentDiffusion] = []
        self.tried = False
        self.lock = threading.RLock()

    def get_sd_model(self):
        """The current model; the first call loads it. None if that failed (the error has been printed)."""
        with self.lock:
            if self.sd_model is None and not self.tried:
                try:
                    load_model()
                except Exception as e:  # noqa: BLE001  (the page must come up without a model too)
                    errors.display(e, "loading the model")
            return self.sd_model

    def set_sd_model(self, v, already_loaded: bool = False) -> None:
        others = [x for x in self.loaded_sd_models if x is not v]
        self.sd_model, self.loaded_sd_models = v, [*([] if v is None else [v]), *others]


model_data = SdModelData()


def send_model_to_cpu(m) -> None:
    """Free the device of a model."""
    if m is not None and not lowvram.rest(m):
        m.to(devices.cpu)
    devices.torch_gc()


def send_model_to_device(m) -> None:
    """Bring a model to the device, or set it up for low VRAM."""
    lowvram.apply(m)
    if not m.lowvram:
        m.to(devices.device)


def send_model_to_trash(m) -> None:
    """Drop the weights of a model for good."""
    lowvram.rest(m)
    m.to(device="meta")
    devices.torch_gc()


def _config_path(info: CheckpointInfo) -> Path | None:
    beside = Path(info.filename).with_suffix(".yaml")
    return beside if beside.exists() else None


def _used_config(info: CheckpointInfo, state) -> str:
    """What decides whether a loaded model can take another checkpoint's weights."""
    path = _config_path(info)
    return str(path) if path else repr(read_config(state, None))


def load_model_weights(model: LatentDiffusion, info: CheckpointInfo, state: dict[str, torch.Tensor]) -> None:
    """Copy a checkpoint's tensors into the model and set its precision."""
    short = info.calculate_shorthash()
    _note_in_settings(info)
    missing, _ = model.load_state_dict(state, strict=False)
    missing = [x for x in missing if x not in ("betas", "alphas_cumprod") and not x.endswith("position_ids")]
    if missing:
        raise CheckpointError(f"{info.name} lacks {len(missing)} tensors of an SD1.x checkpoint, e.g. {missing[0]}.")
    # the autoencoder has a precision of its own, and the schedule keeps the full one
    schedule, vae = model.alphas_cumprod, model.first_stage_model
    model.alphas_cumprod = model.first_stage_model = None
    model.to(devices.dtype_unet)
    model.alphas_cumprod = model.alphas_cumprod_original = schedule
    model.first_stage_model = vae.to(devices.dtype_vae)
    apply_alpha_schedule_override(sd_model=model)
    model.sd_model_hash = short
    model.sd_model_checkpoint = info.filename
    model.sd_checkpoint_info = info
    shared.opts.data["sd_checkpoint_hash"] = info.sha256


def load_model(checkpoint_info: CheckpointInfo | None = None, already_loaded_state_dict=None) -> LatentDiffusion:
    """Build a model for a checkpoint (that of the settings by default) and make it the current one."""
    info = checkpoint_info or select_checkpoint()
    timer = Timer()
    replaced = model_data.sd_model
    if replaced is not None:
        send_model_to_trash(replaced)
        others = [x for x in model_data.loaded_sd_models if x is not replaced]
        model_data.sd_model, model_data.loaded_sd_models = None, others
    state = already_loaded_state_dict or read_state_dict(info.filename)
    timer.record("read file")
    model = LatentDiffusion(read_config(state, _config_path(info)))
    model.used_config = _used_config(info, state)
    timer.record("build model")
    load_model_weights(model, info, state)
    send_model_to_device(model)
    model.eval()
    timer.record("load weights")
    model_data.set_sd_model(model)
    model_data.tried = True
    script_callbacks.model_loaded_callback(model)
    with torch.no_grad(), devices.autocast():
        model.cond_stage_model_empty_prompt = model.get_learned_conditioning([""])
    timer.record("empty prompt")
    print(f"Model {info.title} loaded in {timer.summary()}.")
    return model


def _kept(current, info: CheckpointInfo):
    """The model to go on with: an already loaded one of that checkpoint, else one that can be filled, else None."""
    if current is not None and current.sd_checkpoint_info.filename == info.filename:
        return current
    limit = shared.opts.sd_checkpoints_limit
    if shared.opts.sd_checkpoints_keep_in_cpu and (limit > 1 or len(model_data.loaded_sd_models) > 1):
        send_model_to_cpu(current)
    already = next((m for m in model_data.loaded_sd_models if m.sd_checkpoint_info.filename == info.filename), None)
    for model in [m for m in model_data.loaded_sd_models[max(limit, 1) :] if m is not already]:
        model_data.loaded_sd_models.remove(model)
        send_model_to_trash(model)
    if already is not None:
        send_model_to_device(already)
        model_data.set_sd_model(already)
        if not _for_now.get():
            shared.opts.data.update(sd_model_checkpoint=info.title, sd_checkpoint_hash=info.sha256)
        return already
    if len(model_data.loaded_sd_models) < limit:
        model_data.sd_model = None  # stays in the list; a new object is made beside it
        return load_model(info)
    if model_data.loaded_sd_models:
        model_data.sd_model = model_data.loaded_sd_models.pop()
        return model_data.sd_model
    return None


def reload_model_weights(sd_model=None, info: CheckpointInfo | None = None, forced_reload: bool = False):
    """Make ``info`` (that of the settings by default) the current checkpoint; nothing happens if it is."""
    info = info or select_checkpoint()
    model = sd_model or model_data.sd_model
    if model is not None and model.sd_model_checkpoint == info.filename and not forced_reload:
        return model
    previous = None if model is None else model.sd_checkpoint_info
    model = _kept(model, info)
    if model is not None and model.sd_checkpoint_info.filename == info.filename and not forced_reload:
        return model

    state = read_state_dict(info.filename)
    if model is not None:
        sd_unet.apply_unet("None")
    if model is None or _used_config(info, state) != model.used_config:
        return load_model(info, already_loaded_state_dict=state)
    send_model_to_cpu(model)
    try:
        load_model_weights(model, info, state)
    except Exception:
        print(f"Loading {info.title} failed; going back to {previous.title}.")
        load_model_weights(model, previous, read_state_dict(previous.filename))
        raise
    finally:
        if not model.lowvram:
            model.to(devices.device)
        model_data.set_sd_model(model)
        script_callbacks.model_loaded_callback(model)
    sd_unet.apply_unet()
    print(f"Weights of {info.title} loaded.")
    return model


def unload_model_weights(sd_model=None, info=None):
    """Free the device; the model stays in memory."""
    send_model_to_cpu(sd_model or model_data.sd_model)
    return sd_model
