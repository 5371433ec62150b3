"""The X/Y/Z plot's axes."""

from copy import copy
from types import SimpleNamespace

import pytest

from lib_animatediff.errors import RequestError
from lib_animatediff.fields import FIELDS
from lib_animatediff.request import parse_script_args
from lib_animatediff.ui.xyz import overrides, register_axes
from tests.unit import fake_modules

MODELS = ["a.ckpt", "b.ckpt"]


@pytest.fixture
def host(monkeypatch):
    return fake_modules.install(monkeypatch)


@pytest.fixture
def axes(host):
    plot = fake_modules.xyz_grid()
    host.scripts.scripts_data += [SimpleNamespace(path="/webui/scripts/loopback.py", module=SimpleNamespace()), plot]
    assert register_axes(lambda: MODELS) == 24
    return {option.label.removeprefix("[AnimateDiff] "): option for option in plot.module.axis_options}


def test_the_contracts_sixteen_axes_and_ours(axes):
    assert {label: option.type for label, option in axes.items()} == {
        "Enabled": str, "Motion Module": str, "Video length": int, "FPS": int, "Use main seed": str,
        "Closed loop": str, "Batch size": int, "Stride": int, "Overlap": int, "Interp": str, "Interp X": int,
        "Video path": str, "Latent power": float, "Latent scale": float, "Latent power last": float,
        "Latent scale last": float,
        "Prompt interpolation": str, "Prompt easing": str, "Context schedule": str, "Context fuse": str,
        "Initial noise": str, "Motion scale": str, "Motion effect": str, "Positions": str,
    }  # fmt: skip
    for label, option in axes.items():
        assert isinstance(option, fake_modules.AxisOptionImg2Img) == label.startswith("Latent")
    listed = {label: option.choices() for label, option in axes.items() if option.choices}
    assert listed == {
        "Enabled": ["False", "True"],
        "Motion Module": MODELS,
        "Use main seed": ["False", "True"],
        "Closed loop": ["N", "R-P", "R+P", "A"],
        "Interp": ["Off", "FILM", "Flow"],
        "Prompt interpolation": ["slerp", "lerp"],
        "Prompt easing": ["linear", "ease-in", "ease-out", "ease-in-out", "step"],
        "Context schedule": ["uniform", "static", "batched", "shuffled"],
        "Context fuse": ["pyramid", "flat", "relative", "overlap-linear", "gauss", "saw-tooth"],
        "Positions": ["trained", "stretched", "sweet spot"],
        "Initial noise": ["per frame", "mixed", "shared", "repeated", "FreeNoise"],
    }


def test_registering_twice_adds_nothing(host, axes):
    plot = host.scripts.scripts_data[-1].module
    count = len(plot.axis_options)
    assert register_axes(lambda: MODELS) == 0
    assert len(plot.axis_options) == count


def test_a_host_without_the_plot_or_with_another_one(host, caplog):
    assert register_axes(lambda: MODELS) == 0
    host.scripts.scripts_data.append(SimpleNamespace(path="/x/xyz_grid.py", module=SimpleNamespace()))
    assert register_axes(lambda: MODELS) == 0
    assert "X/Y/Z plot" in caplog.text


def test_the_models_are_listed_anew_each_time(host):
    names = ["a.ckpt"]
    plot = fake_modules.xyz_grid()
    host.scripts.scripts_data.append(plot)
    register_axes(lambda: names)
    [axis] = [option for option in plot.module.axis_options if option.label.endswith("Motion Module")]
    names.append("b.ckpt")
    assert axis.choices() == ["a.ckpt", "b.ckpt"]


def test_values_do_not_leak_from_cell_to_cell(axes):
    p = SimpleNamespace()
    for fps in (4, 12):
        for length in (8, 24):
            cell = copy(p)
            axes["FPS"].apply(cell, fps, [4, 12])
            axes["Video length"].apply(cell, length, [8, 24])
            assert overrides(cell) == {"fps": fps, "video_length": length}
            request = parse_script_args([True], tab="txt2img", overrides=overrides(cell))
            assert (request.fps, request.video_length, request.overlap) == (fps, length, -1)
    assert overrides(p) == {}
    first = copy(p)
    axes["FPS"].apply(first, 4, [4])
    second = copy(first)
    axes["FPS"].apply(second, 5, [5])
    assert (overrides(first), overrides(second)) == ({"fps": 4}, {"fps": 5})


@pytest.mark.parametrize("row", [row for row in FIELDS if row.axis], ids=lambda row: row.name)
def test_each_axis_reaches_its_field(axes, row):
    text = {
        "model": "b.ckpt",
        "closed_loop": "A",
        "interp": "Flow",
        "enable": "True",
        "use_main_seed": "True",
        "motion_effect": "0:2",
    }
    option = axes[row.axis]
    other = row.choices[-1] if row.choices else "" if row.kind == "path" else "7"
    value = option.type(text.get(row.name, other))
    option.confirm(None, [value])
    cell = SimpleNamespace()
    option.apply(cell, value, [value])
    request = parse_script_args([True], tab="img2img", overrides=overrides(cell))
    assert getattr(request, row.name) == row.parse(value)
    if row.kind != "path":
        assert getattr(request, row.name) != row.default


@pytest.mark.parametrize(
    ("label", "value", "field"),
    [
        ("FPS", 0, "fps"),
        ("Enabled", "maybe", "enable"),
        ("Closed loop", "X", "closed_loop"),
        ("Motion Module", "../x", "model"),
        ("Video path", "/frames", "video_path"),
        ("Latent scale", 0.5, "latent_scale"),
    ],
)
def test_bad_values_are_refused_before_the_first_cell(axes, label, value, field):
    with pytest.raises(RequestError, match=field):
        axes[label].confirm(None, [value])
