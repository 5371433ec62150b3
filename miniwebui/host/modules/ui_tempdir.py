"""Images on the page come from the file they were saved as, where there is one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import gradio as gr
from PIL import Image

from modules import images, shared
from modules.gradio_extensons import GRADIO_4


def register_tmp_file(demo, filename: str) -> None:
    """Let the page of Gradio 3 read a file (Gradio 4 copies files of allowed folders to its cache)."""
    if hasattr(demo, "temp_file_sets"):
        demo.temp_file_sets[0] = demo.temp_file_sets[0] | {os.path.abspath(filename)}


def check_tmp_file(demo, filename: str) -> bool:
    """True if the page may read the file."""
    path = Path(filename).resolve()
    if any(os.path.abspath(filename) in files for files in getattr(demo, "temp_file_sets", [])):
        return True
    folders = [*(getattr(demo, "allowed_paths", None) or []), shared.opts.temp_dir, getattr(demo, "GRADIO_CACHE", "")]
    return any(path.is_relative_to(Path(x).resolve()) for x in folders if x)


def _save_new(image: Image.Image, folder: str) -> str:
    os.makedirs(folder, exist_ok=True)
    with tempfile.NamedTemporaryFile(delete=False, suffix=".png", dir=folder) as file:
        image.save(file, format="PNG", pnginfo=images.png_texts(image.info))
    return file.name


def save_pil_to_file(self, pil_image: Image.Image, dir: str, format: str = "png") -> str:  # noqa: A002 - Gradio's names
    """Gradio 3's pil_to_temp_file: the file the image was saved as (with its time, against stale copies), or a new."""
    saved = getattr(pil_image, "already_saved_as", None)
    if saved and os.path.isfile(saved):
        name = f"{saved}?{os.path.getmtime(saved)}"
        register_tmp_file(shared.demo, saved)
        register_tmp_file(shared.demo, name)
        return name
    return _save_new(pil_image, shared.opts.temp_dir or dir)


def save_pil_to_cache(img: Image.Image, cache_dir: str, name: str = "image", format: str = "png") -> str:  # noqa: A002
    """Gradio 4's function of this name: the file the image was saved as, or a new one."""
    saved = getattr(img, "already_saved_as", None)
    if saved and os.path.isfile(saved):
        return saved
    return _save_new(img, cache_dir)


def install_ui_tempdir_override() -> None:
    if GRADIO_4:
        gr.processing_utils.save_pil_to_cache = save_pil_to_cache
    else:
        gr.components.IOComponent.pil_to_temp_file = save_pil_to_file
