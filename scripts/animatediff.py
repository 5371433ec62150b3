"""The script the WebUI loads: it wires the panel, the host's adapter and the animation. No logic here."""

from modules import script_callbacks, scripts

from lib_animatediff import __version__
from lib_animatediff.animation import Animation
from lib_animatediff.errors import AnimateDiffError, UnsupportedError
from lib_animatediff.fields import FIELD
from lib_animatediff.hosts import clip_order
from lib_animatediff.hosts.detect import UNKNOWN_HOST, detect_host
from lib_animatediff.motion.cache import loaded_models
from lib_animatediff.motion.files import list_motion_modules
from lib_animatediff.plan import curve_values, plan_windows, sampled_frames
from lib_animatediff.request import AnimationRequest, parse_script_args
from lib_animatediff.timeline.picture import curve_picture, windows_picture
from lib_animatediff.ui import settings, xyz
from lib_animatediff.ui.notices import notices, other_animatediff, rival_sentence
from lib_animatediff.ui.panel import PanelActions, build_panel
from lib_animatediff.video import opener


def motion_modules():
    return list_motion_modules(settings.model_folder())


def move_to_cpu():
    loaded_models.to_cpu()
    return "The motion modules are in RAM." if len(loaded_models) else "No motion module is loaded."


def remove_from_memory():
    loaded_models.clear()
    return "No motion module is in memory any more."


def panel_notices():
    return notices(motion_modules, None if detect_host() else UNKNOWN_HOST)


def drawn_windows(values):
    request = AnimationRequest.from_mapping({**values, "enable": True, "model": "any"})
    return windows_picture(plan_windows(request), sampled_frames(request))


def drawn_curves(values):
    request = AnimationRequest.from_mapping(values)
    rows = [FIELD[name] for name in ("motion_scale", "motion_effect")]
    return "".join(curve_picture(row.label, curve_values(request, row.name), 0, 2) for row in rows)


ACTIONS = PanelActions(
    models=motion_modules,
    notices=panel_notices,
    to_cpu=move_to_cpu,
    remove=remove_from_memory,
    windows=drawn_windows,
    curves=drawn_curves,
)


class AnimateDiffScript(scripts.Script):
    """AnimateDiff as the host sees it."""

    initial_values = ()

    def title(self):
        return "AnimateDiff"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def ui(self, is_img2img):
        panel = build_panel("img2img" if is_img2img else "txt2img", ACTIONS, settings.request_defaults())
        self.infotext_fields, self.paste_field_names = panel.infotext_fields, panel.paste_field_names
        self.initial_values = panel.initial_values
        return list(panel.components)

    def before_process(self, p, *args):
        Animation.forget(p)
        request = error = None
        host, rival = detect_host(), other_animatediff()
        try:
            request = parse_script_args(
                args,
                tab="img2img" if self.is_img2img else "txt2img",
                defaults=settings.request_defaults(),
                host_defaults=self.initial_values,
                overrides=xyz.overrides(p),
            )
            if request.enable and rival:
                raise UnsupportedError(rival_sentence(rival))
            if request.enable and host is None:
                raise UnsupportedError(UNKNOWN_HOST)
        except AnimateDiffError as refusal:
            error = refusal
        if error is not None or request.enable:
            Animation(request, host, loaded_models, settings, __version__, error=error).begin(p)

    def before_process_batch(self, p, *args, **kwargs):
        if animation := Animation.of(p):
            animation.before_batch(p)

    def process_batch(self, p, *args, **kwargs):
        if animation := Animation.of(p):
            animation.before_encoding(p)

    def process_before_every_sampling(self, p, *args, **kwargs):
        if animation := Animation.of(p):
            animation.before_sampling(p)

    def post_sample(self, p, ps, *args):
        if animation := Animation.of(p):
            animation.after_sampling(ps)

    def postprocess_batch_list(self, p, pp, *args, **kwargs):
        if animation := Animation.of(p):
            animation.count_batch(pp.images)

    def postprocess(self, p, processed, *args):
        if animation := Animation.of(p):
            animation.finish(p, processed)


def before_ui():
    if other_animatediff() is None:
        xyz.register_axes(motion_modules)


opener.register()
script_callbacks.on_script_unloaded(opener.unregister)
script_callbacks.on_ui_settings(settings.add_options)
script_callbacks.on_before_ui(before_ui)
script_callbacks.on_cfg_denoiser(clip_order.on_cfg_denoiser)
script_callbacks.on_cfg_denoised(clip_order.on_cfg_denoised)
