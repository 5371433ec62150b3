"""What the host changes in Gradio, on versions 3.41 and 4.40: hooks around components, files of saved images.
(The module's name is spelt as in A1111.)"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps

import gradio as gr
from gradio import blocks

GRADIO_4 = not gr.__version__.startswith("3.")

if GRADIO_4:
    # Gradio 4 writes a .pyi beside each file that derives from a component; nothing here reads them.
    from gradio import component_meta

    component_meta.create_or_modify_pyi = lambda *args: None

COMPONENT = gr.components.Component if GRADIO_4 else gr.components.IOComponent


def js_argument(code: str) -> dict[str, str]:
    """The keyword under which this version's events take JavaScript."""
    return {"js" if GRADIO_4 else "_js": code}


def same_signature(cls: type) -> Callable:
    """For the constructor of a class derived from `cls`: Gradio 4 sends the page only what its signature names."""

    def mark(init: Callable) -> Callable:
        init.__signature__ = inspect.signature(cls.__init__)
        return init

    return mark


def _announce(moment: str, component, kwargs: dict) -> None:
    from modules import script_callbacks, scripts

    runner = scripts.scripts_current
    first = getattr(script_callbacks, f"{moment}_component_callback")
    if moment == "after":
        first(component, **kwargs)
    if runner is not None:
        getattr(runner, f"{moment}_component")(component, **kwargs)
    if moment == "before":
        first(component, **kwargs)


def _hooked(original: Callable) -> Callable:
    @wraps(original)
    def init(self, *args, **kwargs):
        kwargs.pop("tooltip", None)
        _announce("before", self, kwargs)
        result = original(self, *args, **kwargs)
        _announce("after", self, kwargs)
        return result

    init.miniwebui_hook = True
    return init


def install() -> None:
    """Put the hooks in, once."""
    from modules.ui_tempdir import install_ui_tempdir_override as install_tempdir

    for cls in (COMPONENT, blocks.BlockContext):
        if not getattr(cls.__init__, "miniwebui_hook", False):
            cls.__init__ = _hooked(cls.__init__)
    install_tempdir()
