"""Puts the scripts and style sheets of the host and its extensions into the page."""

from __future__ import annotations

import html
import os
from urllib.parse import quote

import gradio as gr

from modules import scripts
from modules.paths import script_path


def webpath(path: str) -> str:
    """Address of a file of this host; its time keeps browsers from using old copies."""
    return f"file={quote(path.replace(os.sep, '/'), safe='/:')}?{os.path.getmtime(path)}"


def javascript_html() -> str:
    """Script tags: the host's own first, because extensions call its functions while they load."""
    own = os.path.join(script_path, "javascript", "miniwebui.js")
    files = [own, *[x.path for x in scripts.list_scripts("javascript", ".js") if x.path != own]]
    tags = [f'<script type="text/javascript" src="{html.escape(webpath(x))}"></script>' for x in files]
    modules = scripts.list_scripts("javascript", ".mjs")
    tags += [f'<script type="module" src="{html.escape(webpath(x.path))}"></script>' for x in modules]
    return "\n".join(tags)


def css_html() -> str:
    files = scripts.list_files_with_name("style.css")
    return "\n".join(f'<link rel="stylesheet" property="stylesheet" href="{html.escape(webpath(x))}">' for x in files)


_templates = gr.routes.templates
_original = _templates.TemplateResponse


def reload_javascript() -> None:
    """Insert the tags into every page Gradio's templates make from now on."""
    script_tags, style_tags = javascript_html(), css_html()

    def with_tags(*page, **options):
        response = _original(*page, **options)
        response.body = response.body.replace(b"</head>", f"{script_tags}</head>".encode(), 1)
        response.body = response.body.replace(b"</body>", f"{style_tags}</body>".encode(), 1)
        response.init_headers()
        return response

    _templates.TemplateResponse = with_tags
