"""The table of fields as a page of the docs: ``python -m lib_animatediff.fields_doc`` writes docs/fields.md."""

from __future__ import annotations

from pathlib import Path

from lib_animatediff.field_types import IMG2IMG
from lib_animatediff.fields import FIELDS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "fields.md"

_HEAD = """# Fields

All fields of a request, as the panel shows them and as `alwayson_scripts.AnimateDiff.args[0]` takes them. This page is
written by `python -m lib_animatediff.fields_doc` from the table that drives everything else.

Numbers may come as text, choices in any case, `format` as one name or as a list; a field that is left out or null has
its default. An unknown name or a value out of bounds is refused. X/Y/Z axes are called `[AnimateDiff] <name>`.

| name | label in the panel | default | accepts | in the infotext | X/Y/Z axis | |
|---|---|---|---|---|---|---|
"""


def fields_page() -> str:
    """The whole page, in Markdown."""
    rows = []
    for row in FIELDS:
        default = ", ".join(row.default) if isinstance(row.default, tuple) else row.default
        note = row.help if not row.unavailable else f"{row.help} Not in this version: it is refused."
        if row.kind == "ignored":
            note = "Accepted and ignored: older programs send it back."
        elif row.tabs == IMG2IMG:
            note = f"img2img only. {note}"
        cells = (
            f"`{row.name}`",
            row.label,
            "" if default in (None, "") else f"`{default}`",
            "anything" if row.kind == "ignored" else row.accepts,
            "yes" if row.infotext else "",
            row.axis,
            note,
        )
        rows.append("| " + " | ".join(str(cell).strip().replace("|", "\\|") for cell in cells) + " |")
    return _HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(fields_page(), encoding="utf-8")
