"""The script the WebUI loads: it hands the host's hooks to the animation. No logic here."""

import gradio as gr
from modules import script_callbacks, scripts, shared

from lib_animatediff import __version__, hosts
from lib_animatediff.animation import Animation
from lib_animatediff.errors import AnimateDiffError
from lib_animatediff.hosts import clip_order
from lib_animatediff.hosts.detect import detect_host
from lib_animatediff.motion.cache import loaded_models
from lib_animatediff.request import parse_script_args
from pathlib import Path
from lib_animatediff.video.write import WriterOptions

class settings:
    model_folder = staticmethod(lambda: Path(shared.opts.data.get("animatediff_model_path")))
    writer_options = staticmethod(lambda: WriterOptions())
    frames_in_own_folder = staticmethod(lambda: True)
    keep_motion_module = staticmethod(lambda: "device")

class AnimateDiffScript(scripts.Script):
    def title(self):
        return "AnimateDiff"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def ui(self, is_img2img):
        return [gr.Checkbox(label="Enable AnimateDiff", value=False)]

    def before_process(self, p, *args):
        Animation.forget(p)
        error = request = None
        try:
            request = parse_script_args(args, tab="img2img" if self.is_img2img else "txt2img")
        except AnimateDiffError as e:
            error = e
        if error or request.enable:
            Animation(request, detect_host(), loaded_models, settings, __version__, error=error).begin(p)

    def before_process_batch(self, p, *args, **kwargs):
        if a := Animation.of(p):
            a.before_batch(p)

    def process_before_every_sampling(self, p, *args, **kwargs):
        if a := Animation.of(p):
            a.before_sampling(p)

    def postprocess_batch_list(self, p, pp, *args, **kwargs):
        if a := Animation.of(p):
            a.count_batch(pp.images)

    def postprocess(self, p, processed, *args):
        if a := Animation.of(p):
            a.finish(p, processed)

script_callbacks.on_cfg_denoiser(clip_order.on_cfg_denoiser)
script_callbacks.on_cfg_denoised(clip_order.on_cfg_denoised)
