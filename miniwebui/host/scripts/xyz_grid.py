"""X/Y/Z plot: one generation for each combination of up to three axes' values, shown as grids of first pictures.

Extensions add their axes to `axis_options`; the classes, their arguments and the order of the script's arguments are
A1111's.
"""

import csv
import itertools
import re
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from functools import partial
from io import StringIO

import gradio as gr
import numpy as np
from modules import errors, images, processing, scripts, sd_models, sd_samplers, sd_schedulers, shared
from modules.processing import Processed, process_images
from PIL import Image, ImageDraw

LABEL_HEIGHT = 20


def apply_field(field):
    """An axis that sets an attribute of the processing."""

    def apply(p, x, xs):
        setattr(p, field, x)

    return apply


def apply_override(field, boolean=False):
    """An axis that overrides a setting."""

    def apply(p, x, xs):
        p.override_settings[field] = x.lower() == "true" if boolean else x

    return apply


def apply_prompt(p, x, xs):
    """Put x where the first of the values stands in the prompts."""
    texts = {name: getattr(p, name) for name in ("prompt", "negative_prompt")}
    if not any(xs[0] in text for text in texts.values()):
        raise RuntimeError(f"Prompt S/R: neither prompt holds {xs[0]}, the first of the values.")
    for name, text in texts.items():
        setattr(p, name, text.replace(xs[0], x))


def apply_checkpoint_name(p, x, xs):
    p.override_settings.update(sd_model_checkpoint=sd_models.get_closet_checkpoint_match(x).name)


def apply_sides(p, x, xs):
    p.width, p.height = map(int, x.split("x"))


def all_known(what, known):
    """A check of the values of an axis before the first cell is painted."""

    def confirm(p, xs):
        for x in xs:
            if not known(x):
                raise RuntimeError(f"Unknown {what}: {x}")

    return confirm


def do_nothing(p, x, xs):
    """The axis "Nothing"."""


def value_alone(p, option, x):
    """A value as its cell's name."""
    return round(x, 8) if isinstance(x, float) else x


def value_with_label(p, option, x):
    """The axis and a value as a cell's name."""
    return f"{option.label}: {value_alone(p, option, x)}"


def list_to_csv_string(values):
    with StringIO() as file:
        csv.writer(file).writerow(values)
        return file.getvalue().strip()


def csv_string_to_list_strip(text):
    rows = csv.reader(StringIO(text), skipinitialspace=True)
    return [x.strip() for x in itertools.chain.from_iterable(rows)]


@dataclass
class AxisOption:
    """One kind of axis: how its values are read, checked, applied and named."""

    label: str
    type: Callable
    apply: Callable
    format_value: Callable = value_with_label
    confirm: Callable | None = None
    cost: float = 0.0
    choices: Callable | None = None
    prepare: Callable | None = None


class AxisOptionImg2Img(AxisOption):
    """An axis of img2img only."""

    is_img2img = True


class AxisOptionTxt2Img(AxisOption):
    """An axis of txt2img only."""

    is_img2img = False


def _field(kind, **labels):
    """Axes that set attributes of the processing, by name of the attribute."""
    return {label: AxisOption(label, kind, apply_field(name)) for name, label in labels.items()}


def _own_axes():
    """The host's axes in the order of the list."""
    axes = {
        "Nothing": AxisOption("Nothing", str, do_nothing, lambda p, option, x: ""),
        **_field(int, seed="Seed", subseed="Var. seed"),
        **_field(float, subseed_strength="Var. strength"),
        **_field(int, steps="Steps", hr_second_pass_steps="Hires steps"),
        **_field(float, cfg_scale="CFG Scale"),
        "Prompt S/R": AxisOption("Prompt S/R", str, apply_prompt, value_alone),
        **_field(str, sampler_name="Sampler"),
        "Checkpoint name": AxisOption("Checkpoint name", str, apply_checkpoint_name, value_alone, cost=1.0),
        **_field(str, scheduler="Schedule type"),
        "Clip skip": AxisOption("Clip skip", int, apply_override("CLIP_stop_at_last_layers")),
        **_field(float, denoising_strength="Denoising"),
        "Size": AxisOption("Size", str, apply_sides),
    }
    axes["Hires steps"] = AxisOptionTxt2Img(**vars(axes["Hires steps"]))
    sampler, checkpoint = axes["Sampler"], axes["Checkpoint name"]
    sampler.format_value = value_alone
    sampler.confirm = all_known("sampler", lambda x: x.lower() in sd_samplers.samplers_map)
    sampler.choices = sd_samplers.visible_sampler_names
    checkpoint.confirm = all_known("checkpoint", sd_models.get_closet_checkpoint_match)
    checkpoint.choices = lambda: sorted(sd_models.checkpoints_list, key=str.casefold)
    axes["Schedule type"].choices = lambda: [x.label for x in sd_schedulers.schedulers]
    return list(axes.values())


axis_options = _own_axes()

_NUMBER = r"\s*([+-]?\s*\d+(?:\.\d*)?)\s*"
_RANGE = re.compile(rf"{_NUMBER}-{_NUMBER}(?:\(([+-]\d+(?:\.\d*)?)\s*\))?\s*")
_RANGE_COUNT = re.compile(rf"{_NUMBER}-{_NUMBER}\[(\d+)\s*\]\s*")


def expand_numbers(texts, kind):
    """Numbers and ranges: 1-5, 1-9 (+2), 1-10 [4]; both ends belong to a range."""
    result = []
    for text in texts:
        span, counted = _RANGE.fullmatch(text), _RANGE_COUNT.fullmatch(text)
        if counted:
            start, end = float(counted.group(1)), float(counted.group(2))
            result += np.linspace(start, end, int(counted.group(3))).tolist()
        elif span:
            start, end, step = float(span.group(1)), float(span.group(2)), float(span.group(3) or 1)
            result += np.arange(start, end + step * 1e-6, step).tolist() if kind is float else list(
                range(int(start), int(end) + (1 if step > 0 else -1), int(step))
            )  # fmt: skip
        elif text.strip():
            result.append(text)
    return [kind(x) for x in result]


def read_values(option, text, chosen, csv_mode):
    """The values of an axis in its own type."""
    if option.label == "Nothing":
        return [0]
    if option.choices is not None and not csv_mode:
        values = list(chosen or [])
    elif option.prepare is not None:
        values = option.prepare(text)
    else:
        values = csv_string_to_list_strip(text)
    if option.type in (int, float):
        return expand_numbers([str(x) for x in values], option.type)
    return [option.type(x) for x in values]


def with_labels(grid, columns, rows, cell_width, cell_height):
    """A frame with the columns' names above and the rows' names left."""
    top = LABEL_HEIGHT if any(columns) else 0
    left = max((9 * len(str(x)) for x in rows if x), default=0)
    if not top and not left:
        return grid
    framed = Image.new("RGB", (grid.width + left, grid.height + top), "white")
    framed.paste(grid, (left, top))
    draw = ImageDraw.Draw(framed)
    for number, text in enumerate(columns):
        draw.text((left + number * cell_width + 4, 4), str(text), fill="black")
    for number, text in enumerate(rows):
        draw.text((4, top + number * cell_height + cell_height // 2), str(text), fill="black")
    return framed


class Script(scripts.Script):
    """The script of the list."""

    def title(self):
        return "X/Y/Z plot"

    def ui(self, is_img2img):
        options = [x for x in axis_options if getattr(x, "is_img2img", is_img2img) == is_img2img]
        self.current_axis_options = options
        labels = [x.label for x in options]
        axes = []
        for axis, start in (("x", 1), ("y", 0), ("z", 0)):
            with gr.Row():
                kind = gr.Dropdown(
                    label=f"{axis.upper()} type", choices=labels, value=labels[start], type="index",
                    elem_id=self.elem_id(f"{axis}_type"),
                )  # fmt: skip
                text = gr.Textbox(label=f"{axis.upper()} values", lines=1, elem_id=self.elem_id(f"{axis}_values"))
                chosen = gr.Dropdown(
                    label=f"{axis.upper()} values", choices=[], value=[], visible=False, multiselect=True,
                    interactive=True, elem_id=self.elem_id(f"{axis}_values_dropdown"),
                )  # fmt: skip

            def show(index, as_text, options=options):
                choices = options[index or 0].choices
                listed = choices is not None and not as_text
                values = choices() if listed else []
                return gr.update(visible=not listed), gr.update(visible=listed, choices=values, value=[])

            axes.append((kind, text, chosen, show))
        with gr.Row(elem_id="axis_options"):
            boxes = [
                gr.Checkbox(label=label, value=value, elem_id=self.elem_id(name))
                for name, label, value in (
                    ("draw_legend", "Draw legend", True),
                    ("include_lone_images", "Include Sub Images", False),
                    ("include_sub_grids", "Include Sub Grids", False),
                    ("no_fixed_seeds", "Keep -1 for seeds", False),
                    ("vary_seeds_x", "Vary seeds for X", False),
                    ("vary_seeds_y", "Vary seeds for Y", False),
                    ("vary_seeds_z", "Vary seeds for Z", False),
                )
            ]
            margin = gr.Slider(
                label="Grid margins (px)", minimum=0, maximum=500, value=0, step=2, elem_id=self.elem_id("margin_size")
            )
            csv_mode = gr.Checkbox(
                label="Use text inputs instead of dropdowns", value=False, elem_id=self.elem_id("csv_mode")
            )
        for kind, text, chosen, show in axes:
            for event in (kind.change, csv_mode.change):
                event(fn=show, inputs=[kind, csv_mode], outputs=[text, chosen], show_progress=False)
        self.infotext_fields = [
            (component, f"{axis} {what}")
            for axis, row in zip("XYZ", axes, strict=True)
            for component, what in ((row[0], "Type"), (row[1], "Values"))
        ]
        return [*[x for row in axes for x in row[:3]], *boxes, margin, csv_mode]

    def run(
        self, p, x_type, x_values, x_chosen, y_type, y_values, y_chosen, z_type, z_values, z_chosen, draw_legend,
        include_lone_images, include_sub_grids, no_fixed_seeds, vary_seeds_x, vary_seeds_y, vary_seeds_z,
        margin_size, csv_mode,
    ):  # fmt: skip
        if not no_fixed_seeds:
            processing.fix_seed(p)
        given = ((x_type, x_values, x_chosen), (y_type, y_values, y_chosen), (z_type, z_values, z_chosen))
        options = [self.current_axis_options[kind or 0] for kind, _, _ in given]
        axes = []
        for option, (_, text, chosen) in zip(options, given, strict=True):
            values = read_values(option, text, chosen, csv_mode)
            if option.confirm:
                option.confirm(p, values)
            if not no_fixed_seeds and option.label in ("Seed", "Var. seed"):
                values = [processing.get_fixed_seed(x) for x in values]
            axes.append(values)
        xs, ys, zs = axes
        if not (xs and ys and zs):
            raise ValueError("An axis of the X/Y/Z plot has no values.")
        pixels = len(xs) * len(ys) * len(zs) * p.width * p.height
        if pixels > shared.opts.img_max_size_mp * 1e6:
            raise ValueError(f"The grid would have {pixels / 1e6:.0f} million pixels; the setting's limit is lower.")

        count = len(xs) * len(ys) * len(zs)
        shared.state.job_count = count * p.n_iter
        seed_steps = (vary_seeds_x, vary_seeds_y, vary_seeds_z)
        cells: dict[tuple, Processed] = {}
        # The axis that is slowest to change goes into the outer loop; of equal ones Z, then Y.
        order = sorted(range(3), key=lambda i: (options[i].cost, i), reverse=True)
        for where in itertools.product(*(range(len(axes[i])) for i in order)):
            index = tuple(where[order.index(i)] for i in range(3))
            shared.state.job = f"{len(cells) + 1} out of {count}"
            cells[index] = self._cell(p, options, axes, index, seed_steps)
        try:
            return self._result(p, options, axes, given, cells, draw_legend, include_lone_images, include_sub_grids)
        finally:
            sd_models.reload_model_weights(info=None)

    def _cell(self, p, options, axes, index, vary_seeds):
        """One generation; an error leaves its cell empty."""
        empty = partial(Processed, p, images_list=[], seed=p.seed)
        if any((shared.state.stopping_generation, shared.state.interrupted)):
            return empty()
        own = copy(p)
        own.styles, own.override_settings = list(p.styles or ()), dict(p.override_settings or {})
        stride = 1
        for option, values, i in zip(options, axes, index, strict=True):
            option.apply(own, values[i], values)
        for values, i, vary in zip(axes, index, vary_seeds, strict=True):
            if vary:
                own.seed += i * stride
                stride *= len(values)
        try:
            return process_images(own)
        except Exception as error:  # noqa: BLE001 - the other cells are still wanted
            errors.display(error, f"cell {index} of the X/Y/Z plot")
            return empty()

    def _result(self, p, options, axes, given, cells, draw_legend, include_lone_images, include_sub_grids):
        """Grids first, then the cells that were asked for."""
        xs, ys, zs = axes
        done = [x for x in cells.values() if x.images]
        if not done:
            return Processed(p, images_list=[], seed=p.seed)
        result = copy(done[0])
        blank = Image.new("RGB", done[0].images[0].size)
        names = [
            [option.format_value(p, option, x) for x in values] for option, values in zip(options, axes, strict=True)
        ]
        pictures, infos, prompts, seeds = [], [], [], []
        for iz, iy, ix in itertools.product(range(len(zs)), range(len(ys)), range(len(xs))):
            cell = cells[ix, iy, iz]
            pictures.append(cell.images[0] if cell.images else blank)
            infos.append(cell.infotexts[0] if cell.images else "")
            prompts.append(cell.prompt)
            seeds.append(cell.seed)
        page = len(xs) * len(ys)
        width, height = pictures[0].size
        grids = []
        for iz in range(len(zs)):
            grid = images.image_grid(pictures[iz * page : (iz + 1) * page], rows=len(ys))
            grids.append(with_labels(grid, names[0], names[1], width, height) if draw_legend else grid)
        whole = images.image_grid(grids, rows=1) if len(grids) > 1 else grids[0]
        info = self._grid_info(infos[0], options, given)
        sub_grids = grids if include_sub_grids and len(grids) > 1 else []
        lone = include_lone_images
        result.images = [whole, *sub_grids, *(pictures if lone else [])]
        result.infotexts = [info, *([info] * len(sub_grids)), *(infos if lone else [])]
        result.all_prompts = [prompts[0], *([prompts[0]] * len(sub_grids)), *(prompts if lone else [])]
        result.all_seeds = [seeds[0], *([seeds[0]] * len(sub_grids)), *(seeds if lone else [])]
        result.index_of_first_image = 1 + len(sub_grids)
        if shared.opts.grid_save:
            images.save_image(
                whole, p.outpath_grids, "xyz_grid", info=info, extension=shared.opts.grid_format, prompt=prompts[0],
                seed=seeds[0], grid=True, p=p,
            )  # fmt: skip
        return result

    def _grid_info(self, info, options, given):
        """The first cell's infotext with the axes."""
        parts = [f"Script: {self.title()}"]
        for axis, option, (_, text, chosen) in zip("XYZ", options, given, strict=True):
            if option.label != "Nothing":
                values = text or list_to_csv_string(chosen or [])
                parts.append(f'{axis} Type: {option.label}, {axis} Values: "{values}"')
        return f"{info}, {', '.join(parts)}"
