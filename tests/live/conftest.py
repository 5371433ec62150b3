"""The host under test and what every live test starts from."""

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from miniwebui import server
from tests.live import media
from tests.live.client import PROBE, SCRIPT, Host, choices_of

ROOT = Path(__file__).resolve().parents[2]
PROBE_EXTENSION = Path(__file__).parent / "extension"

# A1111 does not take back an override of an option that was never saved: the ones used here are saved once before.
USED_OPTIONS = (
    "batch_cond_uncond",
    "pad_cond_uncond",
    "pad_cond_uncond_v0",
    "skip_early_cond",
    "s_min_uncond",
    "s_min_uncond_all",
    "sd_noise_schedule",
    "use_downcasted_alpha_bar",
    "CLIP_stop_at_last_layers",
    "eta_noise_seed_delta",
    "return_grid",
    "return_mask",
    "return_mask_composite",
    "fp8_storage",
    "samples_format",
    "enable_pnginfo",
    "animatediff_save_to_custom",
    "animatediff_optimize_gif_palette",
    "animatediff_mp4_crf",
    "animatediff_webp_lossless",
)


@pytest.fixture(scope="session")
def webui_url(request, tmp_path_factory) -> Iterator[str]:
    url = request.config.getoption("--webui-url")
    if url:
        yield url
        return
    data = tmp_path_factory.mktemp("miniwebui")
    folders = ["--data-dir", str(data), "--extension", str(ROOT), "--extension", str(PROBE_EXTENSION)]
    flags = request.config.getoption("--miniwebui-flags").split()
    with server.start([*folders, *flags], log=data / "miniwebui.log") as running:
        yield running.url


@dataclass(frozen=True)
class Modules:
    """Names of the motion modules of the three families."""

    v1: str
    v2: str
    v3: str

    def __getitem__(self, family: str) -> str:
        return getattr(self, family)


def _modules_by_family(names: list[str]) -> dict[str, str]:
    found = {}
    for name in names:
        if match := re.search(r"v([123])(?!\d)", Path(name).stem):
            found.setdefault(f"v{match[1]}", name)
    return found


@pytest.fixture(scope="session")
def modules(request, webui_url) -> Modules:
    if given := request.config.getoption("--motion-modules"):
        return Modules(*given.split(","))
    entry = Host(webui_url).script_info()[0]
    found = _modules_by_family(choices_of(entry, "Motion module"))
    missing = {"v1", "v2", "v3"} - set(found)
    if missing:
        pytest.fail(f"the host lists no motion module of {', '.join(sorted(missing))}; name them by --motion-modules")
    return Modules(**found)


@dataclass
class Plain:
    """A plain image and the state of the model, as they were before anything else was asked for."""

    host: Host
    pictures: object
    model_state: dict | None

    @classmethod
    def of(cls, host: Host, has_probe: bool) -> "Plain":
        return cls(host, host.plain(), host.probe_state()["model"] if has_probe else None)

    def assert_unchanged(self) -> None:
        """A plain request gives the very same image, and nothing is left on the model."""
        assert media.difference(self.host.plain(), self.pictures) == 0, "plain images are no longer the same"
        if self.model_state is not None:
            assert self.host.probe_state()["model"] == self.model_state


@pytest.fixture(scope="session")
def has_probe(webui_url) -> bool:
    return PROBE.lower() in [name.lower() for name in Host(webui_url).scripts()["txt2img"]]


@pytest.fixture
def probe(has_probe) -> None:
    """For tests that need the probe in the host."""
    if not has_probe:
        pytest.skip("the host lacks the test extension tests/live/extension")


@pytest.fixture(scope="session")
def session_host(request, webui_url, modules, has_probe) -> Iterator[Host]:
    host = Host(webui_url, size=request.config.getoption("--size"))
    host.model, host.has_probe = modules.v3, has_probe
    assert SCRIPT.lower() in [name.lower() for name in host.scripts()["txt2img"]], "the extension is not in the host"
    before = {name: value for name, value in host.options().items() if name in USED_OPTIONS}
    host.set_options(**before)
    yield host
    host.set_options(**before)


@pytest.fixture(scope="session")
def session_plain(session_host, has_probe) -> Plain:
    return Plain.of(session_host, has_probe)


@pytest.fixture
def plain(session_plain) -> Plain:
    return session_plain


@pytest.fixture
def host(session_host, session_plain, has_probe) -> Iterator[Host]:
    """The host; after every test that generated anything, plain images and the model must be as they were."""
    generated = session_host.generations
    yield session_host
    if session_host.generations == generated:
        return
    try:
        session_plain.assert_unchanged()
    except AssertionError:
        # what is broken now must not fail every test after it
        vars(session_plain).update(vars(Plain.of(session_host, has_probe)))
        raise


@pytest.fixture
def options(session_host):
    """Sets options of the host for one test: ``options(batch_cond_uncond=False)``."""
    before: dict = {}

    def set_options(**changes) -> None:
        now = session_host.options()
        missing = sorted(set(changes) - set(now))
        if missing:
            pytest.skip(f"the host has no option {', '.join(missing)}")
        before.update({name: now[name] for name in changes if name not in before})
        session_host.set_options(**changes)

    yield set_options
    if before:
        session_host.set_options(**before)


@pytest.fixture(scope="session")
def sampler_names(request, webui_url) -> list[str]:
    names = Host(webui_url).samplers()
    if request.config.getoption("--samplers") == "few":
        return [name for name in names if name in {"Euler", "Euler a", "DPM++ 2M", "DDIM", "PLMS", "UniPC", "LCM"}]
    return names


# Tests are collected before the host is up, so this is the list of A1111; what a host lacks is skipped.
SAMPLERS = (
    "DPM++ 2M",
    "DPM++ SDE",
    "DPM++ 2M SDE",
    "DPM++ 2M SDE Heun",
    "DPM++ 2S a",
    "DPM++ 3M SDE",
    "Euler a",
    "Euler",
    "LMS",
    "Heun",
    "DPM2",
    "DPM2 a",
    "DPM fast",
    "DPM adaptive",
    "Restart",
    "DDIM",
    "DDIM CFG++",
    "PLMS",
    "UniPC",
    "LCM",
)


@pytest.fixture(params=SAMPLERS)
def sampler(request, sampler_names) -> str:
    if request.param not in sampler_names:
        pytest.skip(f"the host does not list {request.param}, or --samplers leaves it out")
    return request.param


@pytest.fixture(scope="session")
def local_host(session_host, has_probe) -> Path:
    """The folder the host runs in, where this machine can look at its files."""
    if not has_probe:
        pytest.skip("only the test extension knows where the host's files are")
    state = session_host.probe_state()
    if state["machine"] != socket.gethostname() or not Path(state["folder"]).is_dir():
        pytest.skip("the host runs on another machine")
    return Path(state["folder"])


def _listing(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")} if folder.is_dir() else set()


@dataclass
class Outputs:
    """The folder of txt2img, and what came to be in it."""

    folder: Path

    @contextmanager
    def added(self) -> Iterator[list[str]]:
        """The paths that the block adds, sorted, known at its end."""
        before, new = _listing(self.folder), []
        yield new
        new.extend(sorted(_listing(self.folder) - before))


@pytest.fixture
def outputs(session_host, local_host) -> Outputs:
    options = session_host.options()
    return Outputs(local_host / (options.get("outdir_samples") or options["outdir_txt2img_samples"]))


@pytest.fixture
def module_folder(session_host, local_host) -> Path:
    folder = session_host.options().get("animatediff_model_path")
    if not folder or not Path(folder).is_dir():
        pytest.skip("the host's folder of motion modules is not set by animatediff_model_path")
    return Path(folder)


@pytest.fixture
def second_checkpoint(session_host) -> Iterator[str]:
    """The title of a checkpoint other than the loaded one (a stand-in made for this, by its name)."""
    loaded = session_host.options()["sd_model_checkpoint"] or ""
    others = [title for title in session_host.checkpoints() if title.split(" [")[0] != loaded.split(" [")[0]]
    stem = Path(loaded.split(" [")[0]).stem
    same_size = [title for title in others if Path(title.split(" [")[0]).stem in {f"{stem}-b", f"{stem}_b"}]
    if not same_size:
        pytest.skip(f"the host lists no second checkpoint {stem}-b")
    yield same_size[0]
    session_host.set_options(sd_model_checkpoint=loaded)
