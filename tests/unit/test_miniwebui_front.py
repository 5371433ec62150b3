"""miniwebui's front: settings, scripts and their hooks, infotext, saved images, the queue."""

import importlib
import sys
import threading
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from tests.unit.miniwebui_front import INFO, front_modules, runner_of


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    with front_modules(tmp_path_factory.mktemp("data")) as modules:
        yield modules


@pytest.fixture
def opts(host, monkeypatch):
    """Options of two settings, the command line as nobody touched it."""
    label = host.options.OptionInfo
    return host.options.Options(
        {
            "number": label(3, "A number", infotext="Number", section=("a", "A")),
            "text": label("x", "A text", section=("b", "B")),
            "hidden": label("h", "Restricted", component_args={"visible": False}, section=("a", "A")),
        },
        set(),
    )


# Settings


def test_option_is_declared_once_and_keeps_its_saved_value(opts, host, tmp_path):
    opts.set("number", 5)
    opts.save(str(tmp_path / "config.json"))
    again = host.options.Options({}, set())
    again.load(str(tmp_path / "config.json"))
    again.add_option("number", host.options.OptionInfo(3, "A number"))
    assert again.number == 5
    assert again.get_default("number") == 3


def test_option_calls_onchange_and_takes_a_refused_value_back(opts):
    seen = []
    opts.onchange("number", lambda: seen.append(opts.number), call=False)
    assert opts.set("number", 4)
    assert not opts.set("number", 4)
    opts.data_labels["text"].onchange = lambda: 1 / 0
    assert not opts.set("text", "y")
    assert (seen, opts.text) == ([4], "x")


def test_option_outside_the_declared_ones_is_an_error(opts):
    with pytest.raises(KeyError):
        opts.set("unknown", 1)
    with pytest.raises(AttributeError, match="unknown"):
        _ = opts.unknown


def test_hidden_option_cannot_be_set(opts):
    assert not opts.set("hidden", "new")
    with pytest.raises(RuntimeError, match="restricted"):
        opts.hidden = "new"


def test_frozen_settings_refuse_changes(opts, host, monkeypatch):
    monkeypatch.setattr(host.options.cmd_opts, "freeze_settings_in_sections", "z, a")
    with pytest.raises(AssertionError, match="frozen"):
        opts.set("number", 9)
    assert opts.set("text", "y")


def test_unreadable_settings_are_set_aside(host, opts, tmp_path, capsys):
    path = tmp_path / "config.json"
    path.write_text("{broken", encoding="utf8")
    opts.load(str(path))
    assert opts.number == 3
    assert (tmp_path / "config.json.broken").is_file()
    assert "config.json" in capsys.readouterr().err


def test_unknown_arguments_are_named(host, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["miniwebui", "--nonsense", "--lowvram"])
    module = importlib.reload(host.shared_cmd_options)
    assert module.cmd_opts.lowvram
    assert "--nonsense" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["miniwebui"])
    importlib.reload(host.shared_cmd_options)


# Scripts


@pytest.fixture
def make_runner(host):
    return partial(runner_of, host.scripts)


def test_hooks_get_their_own_arguments_and_a_failing_one_does_not_stop_the_rest(make_runner, capsys):
    seen = []

    def note(self, p, *args, **kwargs):
        seen.append((self.title(), args, kwargs))
        if self.title() == "First":
            raise RuntimeError("broken hook")

    runner = make_runner(("First", True, {"process_batch": note}), ("Second", True, {"process_batch": note}))
    runner.process_batch(SimpleNamespace(script_args=(0, "one", "two")), batch_number=7)
    assert seen == [("First", ("one",), {"batch_number": 7}), ("Second", ("two",), {"batch_number": 7})]
    shown = capsys.readouterr().err
    assert "Error running process_batch: /nowhere/First.py" in shown
    assert "broken hook" in shown


def test_a_hook_lets_an_interrupt_through(make_runner):
    class Interrupted(BaseException):
        pass

    def stop(self, p, *args):
        raise Interrupted

    runner = make_runner(("First", True, {"process": stop}))
    with pytest.raises(Interrupted):
        runner.process(SimpleNamespace(script_args=(0, 1)))


def test_every_hook_of_the_contract_is_called(make_runner, host):
    hooks = {
        "setup": [], "before_process": [], "process": [], "before_process_batch": [], "post_sample": [1],
        "after_extra_networks_activate": [], "process_batch": [], "process_before_every_sampling": [],
        "postprocess_batch": [], "postprocess_batch_list": [1], "postprocess_image": [1], "on_mask_blend": [1],
        "postprocess_maskoverlay": [1], "postprocess_image_after_composite": [1], "postprocess": [1], "before_hr": [],
    }  # fmt: skip
    seen = []

    def noting(name):
        return lambda self, p, *args, **kwargs: seen.append((name, args))

    members = {x: noting(x) for x in hooks}
    runner = make_runner(("Only", True, members))
    p = SimpleNamespace(script_args=(0, "arg"))
    for name, leading in hooks.items():
        extra = {"images": "tensor"} if name == "postprocess_batch" else {}
        getattr(runner, "setup_scrips" if name == "setup" else name)(p, *leading, **extra)
    assert seen == [(name, (*leading, "arg")) for name, leading in hooks.items()]


def test_parts_of_the_page_do_not_set_up_api_runs(make_runner):
    seen = []
    members = {"setup": lambda self, p, *a: seen.append(self.title()), "setup_for_ui_only": True}
    runner = make_runner(("Page", True, members))
    runner.setup_scrips(SimpleNamespace(script_args=(0, 1)), is_ui=False)
    assert seen == []
    runner.setup_scrips(SimpleNamespace(script_args=(0, 1)))
    assert seen == ["Page"]


def test_the_chosen_script_runs_with_its_arguments(make_runner):
    runner = make_runner(
        ("Always", True, {}), ("Chosen", False, {"run": lambda self, p, *args: ("ran", self.title(), args)})
    )
    assert runner.run(None, 0, "a", "b") is None
    assert runner.run(None, 1, "a", "b") == ("ran", "Chosen", ("b",))


def test_components_become_arguments_in_the_order_of_the_page(host, tmp_path):
    import gradio as gr

    class Panel(host.scripts.Script):
        filename = str(tmp_path / "panel.py")
        alwayson = True

        def title(self):
            return "My Panel"

        def ui(self, is_img2img):
            box = gr.Checkbox(label="On", value=True, elem_id=self.elem_id("on"))
            self.infotext_fields = [(box, "On")]
            return [box, gr.Slider(1, 9, value=4, step=1, label="How many"), gr.Dropdown(["a", "b"], label="Which")]

    runner = host.scripts.ScriptRunner()
    panel = Panel()
    with gr.Blocks():
        runner.create_script_ui(panel)
    assert (panel.args_from, panel.args_to, len(runner.inputs)) == (1, 4, 4)
    assert panel.name == "my panel"
    described = [(x.label, x.value, x.minimum, x.choices) for x in panel.api_info.args]
    assert described == [
        ("On", True, None, None),
        ("How many", 4, 1, None),
        ("Which", described[2][1], None, ["a", "b"]),
    ]
    assert runner.infotext_fields[0][1] == "On"


def test_scripts_load_as_a1111_loads_them(host, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "some-extension"
    (folder / "scripts").mkdir(parents=True)
    (folder / "beside_the_scripts.py").write_text("VALUE = 42\n", encoding="utf8")
    (folder / "scripts" / "good.py").write_text(
        "from modules import scripts\nfrom beside_the_scripts import VALUE\nBASE = scripts.basedir()\n"
        "class Good(scripts.Script):\n    def title(self):\n        return 'Good'\n",
        encoding="utf8",
    )
    (folder / "scripts" / "bad.py").write_text("raise RuntimeError('cannot load')\n", encoding="utf8")
    extension = host.extensions.Extension(str(folder))
    monkeypatch.setattr(host.extensions, "extensions", [extension])
    paths = list(sys.path)
    host.scripts.load_scripts()
    mine = [x for x in host.scripts.scripts_data if x.basedir == str(folder)]
    assert [x.script_class.__name__ for x in mine] == ["Good"]
    assert mine[0].module.VALUE == 42
    assert str(folder) == mine[0].module.BASE
    assert sys.path == paths
    assert "cannot load" in capsys.readouterr().err
    sys.modules.pop("beside_the_scripts")


def test_metadata_orders_scripts(host, tmp_path, monkeypatch):
    for name, text in (("aa", "[scripts]\nAfter = bb\n"), ("bb", "")):
        (tmp_path / name / "scripts").mkdir(parents=True)
        (tmp_path / name / "scripts" / f"{name}.py").write_text("", encoding="utf8")
        (tmp_path / name / "metadata.ini").write_text(text, encoding="utf8")
    found = [host.extensions.Extension(str(tmp_path / x)) for x in ("aa", "bb")]
    monkeypatch.setattr(host.extensions, "extensions", found)
    names = [x.filename for x in host.scripts.list_scripts("scripts", ".py")]
    assert names.index("bb.py") < names.index("aa.py")


def test_callbacks_report_and_go_on(host, capsys):
    callbacks = host.script_callbacks
    callbacks.clear_callbacks()
    seen = []
    callbacks.on_cfg_denoiser(lambda params: 1 / 0)
    callbacks.on_cfg_denoiser(seen.append)
    params = callbacks.CFGDenoiserParams("x", None, 1.0, 0, 4, "c", "u")
    callbacks.cfg_denoiser_callback(params)
    assert seen == [params]
    assert "ZeroDivisionError" in capsys.readouterr().err
    names = [x.name for x in callbacks.callback_map["callbacks_cfg_denoiser"]]
    assert names == [f"base/{Path(__file__).name}/cfg_denoiser", f"base/{Path(__file__).name}/cfg_denoiser-2"]
    callbacks.clear_callbacks()


def test_topological_sort_puts_dependencies_first(host):
    order = host.util.topological_sort({"a": ["c", "unknown"], "b": ["a"], "c": []})
    assert order == ["c", "a", "b"]


# Infotext


def test_infotext_is_read(host):
    read = host.infotext_utils.parse_generation_parameters(INFO, [])
    assert read["Prompt"] == "a cat,\nin two lines"
    assert read["Negative prompt"] == "a dog"
    assert (read["Steps"], read["Size-1"], read["Size-2"], read["Extra"]) == ("4", "64", "128", 'a: 1, b: "x"')
    assert read["Schedule type"] == "Automatic"


def test_infotext_without_parameters_is_a_prompt(host):
    assert host.infotext_utils.parse_generation_parameters("only, words", [])["Prompt"] == "only, words"


@pytest.mark.parametrize("value", ["plain", "a, b", "a: b", 'two "words", more', "line\nline"])
def test_quote_and_unquote(host, value):
    assert host.infotext_utils.unquote(host.infotext_utils.quote(value)) == value


def test_infotext_overrides_settings_that_differ(host):
    params = host.infotext_utils.parse_generation_parameters(INFO, [])
    found = host.infotext_utils.get_override_settings(params)
    assert ("Clip skip", "CLIP_stop_at_last_layers", 2) in found
    pairs = [f"{label}: {value}" for label, _, value in found]
    assert host.infotext_utils.create_override_settings_dict(pairs)["CLIP_stop_at_last_layers"] == 2


def test_paste_button_fills_components(host):
    import gradio as gr

    class Button:
        def click(self, fn, inputs, outputs, **kwargs):
            self.fn = fn

    button = Button()
    with gr.Blocks():
        steps, seed, flag = gr.Slider(1, 9, value=1), gr.Number(value=-1), gr.Checkbox(value=False)
    fields = [(steps, "Steps"), (seed, lambda params: int(params["Seed"]) + 1), (flag, lambda params: 1 / 0)]
    host.infotext_utils.connect_paste(button, fields, None, None, "txt2img")
    updates = button.fn(INFO)
    assert [x.get("value") for x in updates[:2]] == [4, 12]
    assert "value" not in updates[2]


# Images


@pytest.mark.parametrize("extension", ["png", "jpg", "webp", "gif"])
def test_saved_image_carries_its_infotext(host, tmp_path, extension):
    image = Image.new("RGB", (16, 8), (10, 200, 30))
    path, _ = host.images.save_image(
        image, str(tmp_path), "", seed=5, prompt="p", extension=extension, info="a cäts\nSteps: 1"
    )
    assert image.already_saved_as == path
    with Image.open(path) as read:
        assert host.images.read_info_from_image(read)[0] == "a cäts\nSteps: 1"
    assert not list(tmp_path.rglob("*.tmp"))


def test_saved_images_are_numbered(host, tmp_path):
    names = [
        Path(host.images.save_image(Image.new("RGB", (8, 8)), str(tmp_path), "", seed=7, save_to_dirs=False)[0]).name
        for _ in range(2)
    ]
    assert names == ["00000-7.png", "00001-7.png"]
    assert host.images.get_next_sequence_number(str(tmp_path), "") == 2


@pytest.mark.parametrize("mode", [0, 1, 2])
@pytest.mark.parametrize("size", [(40, 20), (20, 40), (16, 16)])
def test_resized_image_has_the_size_asked_for(host, mode, size):
    image = Image.new("RGB", (16, 16), (255, 0, 0))
    resized = host.images.resize_image(mode, image, *size)
    assert resized.size == size
    assert resized.getpixel((0, 0)) == resized.getpixel((size[0] - 1, size[1] - 1)) == (255, 0, 0)


def test_grid_holds_every_image(host):
    colours = [(x * 60, 0, 0) for x in range(4)]
    grid = host.images.image_grid([Image.new("RGB", (4, 4), x) for x in colours], rows=2)
    assert grid.size == (8, 8)
    assert [grid.getpixel(x) for x in ((0, 0), (7, 0), (0, 7), (7, 7))] == colours


# The queue


def test_lock_is_granted_in_order(host):
    lock = host.call_queue.FIFOLock()
    order, threads = [], []
    with lock:
        for number in range(5):
            waiting = len(lock._waiting)
            threads.append(threading.Thread(target=lambda n=number: [lock.acquire(), order.append(n), lock.release()]))
            threads[-1].start()
            while len(lock._waiting) == waiting:
                threading.Event().wait(0.001)
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2, 3, 4]


def test_failing_handler_answers_a_line_for_the_page(host, capsys):
    def fail():
        raise ValueError("<no>")

    result = host.call_queue.wrap_gradio_call(fail, extra_outputs=[None, ""])()
    assert result == (None, "", "<div class='error'>ValueError: &lt;no&gt;</div>")
    assert "ValueError" in capsys.readouterr().err
