"""Images on disk and in grids: names, infotext inside files, resizing."""

from __future__ import annotations

import datetime
import io
import math
import os
import re
import string
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps, PngImagePlugin

from modules import script_callbacks, shared

LANCZOS = Image.Resampling.LANCZOS
IGNORED_INFO_KEYS = {
    "jfif", "jfif_version", "jfif_unit", "jfif_density", "dpi", "exif", "loop", "background", "timestamp",
    "duration", "progressive", "progression", "icc_profile", "chromaticity", "photoshop", "version", "extension",
}  # fmt: skip
# EXIF's UserComment begins with eight bytes that name its encoding (Exif 2.3, 4.6.5).
_COMMENT_CODECS = {b"UNICODE\0": "utf-16-be", b"ASCII\0\0\0": "ascii", b"\0" * 8: "utf-8"}
_EXIF_IFD = 0x8769


def exif_with_comment(text: str) -> bytes:
    """EXIF block whose UserComment is the text."""
    exif = Image.Exif()
    exif[_EXIF_IFD] = {ExifTags.Base.UserComment.value: b"UNICODE\0" + text.encode("utf-16-be")}
    return exif.tobytes()


def _comment_of_exif(data: bytes) -> str | None:
    exif = Image.Exif()
    exif.load(data)
    comment = exif.get_ifd(_EXIF_IFD).get(ExifTags.Base.UserComment.value)
    if isinstance(comment, str):
        return comment
    if not comment:
        return None
    codec = _COMMENT_CODECS.get(bytes(comment[:8]))
    return bytes(comment[8:] if codec else comment).decode(codec or "utf-8", errors="ignore")


def image_grid(imgs: list, batch_size: int = 1, rows: int | None = None) -> Image.Image:
    """All images side by side, as square as possible unless the settings say how many rows."""
    if rows is None:
        rows = shared.opts.n_rows if shared.opts.n_rows > 0 else batch_size if shared.opts.n_rows == 0 else 0
        rows = rows or round(math.sqrt(len(imgs)))
    rows = max(1, min(rows, len(imgs)))
    columns = -(-len(imgs) // rows)
    params = script_callbacks.ImageGridLoopParams(imgs, columns, rows)
    script_callbacks.image_grid_callback(params=params)
    width, height = (max(x.size[axis] for x in params.imgs) for axis in (0, 1))
    grid = Image.new("RGB", (params.cols * width, params.rows * height), "white")
    for index, image in enumerate(params.imgs):
        grid.paste(image, (index % params.cols * width, index // params.cols * height))
    return grid


def resize_image(resize_mode: int, im: Image.Image, width: int, height: int, upscaler_name: str | None = None):
    """Resize to a size: 0 stretch, 1 fill and crop, 2 fit and extend the edges, 3 as 0."""
    name = upscaler_name or shared.opts.upscaler_for_img2img

    def resize(image: Image.Image, w: int, h: int) -> Image.Image:
        upscaler = next((x for x in shared.sd_upscalers if x.name == name), None)
        scale = max(w / image.width, h / image.height)
        if upscaler is not None and scale > 1 and image.mode != "L" and name != "None":
            image = upscaler.scaler.upscale(image, scale, upscaler.data_path)
        return image if image.size == (w, h) else image.resize((w, h), resample=LANCZOS)

    if resize_mode not in (1, 2):
        return resize(im, width, height)
    wide = width / height > im.width / im.height
    fill = resize_mode == 1
    w = width if wide == fill else im.width * height // im.height
    h = height if wide != fill else im.height * width // im.width
    resized = resize(im, w, h)
    left, top = (width - w) // 2, (height - h) // 2
    result = Image.new(im.mode if im.mode in ("RGB", "RGBA", "L") else "RGB", (width, height))
    result.paste(resized, (left, top))
    if not fill and h < height and top:
        result.paste(resized.resize((width, top), box=(0, 0, w, 1)), (0, 0))
        result.paste(resized.resize((width, height - h - top), box=(0, h - 1, w, h)), (0, top + h))
    elif not fill and w < width and left:
        result.paste(resized.resize((left, height), box=(0, 0, 1, h)), (0, 0))
        result.paste(resized.resize((width - w - left, height), box=(w - 1, 0, w, h)), (left + w, 0))
    return result


def sanitize_filename_part(text: str, replace_spaces: bool = True) -> str:
    """A text usable in a file name on every system."""
    text = text.replace(" ", "_") if replace_spaces else text
    text = "".join("_" if x in '#<>:"/\\|?*\n\r\t' else x for x in text)
    return text.lstrip(" ")[:128].rstrip(" .")


class FilenameGenerator:
    """Fills the patterns of file and folder names: [seed], [date], [prompt_words] and the like."""

    def __init__(self, p: Any, seed: Any, prompt: str | None, image: Image.Image, basename: str = "") -> None:
        now = datetime.datetime.now()
        words = [x for x in re.split(rf"[\s{re.escape(string.punctuation)}]+", prompt or "") if x]
        self.values: dict[str, str] = {
            "seed": "" if seed is None else str(seed),
            "steps": str(getattr(p, "steps", "")),
            "cfg": str(getattr(p, "cfg_scale", "")),
            "width": str(image.width),
            "height": str(image.height),
            "sampler": sanitize_filename_part(str(getattr(p, "sampler_name", "")), replace_spaces=False),
            "date": now.strftime("%Y-%m-%d"),
            "datetime": now.strftime("%Y%m%d%H%M%S"),
            "job_timestamp": str(getattr(p, "job_timestamp", shared.state.job_timestamp)),
            "batch_number": str(getattr(p, "batch_index", 0) + 1),
            "prompt": sanitize_filename_part(prompt or ""),
            "prompt_spaces": sanitize_filename_part(prompt or "", replace_spaces=False),
            "prompt_words": sanitize_filename_part(" ".join(words[:8]) or "empty", replace_spaces=False),
            "basename": basename,
        }

    def apply(self, pattern: str) -> str:
        return re.sub(r"\[([a-z_]+)\]", lambda m: self.values.get(m.group(1), m.group(0)), pattern)


def png_texts(texts: dict) -> PngImagePlugin.PngInfo | None:
    """The texts among the values as chunks of a PNG file; None if there are none."""
    chunks = PngImagePlugin.PngInfo()
    for key, value in texts.items():
        if all(isinstance(text, str) for text in (key, value)):
            chunks.add_text(key, value)
    return chunks if chunks.chunks else None


def get_next_sequence_number(path: str, basename: str) -> int:
    """One more than the highest number the files of a folder begin with; 0 in an empty one."""
    start = re.compile(re.escape(f"{basename}-" if basename else "") + r"(\d+)(?:-|$)")
    found = (start.match(os.path.splitext(x)[0]) for x in os.listdir(path))
    return max((int(x.group(1)) for x in found if x), default=-1) + 1


def save_image_with_geninfo(
    image: Image.Image,
    geninfo: str | None,
    filename: str,
    extension: str | None = None,
    existing_pnginfo: dict | None = None,
    pnginfo_section_name: str = "parameters",
) -> None:
    """Write the image with the infotext inside: PNG text, EXIF comment or GIF comment."""
    extension = (extension or os.path.splitext(filename)[1]).lower()
    kind = {"format": Image.registered_extensions()[extension]}
    info = geninfo if shared.opts.enable_pnginfo else None
    quality = shared.opts.jpeg_quality
    if extension == ".png":
        texts = dict(existing_pnginfo or {}) if shared.opts.enable_pnginfo else {}
        if info is not None:
            texts[pnginfo_section_name] = info
        image.save(filename, **kind, pnginfo=png_texts({k: str(v) for k, v in texts.items()}))
    elif extension in (".jpg", ".jpeg", ".webp"):
        options = {"exif": exif_with_comment(info)} if info is not None else {}
        image = image.convert("RGB") if image.mode in ("RGBA", "P") else image
        image.save(filename, **kind, quality=quality, lossless=shared.opts.webp_lossless, **options)
    elif extension == ".gif":
        image.save(filename, **kind, **({"comment": info} if info else {}))
    else:
        image.save(filename, **kind, quality=quality)


def save_image(
    image: Image.Image,
    path: str,
    basename: str,
    seed: Any = None,
    prompt: str | None = None,
    extension: str = "png",
    info: str | None = None,
    short_filename: bool = False,
    no_prompt: bool = False,
    grid: bool = False,
    pnginfo_section_name: str = "parameters",
    p: Any = None,
    existing_info: dict | None = None,
    forced_filename: str | None = None,
    suffix: str = "",
    save_to_dirs: bool | None = None,
) -> tuple[str, str | None]:
    """Save an image under the next free number; the image's path and that of its text file, if one was asked for."""
    opts = shared.opts
    names = FilenameGenerator(p, seed, prompt, image, basename)
    if save_to_dirs is None:
        save_to_dirs = opts.grid_save_to_dirs if grid else opts.save_to_dirs and not no_prompt
    if save_to_dirs:
        path = os.path.join(path, names.apply(opts.directories_filename_pattern or "[prompt_words]").strip(" \\/"))
    os.makedirs(name=path, exist_ok=True)

    if forced_filename is not None:
        stem = forced_filename
    else:
        pattern = opts.samples_filename_pattern or ("[seed]" if opts.save_to_dirs else "[seed]-[prompt_spaces]")
        decoration = ("" if short_filename or seed is None else names.apply(pattern)) + suffix
        if opts.save_images_add_number or not decoration:
            number = get_next_sequence_number(path, basename)
            head = f"{basename}-{number:04}" if basename else f"{number:05}"
            stem = f"{head}-{decoration}" if decoration and not decoration.startswith("-") else head + decoration
        else:
            stem = decoration

    pnginfo = dict(existing_info or {})
    if info is not None:
        pnginfo.update({pnginfo_section_name: info})
    params = script_callbacks.ImageSaveParams(image, p, os.path.join(path, f"{stem}.{extension}"), pnginfo)
    script_callbacks.before_image_saved_callback(params=params)
    info = params.pnginfo.get(pnginfo_section_name)
    root, ending = os.path.splitext(params.filename)
    # A name of its own first: whoever watches the folder sees only whole files.
    save_image_with_geninfo(params.image, info, f"{root}.tmp", ending, params.pnginfo, pnginfo_section_name)
    os.replace(f"{root}.tmp", params.filename)
    image.already_saved_as = params.filename

    text_file = None
    if info is not None and opts.save_txt:
        text_file = f"{root}.txt"
        with open(text_file, "w", encoding="utf8") as file:
            file.write(f"{info}\n")
    script_callbacks.image_saved_callback(params=params)
    return params.filename, text_file


def read_info_from_image(image: Image.Image) -> tuple[str | None, dict]:
    """The infotext of an image and what else its file says."""
    items = dict(image.info or {})
    info = items.pop("parameters", None)
    if "exif" in items:
        info = _comment_of_exif(items["exif"]) or info
    elif "comment" in items:
        comment = items["comment"]
        info = comment.decode("utf8", errors="ignore") if isinstance(comment, bytes) else comment
    return info, {k: v for k, v in items.items() if k not in IGNORED_INFO_KEYS}


def image_data(data: bytes) -> tuple[Any, None]:
    """Infotext of a dropped file: from an image, or the text itself."""
    import gradio as gr

    try:
        return read_info_from_image(read(io.BytesIO(data)))[0], None
    except OSError:
        text = data.decode("utf8", errors="replace")
    return (text, None) if len(text) < 10000 and "\ufffd" not in text else (gr.update(), None)


def flatten(img: Image.Image, bgcolor: str) -> Image.Image:
    """The image on a background, without transparency."""
    if img.mode != "RGBA":
        return img.convert("RGB")
    flat = Image.new(img.mode, img.size, bgcolor)
    flat.paste(img, mask=img)
    return flat.convert("RGB")


def read(fp: Any, **kwargs: Any) -> Image.Image:
    """Open an image upright, with its transparency as a channel."""
    return fix_image(Image.open(fp, **kwargs))


def fix_image(image: Image.Image | None) -> Image.Image | None:
    """Apply the EXIF orientation, and turn a PNG's transparent colour into an alpha channel."""
    if image is None:
        return None
    clear = image.mode in ("RGB", "P") and isinstance(image.info.get("transparency"), bytes)
    upright = ImageOps.exif_transpose(image)
    return upright.convert("RGBA") if clear else upright


def to_numpy(image: Image.Image) -> np.ndarray:
    """RGB pixels as uint8 (height, width, 3)."""
    return np.array(image.convert("RGB"))
