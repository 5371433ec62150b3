"""A script for the live tests only: it causes faults in the middle of a run and reports what a run left behind.

One argument, a dict (anything else does nothing):

- ``fault``: {"where": "unet" | "vae" | "writer" | "videos", "call": n, "error": name} raises at the n-th call (from 1);
  a writer is named by ``format``
- ``stop``: {"how": "interrupt" | "skip", "call": n} asks the host to stop before the n-th call of the UNet
- ``motion``: "off" lets every motion module return its input, "count" leaves them as they are
- ``schedule``: "host" keeps the checkpoint's own noise schedule
- ``sd_unet``: the label of a network that pretends to replace the checkpoint's own (the host's option SD Unet)
- ``prompts``: prompts of all images, in place of the one prompt

``GET /animatediff-probe/state`` answers with everything a run could have left on the model, and with what was seen in
the last run that carried an argument; ``GET /animatediff-probe/options`` with every option (Forge's own route leaves
out those that nobody ever set). Every change is on one instance and is taken back when the host closes ``p``.
"""

import hashlib
import importlib.util
import os
import socket
from contextlib import ExitStack
from dataclasses import replace
from types import SimpleNamespace

import gradio as gr
import torch
from modules import script_callbacks, scripts, shared

ERRORS = {
    "RuntimeError": RuntimeError,
    "MemoryError": MemoryError,
    "OutOfMemoryError": torch.cuda.OutOfMemoryError,
    "ValueError": ValueError,
    "OSError": OSError,
}
MESSAGE = "the probe raised this"


def is_forge(model):
    return hasattr(model, "forge_objects")


def unet_of(model):
    return model.forge_objects.unet.model.diffusion_model if is_forge(model) else model.model.diffusion_model


def vae_of(model):
    return model.forge_objects.vae.first_stage_model if is_forge(model) else model.first_stage_model


def sigma_table_of(model):
    """The module that holds ``sigmas`` and ``log_sigmas`` in the Forge family."""
    unet = model.forge_objects.unet.model
    return unet.predictor if hasattr(unet, "predictor") else unet.model_sampling


def own_alphas_cumprod(model):
    """The checkpoint's table; in the Forge family in float64, so that the way back to its sigmas is exact."""
    if not is_forge(model):
        return model.alphas_cumprod_original.float()
    return 1 / (1 + sigma_table_of(model).sigmas.double() ** 2)


class ProbeRun:
    """The changes and the notes of one generation."""

    def __init__(self, wishes):
        self.wishes = wishes
        self.undo = ExitStack()
        self.notes = {"rows": [], "hooks": [], "motion_calls": 0, "vae_calls": 0, "sampler": [], "batch_size": None}

    def set(self, target, name, value):
        """``target.name = value`` on this instance until the run is over."""
        absent = object()
        before = vars(target).get(name, absent)

        def put_back():
            if before is absent:
                vars(target).pop(name, None)
            else:
                vars(target)[name] = before

        vars(target)[name] = value
        self.undo.callback(put_back)

    def due(self, where, call):
        fault = self.wishes.get("fault") or {}
        if fault.get("where") == where and fault.get("call", 1) == call:
            raise ERRORS[fault.get("error", "RuntimeError")](f"{MESSAGE} in the {where}")

    def before_unet(self, module, inputs):
        self.notes["rows"].append(len(inputs[0]))
        self.notes["hooks"].append(count_hooks(module) - 1)
        call = len(self.notes["rows"])
        stop = self.wishes.get("stop")
        if stop and stop.get("call", 1) == call:
            getattr(shared.state, stop["how"])()
        self.due("unet", call)

    def begin(self, p):
        unet, vae = unet_of(p.sd_model), vae_of(p.sd_model)
        self.undo.callback(unet.register_forward_pre_hook(self.before_unet).remove)
        decode = vae.decode

        def counting_decode(*args, **kwargs):
            self.notes["vae_calls"] += 1
            self.due("vae", self.notes["vae_calls"])
            return decode(*args, **kwargs)

        self.set(vae, "decode", counting_decode)
        fault = self.wishes.get("fault") or {}
        if fault.get("where") in {"writer", "videos"}:
            self.break_writer(fault)
        if self.wishes.get("prompts"):
            p.all_prompts = list(self.wishes["prompts"])
        self.notes["batch_size"] = p.batch_size

    def break_writer(self, fault):
        from lib_animatediff import animation
        from lib_animatediff.video import write

        def broken(*_, **__):
            raise ERRORS[fault.get("error", "RuntimeError")](f"{MESSAGE} in a writer")

        if fault["where"] == "videos":
            self.set(animation, "write_videos", broken)
            return
        before = write._WRITERS[fault["format"]]
        write._WRITERS[fault["format"]] = broken
        self.undo.callback(write._WRITERS.__setitem__, fault["format"], before)

    def before_sampling(self, p):
        self.notes["sampler"].append(type(p.sampler).__name__)
        if self.wishes.get("sd_unet"):
            from modules import sd_unet

            self.set(sd_unet, "current_unet", SimpleNamespace(option=SimpleNamespace(label=self.wishes["sd_unet"])))
        run = vars(p).get("animatediff")
        if run is None or run.plan is None:
            return
        if self.wishes.get("schedule") == "host":
            run.plan = replace(run.plan, alphas_cumprod=own_alphas_cumprod(p.sd_model))
        for module in run.plan.motion_model.slots.values():
            self.set(module, "forward", self.motion(module.forward, module))

    def motion(self, forward, module):
        if "forward" in vars(module):  # a second pass of the same run
            return vars(module)["forward"]

        def counted(x, frames, **memory):
            self.notes["motion_calls"] += 1
            return x if self.wishes.get("motion") == "off" else forward(x, frames, **memory)

        return counted


def count_hooks(module):
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules())


def fingerprint(tensor):
    return hashlib.sha256(tensor.detach().cpu().float().contiguous().numpy().tobytes()).hexdigest()[:16]


def tables_of(model):
    """Fingerprints of the noise schedule, wherever the engine keeps it."""
    if is_forge(model):
        table = sigma_table_of(model)
        return {"sigmas": fingerprint(table.sigmas), "log_sigmas": fingerprint(table.log_sigmas)}
    return {name: fingerprint(getattr(model, name)) for name in ("alphas_cumprod", "alphas_cumprod_original")}


def patches_of(model):
    """What hangs on the UNet's patcher in the Forge family."""
    if not is_forge(model):
        return {}
    patcher = model.forge_objects.unet
    names = ("extra_preserved_memory_during_sampling", "extra_model_patchers_during_sampling", "model_options")
    return {name: repr(getattr(patcher, name, None)) for name in names}


def state_of_model():
    model = shared.sd_model
    if not is_forge(model) and not hasattr(model, "model"):
        return None  # nothing is loaded yet
    unet, vae = unet_of(model), vae_of(model)
    networks = [unet, vae] if is_forge(model) else [model]
    return {
        "hooks": sum(count_hooks(network) for network in networks),
        "own_forwards": sorted(
            name for network in networks for name, part in network.named_modules() if "forward" in vars(part)
        ),
        **tables_of(model),
        **patches_of(model),
        "unet_tensors": len(unet.state_dict()),
        "unet_modules": sum(1 for _ in unet.modules()),
        "unet_check": fingerprint(unet.out[2].weight),
        "unet_class_forward": type(unet).forward.__qualname__,
        "training": unet.training,
        "grad": torch.is_grad_enabled(),
        "default_dtype": str(torch.get_default_dtype()),
    }


class ProbeScript(scripts.Script):
    run_of_now = None
    last_notes = None

    def title(self):
        return "AnimateDiff Probe"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def ui(self, is_img2img):
        return [gr.Textbox(label="Probe", value="", visible=False, elem_id=self.elem_id("probe"))]

    def before_process(self, p, wishes=None):
        self.end()
        if not isinstance(wishes, dict):
            return
        run = ProbeScript.run_of_now = ProbeRun(wishes)
        ProbeScript.last_notes = run.notes
        close = p.close

        def closing():
            self.end()
            close()

        vars(p)["close"] = closing

    def process(self, p, *args):
        if ProbeScript.run_of_now is not None:
            ProbeScript.run_of_now.begin(p)

    def process_before_every_sampling(self, p, *args, **kwargs):
        if ProbeScript.run_of_now is not None:
            ProbeScript.run_of_now.before_sampling(p)

    def end(self):
        run, ProbeScript.run_of_now = ProbeScript.run_of_now, None
        if run is not None:
            run.undo.close()


def add_route(_demo, app):
    @app.get("/animatediff-probe/state")
    def state():
        return {
            "model": state_of_model(),
            "last": ProbeScript.last_notes,
            "engine": "forge" if importlib.util.find_spec("modules_forge") else "a1111",
            "machine": socket.gethostname(),
            "folder": os.getcwd(),
        }

    @app.get("/animatediff-probe/options")
    def options():
        return {name: getattr(shared.opts, name) for name in shared.opts.data_labels}


script_callbacks.on_app_started(add_route)
