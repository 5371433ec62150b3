"""miniwebui's HTTP API: requests, images, arguments of scripts, errors."""

import base64
import importlib
import io
from functools import partial
from types import SimpleNamespace

import pytest
from PIL import Image

from tests.unit.miniwebui_front import INFO, front_modules, runner_of


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    with front_modules(tmp_path_factory.mktemp("data")) as modules:
        yield modules


@pytest.fixture
def make_runner(host):
    return partial(runner_of, host.scripts)


@pytest.fixture(scope="module")
def api(host):
    return importlib.import_module("modules.api.api")


def test_request_takes_a1111s_fields(api):
    request = api.models.StableDiffusionTxt2ImgProcessingAPI(
        prompt="x", steps="4", override_settings={"a": 1}, hr_scale=2, alwayson_scripts={"s": {"args": [1]}}
    )
    assert (request.steps, request.send_images, request.save_images, request.sampler_index) == (4, True, False, "Euler")
    assert "steps" in api.models.fields_set(request)
    assert "width" not in api.models.fields_set(request)
    with pytest.raises(ValueError, match="steps"):
        api.models.StableDiffusionTxt2ImgProcessingAPI(steps="many")


def test_text_among_the_images_stays_as_it_is(api):
    assert api.encode_pil_to_base64("QUJD") == "QUJD"
    data = base64.b64decode(api.encode_pil_to_base64(Image.new("RGB", (4, 4), (9, 9, 9))))
    assert Image.open(io.BytesIO(data)).getpixel((0, 0)) == (9, 9, 9)


def test_image_from_base64_and_data_uri(api):
    buffer = io.BytesIO()
    Image.new("RGB", (3, 2)).save(buffer, format="PNG")
    text = base64.b64encode(buffer.getvalue()).decode()
    assert api.decode_base64_to_image(text).size == (3, 2)
    assert api.decode_base64_to_image(f"data:image/png;base64,{text}").size == (3, 2)
    with pytest.raises(api.HTTPException) as error:
        api.decode_base64_to_image("not an image")
    assert (error.value.status_code, error.value.detail) == (500, "Invalid encoded image")


def test_local_addresses_are_refused(api):
    assert not api.verify_url("http://127.0.0.1/x.png")
    with pytest.raises(api.HTTPException, match="local"):
        api.decode_base64_to_image("http://127.0.0.1/x.png")


def test_exceptions_answer_with_their_own_status(api):
    from fastapi import FastAPI
    from fastapi.testclient import TestClient

    app = FastAPI()
    api.api_middleware(app)

    class OwnError(Exception):
        pass

    @app.get("/own")
    def own():
        error = OwnError("what happened")
        error.status_code, error.detail = 422, "what to do"
        raise error

    @app.get("/plain")
    def plain():
        raise KeyError("x")

    @app.get("/http")
    def http():
        raise api.HTTPException(status_code=404, detail="not here")

    client = TestClient(app, raise_server_exceptions=False)
    answers = {path: client.get(path) for path in ("/own", "/plain", "/http")}
    assert {path: x.status_code for path, x in answers.items()} == {"/own": 422, "/plain": 500, "/http": 404}
    expected = {"error": "OwnError", "detail": "what to do", "body": "", "errors": "what happened"}
    assert answers["/own"].json() == expected
    assert answers["/http"].json()["detail"] == "not here"
    assert "X-Process-Time" in answers["/http"].headers


@pytest.fixture
def bare_api(api):
    """An Api without routes, to call its parts."""
    return api.Api.__new__(api.Api)


def test_script_arguments_of_a_request(api, bare_api, make_runner):
    runner = make_runner(("Panel", True, {}), ("Plot", False, {}))
    request = SimpleNamespace(script_args=["of plot"], alwayson_scripts={"PANEL": {"args": ["of panel", "too many"]}})
    args = bare_api.init_script_args(request, [0, None, None], None, runner, {2: "from infotext"})
    assert args == [0, "of panel", "from infotext"]
    chosen = runner.selectable_scripts[0]
    args = bare_api.init_script_args(request, [0, None, None], chosen, runner, {})
    assert args == [1, "of panel", "of plot"]
    for name, word in (("nobody", "not found"), ("Plot", "selectable")):
        request.alwayson_scripts = {name: {"args": []}}
        with pytest.raises(api.HTTPException, match=word) as error:
            bare_api.init_script_args(request, [0, None, None], None, runner, {})
        assert error.value.status_code == 422


def test_infotext_of_a_request_fills_what_it_leaves_out(api, bare_api, host, make_runner, monkeypatch):
    runner = make_runner(("Panel", True, {}))
    component = SimpleNamespace(value=False)
    runner.inputs[1] = component
    field = host.infotext_utils.PasteField
    fields = [
        field(SimpleNamespace(value=1), "Steps", api="steps"),
        field(SimpleNamespace(value=1), "Seed", api="seed"),
        field(component, lambda params: "Extra" in params),
    ]
    monkeypatch.setitem(host.infotext_utils.paste_fields, "txt2img", {"fields": fields})
    request = api.models.StableDiffusionTxt2ImgProcessingAPI(infotext=INFO, seed=99)
    found = bare_api.apply_infotext(request, "txt2img", runner)
    assert (request.steps, request.seed) == (4, 99)
    assert found == {1: True}
    assert request.override_settings["CLIP_stop_at_last_layers"] == 2
