"""Components that extensions import from the host."""

from __future__ import annotations

import gradio as gr

from modules.gradio_extensons import same_signature


class FormComponent:
    """Marks components that sit in a form without a frame of their own."""


class ToolButton(gr.Button, FormComponent):
    """A small button with an emoji."""

    @same_signature(gr.Button)
    def __init__(self, value="", *, elem_classes=None, tooltip=None, **kwargs):
        super().__init__(value=value, elem_classes=["tool", *(elem_classes or [])], min_width=40, scale=0, **kwargs)

    def get_block_name(self) -> str:
        return "button"


class FormRow(gr.Row, FormComponent):
    def get_block_name(self) -> str:
        return "row"


class ResizeHandleRow(FormRow):
    pass


class FormColumn(gr.Column, FormComponent):
    def get_block_name(self) -> str:
        return "column"


class FormGroup(gr.Group, FormComponent):
    def get_block_name(self) -> str:
        return "group"


class FormHTML(gr.HTML, FormComponent):
    def get_block_name(self) -> str:
        return "html"


class FormColorPicker(gr.ColorPicker, FormComponent):
    def get_block_name(self) -> str:
        return "colorpicker"


class DropdownMulti(gr.Dropdown, FormComponent):
    """A dropdown of several values."""

    @same_signature(gr.Dropdown)
    def __init__(self, choices=None, **kwargs):
        super().__init__(choices=choices, multiselect=True, **kwargs)

    def get_block_name(self) -> str:
        return "dropdown"


class DropdownEditable(gr.Dropdown, FormComponent):
    """A dropdown that takes other values too."""

    @same_signature(gr.Dropdown)
    def __init__(self, choices=None, **kwargs):
        super().__init__(choices=choices, allow_custom_value=True, **kwargs)

    def get_block_name(self) -> str:
        return "dropdown"


class InputAccordion(gr.Checkbox):
    """A checkbox at the top of an accordion; used as a context manager, it holds what the switch turns on.

    A1111 hides the checkbox and lets the accordion's state drive it; here the checkbox is shown.
    """

    @same_signature(gr.Checkbox)
    def __init__(self, value=False, *, label=None, elem_id=None, **kwargs):
        self.accordion_id = elem_id
        self.accordion = gr.Accordion(label=label, open=bool(value), elem_id=elem_id)
        with self.accordion:
            name = f"{elem_id}-checkbox" if elem_id else None
            super().__init__(value=value, label=f"Enable {label}", elem_id=name, **kwargs)

    def extra(self):
        """A row for what belongs into the header."""
        return gr.Row(elem_id=f"{self.accordion_id}-extra" if self.accordion_id else None)

    def __enter__(self):
        self.accordion.__enter__()
        return self

    def __exit__(self, *error):
        return self.accordion.__exit__(*error)

    def get_block_name(self) -> str:
        return "checkbox"
