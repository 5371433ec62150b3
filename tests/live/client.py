"""A client of the WebUI's API, of the standard library alone."""

import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from tests.live import media

SCRIPT = "AnimateDiff"
PROBE = "AnimateDiff Probe"
# A generation on a slow machine with a full-size checkpoint.
TIMEOUT_SECONDS = 1800

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass
class Answer:
    """One answer of the host, good or bad."""

    status: int
    body: Any
    seconds: float

    def text(self) -> str:
        """Everything the answer says, for looking for words in it."""
        return self.body if isinstance(self.body, str) else json.dumps(self.body, ensure_ascii=False)

    def error(self) -> str:
        """The sentence of a refused request."""
        body = self.body if isinstance(self.body, dict) else {}
        return str(body.get("detail") or body.get("errors") or body.get("message") or self.body)


@dataclass
class Generation:
    """A good answer to txt2img or img2img."""

    body: dict
    seconds: float
    data: list[bytes] = field(init=False)
    info: dict = field(init=False)

    def __post_init__(self):
        self.data = [media.decode(image) for image in self.body["images"]]
        self.info = json.loads(self.body["info"])

    @property
    def formats(self) -> list[str]:
        """The file format of each entry of ``images``."""
        return [media.container(data) for data in self.data]

    @cached_property
    def frames(self) -> np.ndarray:
        """The pictures of the answer (frames, height, width, 3), uint8; videos are left out."""
        return np.stack([media.pixels(data) for data in self.data if media.container(data) == "PNG"])

    @property
    def infotext(self) -> str:
        return self.info["infotexts"][0]


class RefusedError(AssertionError):
    """The host answered with an error where a result was expected."""


class Host:
    """A running WebUI."""

    def __init__(self, url: str, size: int = 64, steps: int = 2, frames: int = 4):
        self.url = url.rstrip("/")
        self.size, self.steps, self.frames = size, steps, frames
        self.model = ""
        self.generations = 0
        self.has_probe = False

    def call(self, path: str, body: Any = None) -> Answer:
        """POST ``body`` as JSON, or GET without one."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        start = time.monotonic()
        try:
            with _OPENER.open(request, timeout=TIMEOUT_SECONDS) as response:
                status, raw = response.status, response.read()
        except urllib.error.HTTPError as error:
            with error:
                status, raw = error.code, error.read()
        try:
            content = json.loads(raw)
        except ValueError:
            content = raw.decode("utf-8", "replace")
        return Answer(status, content, time.monotonic() - start)

    def get(self, path: str) -> Any:
        answer = self.call(path)
        if answer.status != 200:
            raise RefusedError(f"GET {path}: {answer.status} {answer.text()[:500]}")
        return answer.body

    def post(self, path: str, body: Any) -> Any:
        answer = self.call(path, body)
        if answer.status != 200:
            raise RefusedError(f"POST {path}: {answer.status} {answer.error()[:1000]}")
        return answer.body

    # generations

    def body(self, **fields: Any) -> dict:
        """A small request, with ``fields`` over it."""
        if fields.get("enable_hr"):
            # what Forge main's page sends; without it its API fails on every hires pass. Others do not know the field.
            fields.setdefault("hr_additional_modules", ["Use same choices"])
        return {
            "prompt": "a cat",
            "negative_prompt": "bad",
            "seed": 1,
            "steps": self.steps,
            "width": self.size,
            "height": self.size,
            "sampler_name": "Euler",
            "cfg_scale": 7,
            **fields,
        }

    def settings(self, **settings: Any) -> dict:
        """Small settings of an animation, with ``settings`` over them."""
        return {
            "enable": True,
            "model": self.model,
            "video_length": self.frames,
            "batch_size": max(self.frames, settings.get("video_length", 0)),
            "closed_loop": "N",
            "format": ["PNG"],
            **settings,
        }

    def request(self, animation: dict | None, probe: dict | None = None, **fields: Any) -> dict:
        """A request with the animation's settings (None: a plain one) and the probe's wishes."""
        scripts = dict(fields.pop("alwayson_scripts", {}))
        if animation is not None:
            scripts[SCRIPT] = {"args": [self.settings(**animation)]}
        if probe is not None:
            scripts[PROBE] = {"args": [probe]}
        return self.body(**fields, **({"alwayson_scripts": scripts} if scripts else {}))

    def try_txt2img(self, body: dict) -> Answer:
        self.generations += 1
        return self.call("/sdapi/v1/txt2img", body)

    def txt2img(self, body: dict) -> Generation:
        return self._generation(self.try_txt2img(body))

    def try_img2img(self, body: dict) -> Answer:
        self.generations += 1
        return self.call("/sdapi/v1/img2img", body)

    def img2img(self, body: dict) -> Generation:
        return self._generation(self.try_img2img(body))

    def _generation(self, answer: Answer) -> Generation:
        if answer.status != 200:
            raise RefusedError(f"{answer.status} {answer.error()[:2000]}")
        return Generation(answer.body, answer.seconds)

    def plain(self, **fields: Any) -> np.ndarray:
        """Pictures without AnimateDiff (images, height, width, 3)."""
        return self.txt2img(self.request(None, **fields)).frames

    def animate(self, probe: dict | None = None, request: dict | None = None, **animation: Any) -> Generation:
        """An animation in txt2img."""
        return self.txt2img(self.request(animation, probe, **(request or {})))

    def try_animate(self, probe: dict | None = None, request: dict | None = None, **animation: Any) -> Answer:
        return self.try_txt2img(self.request(animation, probe, **(request or {})))

    # the rest of the API

    def options(self) -> dict:
        """Every option; Forge's own answer lacks those that were never set, which only the probe can tell."""
        unset = self.get("/animatediff-probe/options") if self.has_probe else {}
        return {**unset, **self.get("/sdapi/v1/options")}

    def set_options(self, **options: Any) -> None:
        self.post("/sdapi/v1/options", options)

    def progress(self) -> dict:
        return self.get("/sdapi/v1/progress?skip_current_image=true")

    def interrupt(self) -> None:
        self.post("/sdapi/v1/interrupt", {})

    def skip(self) -> None:
        self.post("/sdapi/v1/skip", {})

    def scripts(self) -> dict[str, list[str]]:
        return self.get("/sdapi/v1/scripts")

    def script_info(self, name: str = SCRIPT) -> list[dict]:
        """What the host says of one script, one entry for each tab."""
        return [entry for entry in self.get("/sdapi/v1/script-info") if entry["name"].lower() == name.lower()]

    def samplers(self) -> list[str]:
        return [sampler["name"] for sampler in self.get("/sdapi/v1/samplers")]

    def schedulers(self) -> list[str]:
        return [scheduler["label"] for scheduler in self.get("/sdapi/v1/schedulers")]

    def checkpoints(self) -> list[str]:
        return [model["title"] for model in self.get("/sdapi/v1/sd-models")]

    def probe_state(self) -> dict:
        return self.get("/animatediff-probe/state")

    def engine(self) -> str:
        """ "forge" for the Forge family, which batches by free memory and not by options, else "a1111"."""
        return self.probe_state()["engine"]

    def seen(self) -> dict:
        """What the probe saw in the last run that carried one of its arguments."""
        return self.probe_state()["last"]


def choices_of(entry: dict, label: str) -> list[str]:
    """The choices of one argument of a script (Gradio 4 gives pairs of a name and a value)."""
    for argument in entry["args"]:
        if argument["label"] == label:
            choices = argument["choices"] or []
            return [choice[0] if isinstance(choice, list) else choice for choice in choices]
    raise AssertionError(f"the script has no argument {label!r}: {[a['label'] for a in entry['args']]}")
