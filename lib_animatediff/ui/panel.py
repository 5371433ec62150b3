"""The accordion of the txt2img and img2img tabs."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import gradio as gr

from lib_animatediff.errors import AnimateDiffError
from lib_animatediff.field_types import Field
from lib_animatediff.fields import FIELD, FIELDS, panel_fields
from lib_animatediff.infotext import INFOTEXT_KEY, read_infotext_value
from lib_animatediff.ui.host import host_class

TO_CPU_LABEL = "Move motion module to CPU (default if lowvram)"
REMOVE_LABEL = "Remove motion module from any memory"
REFRESH_SYMBOL = "🔄"
TRAVEL_HELP = (
    "<p>Lines of the prompt, or of the negative prompt, that begin with a frame and a colon are keyframes: "
    "<code>0: spring</code>, <code>8-12: summer</code>, <code>50%: autumn</code>, <code>-1: winter</code>. "
    "Lines above and below them hold for every frame.</p>"
)

_INDEXED_CHOICES = not gr.__version__.startswith("3.")

_LENGTH = ("video_length", "batch_size", "full_context")
_OF_WINDOWS = (*_LENGTH, "stride", "overlap", "closed_loop", "context_schedule")
_OF_CURVES = (*_LENGTH, "motion_scale", "motion_effect")

# What an infotext that names AnimateDiff means by leaving these out.
_MEANT_BY_SILENCE = MappingProxyType(
    {
        "enable": True,
        "freeinit_enable": False,
        "use_main_seed": False,
        **{row.name: row.default for row in FIELDS if row.infotext_unless_default},
    }
)


@dataclass(frozen=True)
class PanelActions:
    """What the panel calls; nothing of it may load a checkpoint.

    models: names of the motion modules there are now. notices: sentences to show on top, none when all is well.
    to_cpu, remove: the two memory buttons; they return a sentence to show, or None. windows, curves: pictures of a
    request's context windows and of its curves, as SVG, from its fields; they raise AnimateDiffError with a sentence to
    show instead.
    """

    models: Callable[[], Sequence[str]]
    notices: Callable[[], Sequence[str]]
    to_cpu: Callable[[], str | None]
    remove: Callable[[], str | None]
    windows: Callable[[Mapping[str, object]], str]
    curves: Callable[[Mapping[str, object]], str]


@dataclass(frozen=True)
class Panel:
    """A built panel: what `Script.ui` returns, and what it sets for pasting.

    components: in the order of the script's arguments (`panel_fields`), `enable` first.
    infotext_fields: pairs of a component and a function from the infotext's parameters to its value.
    paste_field_names: none: "Send to img2img" leaves the other tab's animation as it is.
    """

    tab: str
    components: tuple[Any, ...]
    infotext_fields: list[Any]
    paste_field_names: list[str]

    @property
    def initial_values(self) -> list[object]:
        """The components' values before anybody touched them."""
        return [component.value for component in self.components]


def build_panel(tab: str, actions: PanelActions, defaults: Mapping[str, object] = MappingProxyType({})) -> Panel:
    """Builds the panel of "txt2img" or "img2img" inside the gradio block that is open.

    defaults: values to show instead of the table's. Built anew on each call, with no effect on anything else.
    """
    names = list(actions.models())
    made: dict[str, Any] = {}

    def add(*fields: str) -> None:
        for name in fields:
            row = FIELD[name]
            made[name] = _component(row, tab, defaults.get(name, row.default), names)

    with gr.Accordion("AnimateDiff", open=False, elem_id=f"{tab}-ad-accordion"):
        notice = gr.HTML(elem_id=f"{tab}-ad-notice", **_notice(actions.notices()))
        with gr.Row():
            add("enable", "use_main_seed")
        with gr.Row():
            add("model")
            refresh = host_class("ui_components", "ToolButton", gr.Button)(
                value=REFRESH_SYMBOL, elem_id=f"{tab}-ad-refresh-motion-module"
            )
        add("format")
        with gr.Row():
            add("video_length", "fps", "loop_number")
        add("closed_loop")
        with gr.Row():
            add("batch_size", "stride", "overlap")
        with gr.Accordion("Context windows", open=False):
            with gr.Row():
                add("context_schedule", "context_fuse")
            windows = gr.HTML(elem_id=f"{tab}-ad-windows")
            add("initial_noise", "full_context")
        with gr.Accordion("Motion", open=False):
            with gr.Row():
                add("motion_scale", "motion_effect")
            curves = gr.HTML(elem_id=f"{tab}-ad-curves")
            add("positions")
        with gr.Row():
            add("interp", "interp_x")
        with gr.Accordion("Prompt travel", open=False):
            gr.HTML(TRAVEL_HELP)
            with gr.Row():
                add("prompt_interpolation", "prompt_easing")
        with gr.Accordion("FreeInit Params", open=False):
            with gr.Row():
                add("freeinit_enable", "freeinit_fast")
            add("freeinit_filter")
            with gr.Row():
                add("freeinit_ds", "freeinit_dt", "freeinit_iters")
        if tab == "img2img":
            _image_to_video(add)
        _memory_buttons(tab, actions)

    _list_again_on_click(refresh, made["model"], notice, actions)

    _draw_on_change(windows, {name: made[name] for name in _OF_WINDOWS}, actions.windows)
    _draw_on_change(curves, {name: made[name] for name in _OF_CURVES}, actions.curves)

    components = tuple(made[row.name] for row in panel_fields(tab))
    return Panel(tab, components, _infotext_fields(made), [])


def _component(row: Field, tab: str, value: object, models: list[str]) -> Any:
    """The component of a field. Its value is never None, or the host's API could not read it from an infotext."""
    shared = {"label": row.label, "elem_id": f"{tab}-ad-{row.elem_id}"}
    if row.kind == "image":
        return gr.Image(type="pil", interactive=True, height=240, **shared)
    if row.kind == "bool":
        return gr.Checkbox(value=value, **shared)
    if row.help:
        shared["info"] = row.help
    if row.kind == "model":
        # A name that is not in the list may be typed or pasted: the run says what is wrong with it.
        return gr.Dropdown(choices=models, value=_chosen(value, models), allow_custom_value=True, **shared)
    if row.kind == "formats":
        shown = [name for name in row.choices if name != "Frame"]
        return gr.CheckboxGroup(choices=shown, value=[name for name in value if name in shown], **shared)
    if row.kind == "curve":
        return gr.Textbox(value=value, max_lines=1, **shared)
    if row.kind == "schedule":
        return gr.Dropdown(choices=list(row.choices), value=value, allow_custom_value=True, **shared)
    if row.kind == "choice":
        return gr.Radio(choices=list(row.choices), value=value, **shared)
    if row.slider:
        minimum, maximum, step = row.slider
        return gr.Slider(minimum=minimum, maximum=maximum, step=step, value=value, **shared)
    # No bounds here: gradio would stop plain images too when one is overstepped. The request checks them.
    return gr.Number(value=value, precision=0 if row.kind == "int" else None, **shared)


def _chosen(name: object, models: Sequence[str]) -> str:
    """The name if there is such a model, else the first one, else nothing."""
    return name if name in models else next(iter(models), "")


def _list_again_on_click(refresh: Any, model: Any, notice: Any, actions: PanelActions) -> None:
    kept = gr.State("")
    refreshed = refresh.click(
        lambda chosen: _refreshed(model, chosen, actions), inputs=[model], outputs=[model, notice, kept]
    )
    if _INDEXED_CHOICES:
        refreshed.then(lambda name: name, inputs=[kept], outputs=[model])


def _refreshed(component: Any, chosen: object, actions: PanelActions) -> tuple[Any, Any, object]:
    """The list as it is now, the notices, and the choice that stays or is made.

    In Gradio 4 nothing is chosen at first and the choice follows in a second step: its dropdown looks up which entry
    its value is only when the value changes, and with a new list and the old value it would ignore a click on the entry
    that now stands where the chosen one stood.
    """
    models = list(actions.models())
    component.choices = [(name, name) for name in models]  # for pages opened from now on
    kept = chosen if chosen else _chosen(FIELD["model"].default, models)
    value = "" if _INDEXED_CHOICES else kept
    return gr.update(choices=models, value=value), gr.update(**_notice(actions.notices())), kept


def _notice(sentences: Sequence[str]) -> dict[str, object]:
    """The value and visibility of an area that shows sentences, one per line."""
    lines = "".join(f"<p>⚠ {html.escape(sentence)}</p>" for sentence in sentences)
    return {"value": lines, "visible": bool(lines)}


def _image_to_video(add: Callable[..., None]) -> None:
    with gr.Accordion("I2V Traditional", open=False):
        with gr.Row():
            add("latent_power", "latent_scale")
        with gr.Row():
            add("latent_power_last", "latent_scale_last")
        add("last_frame")


def _memory_buttons(tab: str, actions: PanelActions) -> None:
    with gr.Row():
        to_cpu = gr.Button(TO_CPU_LABEL, elem_id=f"{tab}-ad-to-cpu")
        remove = gr.Button(REMOVE_LABEL, elem_id=f"{tab}-ad-remove")
    done = gr.HTML(elem_id=f"{tab}-ad-done", visible=False)
    to_cpu.click(lambda: _answered(actions.to_cpu), inputs=[], outputs=[done])
    remove.click(lambda: _answered(actions.remove), inputs=[], outputs=[done])


def _draw_on_change(area: Any, fields: Mapping[str, Any], draw: Callable[[Mapping[str, object]], str]) -> None:
    """Show in ``area`` what ``draw`` makes of these fields, and again when one of their components changes."""
    components = list(fields.values())

    def drawn(*values: object) -> str:
        try:
            return draw(dict(zip(fields, values, strict=True)))
        except AnimateDiffError as error:
            return f"<p>⚠ {html.escape(str(error))}</p>"

    for component in components:
        component.change(drawn, inputs=components, outputs=[area])
    area.value = drawn(*[component.value for component in components])


def _answered(action: Callable[[], str | None]) -> Any:
    try:
        sentence = action()
    except AnimateDiffError as error:
        sentence = str(error)
    return gr.update(value=f"<p>{html.escape(sentence)}</p>" if sentence else "", visible=bool(sentence))


def _infotext_fields(made: Mapping[str, Any]) -> list[Any]:
    """One entry for each component an infotext can restore, as the host wants it."""
    pairs = [
        (component, _pasted(name))
        for name, component in made.items()
        if FIELD[name].infotext or name in ("enable", "format")
    ]
    paste_field = host_class("infotext_utils", "PasteField", None)
    return [paste_field(*pair) for pair in pairs] if paste_field else pairs


def _pasted(name: str) -> Callable[[Mapping[str, object]], object]:
    """A function from the parameters of an infotext to the field's value; None leaves the component as it is."""

    def read(parameters: Mapping[str, object]) -> object:
        text = parameters.get(INFOTEXT_KEY)
        if not isinstance(text, str):
            return None
        value = read_infotext_value(text).get(name, _MEANT_BY_SILENCE.get(name))
        return list(value) if isinstance(value, tuple) else value

    read.__name__ = f"paste_{name}"
    return read
