"""X/Y/Z plot with the extension's axes (contract 1.7): each value in its own cell and nowhere else."""

import io
import json
import re

import pytest
from PIL import Image

from lib_animatediff.infotext import read_infotext_value
from tests.live import media
from tests.live.client import PROBE, SCRIPT, choices_of

XYZ = "X/Y/Z plot"
PREFIX = "[AnimateDiff] "

# axis -> (two values, the field, the same values as the infotext has them)
AXES = {
    "Enabled": (["True", "False"], None, None),
    "Motion Module": (None, "model", None),
    "Video length": (["2", "3"], "video_length", [2, 3]),
    "FPS": (["5", "9"], "fps", [5, 9]),
    "Use main seed": (["True", "False"], "use_main_seed", [True, None]),
    "Closed loop": (["N", "R+P"], "closed_loop", ["N", "R+P"]),
    "Batch size": (["4", "8"], "batch_size", [4, 8]),
    "Stride": (["1", "2"], "stride", [1, 2]),
    "Overlap": (["0", "1"], "overlap", [0, 1]),
    "Interp": (["Off", "Flow"], "interp", ["Off", "Flow"]),
    "Interp X": (["2", "3"], "interp_x", [2, 3]),
    "Video path": ([""], None, None),
    "Prompt interpolation": (["lerp", "slerp"], "prompt_interpolation", ["lerp", None]),
    "Prompt easing": (["linear", "step"], "prompt_easing", [None, "step"]),
    "Context schedule": (["static", "shuffled"], "context_schedule", ["static", "shuffled"]),
    "Context fuse": (["pyramid", "gauss"], "context_fuse", [None, "gauss"]),
    "Motion scale": (["1", "1.3"], "motion_scale", [None, "1.3"]),
    "Motion effect": (["0", "1"], "motion_effect", ["0", None]),
    "Positions": (["trained", "stretched"], "positions", [None, "stretched"]),
    "Initial noise": (["per frame", "FreeNoise"], "initial_noise", [None, "FreeNoise"]),
}
IMG2IMG_AXES = {
    "Latent power": (["0.5", "2"], "latent_power", [0.5, 2]),
    "Latent scale": (["8", "16"], "latent_scale", [8, 16]),
    "Latent power last": (["0.5", "2"], "latent_power_last", [0.5, 2]),
    "Latent scale last": (["8", "16"], "latent_scale_last", [8, 16]),
}


@pytest.fixture(scope="module")
def xyz_info(session_host):
    """What the host says of X/Y/Z plot, for txt2img and for img2img."""
    info = session_host.script_info(XYZ)
    if not info:
        pytest.skip("the host has no X/Y/Z plot")
    return info


def axis_arguments(info: dict, wished: list[tuple[str, list[str]]], **values) -> list:
    """The arguments of X/Y/Z plot: axes by label with their values as text, sub-images wanted."""
    arguments = []
    for argument in info["args"]:
        label = argument["label"]
        match = re.fullmatch(r"([XYZ]) (type|values)", label or "")
        given = wished["XYZ".index(match[1])] if match and "XYZ".index(match[1]) < len(wished) else ("Nothing", [])
        if match and match[2] == "type":
            arguments.append(choices_of(info, label).index(given[0]))
        elif match:
            # the text box comes first, then the list for axes with choices; the text is used in csv mode
            arguments.append(", ".join(given[1]) if not argument["choices"] and argument["value"] != [] else given[1])
        else:
            wants = {"Include Sub Images": True, "Use text inputs instead of dropdowns": True, "Draw legend": False}
            arguments.append(values.get(label, wants.get(label, argument["value"])))
    return arguments


def plot(host, info, wished, animation=None, probe=None, **fields):
    """The sub-images of a plot: (picture as bytes, infotext) of each cell, in order, without the grid."""
    body = host.request(animation, probe, **fields)
    body.update(script_name=XYZ.lower(), script_args=axis_arguments(info, wished))
    made = host.img2img(body) if "init_images" in body else host.txt2img(body)
    return [(data, media.png_text(data)) for data in made.data[1:]]


def settings_of(infotext: str) -> dict:
    found = re.search(r'AnimateDiff: ("(?:[^"\\]|\\.)*")', infotext)
    return read_infotext_value(json.loads(found[1])) if found else {}


def test_all_axes_are_there(xyz_info):
    for info, axes in zip(xyz_info[:2], (AXES, {**AXES, **IMG2IMG_AXES}), strict=False):
        known = choices_of(info, "X type")
        assert {PREFIX + name for name in axes} == {name for name in known if name.startswith(PREFIX)}


@pytest.mark.parametrize("axis", [name for name, (values, field, _) in AXES.items() if values and field])
def test_each_axis_gives_each_cell_its_value(host, plain, xyz_info, axis):
    values, field, wanted = AXES[axis]
    base = {"interp": "Flow"} if axis == "Interp X" else {}
    cells = plot(host, xyz_info[0], [(PREFIX + axis, values)], {"format": ["GIF"], **base})
    assert len(cells) == len(values)
    assert [settings_of(text).get(field) for _, text in cells] == wanted
    plain.assert_unchanged()


@pytest.mark.parametrize("axis", IMG2IMG_AXES)
def test_each_axis_of_img2img(host, xyz_info, axis):
    values, field, wanted = IMG2IMG_AXES[axis]
    picture = [media.base64_picture(size=host.size)]
    cells = plot(host, xyz_info[1], [(PREFIX + axis, values)], {"format": ["GIF"]}, init_images=picture)
    assert [settings_of(text).get(field) for _, text in cells] == wanted


def test_motion_modules_side_by_side(host, modules, xyz_info):
    names = [modules.v1, modules.v2, modules.v3]
    cells = plot(host, xyz_info[0], [(PREFIX + "Motion Module", names)], {"format": ["GIF"]})
    assert [settings_of(text)["model"] for _, text in cells] == names
    for name, (data, _) in zip(names, cells, strict=True):
        alone = host.animate(model=name).frames
        assert media.difference(media.pixels(data), alone[0]) == 0


def test_on_and_off_side_by_side(host, plain, xyz_info):
    cells = plot(host, xyz_info[0], [(PREFIX + "Enabled", ["True", "False", "True"])], {"format": ["GIF"]})
    animated, still, again = (media.pixels(data) for data, _ in cells)
    assert media.difference(still, plain.pictures[0]) == 0
    assert media.difference(animated, again) == 0
    assert media.difference(animated, host.animate().frames[0]) == 0
    assert "AnimateDiff" not in cells[1][1]


def test_an_axis_can_switch_on_what_the_request_left_off(host, plain, xyz_info):
    off = {"enable": False, "format": ["GIF"]}
    cells = plot(host, xyz_info[0], [(PREFIX + "Enabled", ["False", "True"])], off)
    assert media.difference(media.pixels(cells[0][0]), plain.pictures[0]) == 0
    assert media.difference(media.pixels(cells[1][0]), host.animate().frames[0]) == 0


def test_nothing_leaks_from_cell_to_cell(host, outputs, xyz_info):
    """Each file is what the same request makes by itself; the incumbent keeps the length of the first cell."""
    with outputs.added() as new:
        plot(
            host,
            xyz_info[0],
            [(PREFIX + "Video length", ["0", "2", "0"]), (PREFIX + "Batch size", ["3", "4"])],
            {"format": ["GIF"], "video_length": 0},
        )
    videos = [(outputs.folder / path).read_bytes() for path in new if path.endswith(".gif")]
    made = []
    for video in videos:
        settings = settings_of(media.infotext_inside(video))
        made.append((settings["video_length"], settings["batch_size"], media.facts(video).frames))
    wanted = [(0, 3, 3), (2, 3, 2), (0, 3, 3), (0, 4, 4), (2, 4, 2), (0, 4, 4)]
    assert sorted(made) == sorted(wanted)


def test_two_of_our_axes_at_once(host, xyz_info):
    axes = [(PREFIX + "FPS", ["5", "9"]), (PREFIX + "Video length", ["2", "3"])]
    cells = plot(host, xyz_info[0], axes, {"format": ["GIF"]})
    made = [(settings_of(text)["fps"], settings_of(text)["video_length"]) for _, text in cells]
    assert made == [(5, 2), (9, 2), (5, 3), (9, 3)]


def test_an_axis_of_the_host_beside_ours(host, xyz_info):
    cells = plot(host, xyz_info[0], [("Seed", ["1", "7"]), (PREFIX + "FPS", ["5", "9"])], {"format": ["GIF"]})
    assert len(cells) == 4
    assert media.difference(media.pixels(cells[0][0]), media.pixels(cells[1][0])) > 0
    assert media.difference(media.pixels(cells[0][0]), media.pixels(cells[2][0])) == 0


def test_a_plot_without_animatediff_is_what_it_was(host, plain, xyz_info):
    host.animate()
    cells = plot(host, xyz_info[0], [("Seed", ["1", "7"])])
    assert media.difference(media.pixels(cells[0][0]), plain.pictures[0]) == 0


def test_after_a_plot_the_next_request_has_its_own_settings(host, xyz_info):
    wanted = host.animate(fps=8)
    plot(host, xyz_info[0], [(PREFIX + "FPS", ["5", "9"])], {"format": ["GIF"]})
    made = host.animate(fps=8)
    assert settings_of(made.infotext)["fps"] == 8
    assert media.difference(made.frames, wanted.frames) == 0


@pytest.mark.parametrize(("axis", "values"), [("FPS", ["9", "0"]), ("Video path", ["frames"]), ("Closed loop", ["X"])])
def test_a_value_that_an_axis_may_not_have_is_refused_before_anything_is_made(host, outputs, xyz_info, axis, values):
    body = host.request({"format": ["GIF"]})
    body.update(script_name=XYZ.lower(), script_args=axis_arguments(xyz_info[0], [(PREFIX + axis, values)]))
    with outputs.added() as new:
        answer = host.try_txt2img(body)
    assert answer.status == 422
    assert axis.lower().replace(" ", "_") in answer.error()
    assert new == []


def test_a_broken_cell_leaks_nothing_into_the_next(host, plain, probe, xyz_info):
    """The probe's fault comes with every cell, so the next request is the one to look at."""
    fault = {"fault": {"where": "unet", "call": 2}}
    body = host.request({"format": ["GIF"]}, fault)
    body.update(script_name=XYZ.lower(), script_args=axis_arguments(xyz_info[0], [(PREFIX + "FPS", ["5", "9"])]))
    assert PROBE in body["alwayson_scripts"]
    host.try_txt2img(body)
    plain.assert_unchanged()
    assert len(host.animate().data) == host.frames


def test_files_of_a_plot_lie_on_the_disk(host, outputs, xyz_info):
    with outputs.added() as new:
        plot(host, xyz_info[0], [(PREFIX + "FPS", ["5", "10"])], {"format": ["GIF", "PNG"]})
    rates = [media.facts((outputs.folder / path).read_bytes()).fps for path in new if path.endswith(".gif")]
    assert rates == pytest.approx([5, 10], abs=0.1)


def test_the_script_of_a_plot_takes_the_arguments_of_a_position_too(host, xyz_info):
    """The panel hands its values over by position; so may a program, in a plot."""
    body = host.body(
        alwayson_scripts={SCRIPT: {"args": [True, host.model, 2, 8, 0, "N", 4]}},
        script_name=XYZ.lower(),
        script_args=axis_arguments(xyz_info[0], [(PREFIX + "FPS", ["5", "9"])]),
    )
    made = host.txt2img(body)
    assert Image.open(io.BytesIO(made.data[1])).size == (host.size, host.size)
    assert [settings_of(media.png_text(data))["fps"] for data in made.data[1:]] == [5, 9]
