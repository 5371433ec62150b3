"""Hundreds of malformed requests and dozens of malformed files: each refused by name, nothing written, no harm."""

import os
import shutil
from pathlib import Path

import pytest

from tests.live import media
from tests.live.client import SCRIPT
from tests.live.malformed_files import HARM, renamed, safetensors, split, write_malformed_files
from tests.unit.malformed_requests import malformed_requests

REQUESTS = [case for case in malformed_requests() if case.json_safe]


def test_there_are_at_least_200_malformed_requests():
    assert len(REQUESTS) >= 200


def test_each_malformed_request_is_refused_by_the_name_of_its_field(host, plain, probe, outputs):
    host.animate()
    state = host.probe_state()["model"]
    failures = []
    with outputs.added() as new:
        for case in REQUESTS:
            args = case.args
            if isinstance(args[0], dict) and "model" not in args[0]:
                args = [{**args[0], "model": host.model}, *args[1:]]
            post = host.try_img2img if case.field.startswith(("latent", "last_frame")) else host.try_txt2img
            extra = {"init_images": [media.base64_picture(size=host.size)]} if post == host.try_img2img else {}
            answer = post(host.body(alwayson_scripts={SCRIPT: {"args": args}}, **extra))
            if answer.status != 422 or case.field not in answer.error():
                failures.append(f"{case.name}: {answer.status} {answer.error()[:150]}")
    assert not failures, f"{len(failures)} of {len(REQUESTS)}:\n" + "\n".join(failures)
    assert new == []
    assert host.probe_state()["model"] == state
    plain.assert_unchanged()
    assert len(host.animate().data) == host.frames


@pytest.fixture(scope="module")
def test_folder(session_host, local_host):
    """A folder inside that of the motion modules, for files of these tests."""
    root = session_host.options().get("animatediff_model_path")
    if not root or not Path(root).is_dir():
        pytest.skip("the host's folder of motion modules is not set by animatediff_model_path")
    folder = Path(root) / f"live-test-{os.getpid()}"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def good_module(session_host, folder: Path) -> bytes:
    path = folder.parent / session_host.model
    if path.suffix != ".safetensors":
        pytest.skip("needs a motion module in the safetensors format")
    return path.read_bytes()


@pytest.fixture(scope="module")
def files(session_host, test_folder):
    return write_malformed_files(good_module(session_host, test_folder), test_folder)


def test_each_malformed_file_is_refused_by_its_name(host, plain, files, test_folder, local_host, outputs):
    assert len(files) >= 20
    failures = []
    with outputs.added() as new:
        for name in files:
            answer = host.try_animate(model=f"{test_folder.name}/{name}")
            if answer.status != 422 or name not in answer.error():
                failures.append(f"{name}: {answer.status} {answer.error()[:200]}")
    assert not failures, "\n".join(failures)
    assert new == []
    assert not (local_host / HARM).exists(), "code in a motion module was executed"
    plain.assert_unchanged()
    assert len(host.animate().data) == host.frames


WHAT = {
    "lora.safetensors": "LoRA",
    "motion lora.safetensors": "motion LoRA",
    "controlnet.safetensors": "ControlNet",
    "checkpoint.safetensors": "checkpoint",
    "vae.safetensors": "VAE",
    "embedding.safetensors": "embedding",
    "code.ckpt": "code",
}


@pytest.mark.parametrize("name", WHAT)
def test_the_refusal_says_what_the_file_is(host, files, test_folder, name):
    assert WHAT[name] in host.try_animate(model=f"{test_folder.name}/{name}").error()


def test_a_folder_is_no_motion_module(host, test_folder):
    (test_folder / "folder.safetensors").mkdir(exist_ok=True)
    answer = host.try_animate(model=f"{test_folder.name}/folder.safetensors")
    assert answer.status == 422
    assert "folder.safetensors" in answer.error()


def test_a_module_of_another_width_does_not_fit(host, test_folder, session_host):
    """A well-formed module of half or twice the width belongs to another family of checkpoints."""
    (test_folder / "other.safetensors").write_bytes(_of_another_width(good_module(session_host, test_folder)))
    answer = host.try_animate(model=f"{test_folder.name}/other.safetensors")
    assert answer.status == 422
    assert "other.safetensors" in answer.error()
    assert "fit" in answer.error()


def _of_another_width(data: bytes) -> bytes:
    """Half of it, or twice where half would be too narrow for the 32 groups of the norms."""
    header, _ = split(data)
    shapes = {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}
    half = min(shape[0] for name, shape in shapes.items() if name.endswith("temporal_transformer.norm.weight")) >= 64

    def other(length: int) -> int:
        return length // 2 if half else 2 * length

    return safetensors(
        {
            name: (*shape[:2], other(shape[2])) if len(shape) == 3 else tuple(map(other, shape))
            for name, shape in shapes.items()
        },
        "F16",
    )


def test_wrapped_names_are_the_same_module(host, test_folder, session_host):
    data = good_module(session_host, test_folder)
    wanted = host.animate().frames
    for prefix in ("module.", "state_dict.", "state_dict.module."):
        name = f"{prefix}safetensors"
        (test_folder / name).write_bytes(renamed(data, lambda tensor, prefix=prefix: prefix + tensor))
        made = host.animate(model=f"{test_folder.name}/{name}").frames
        assert media.difference(made, wanted) == 0, prefix


@pytest.mark.parametrize("suffix", [".ckpt", ".pth"])
def test_torch_files_are_the_same_module(host, test_folder, session_host, suffix):
    torch = pytest.importorskip("torch")
    safetensors_torch = pytest.importorskip("safetensors.torch")
    tensors = safetensors_torch.load(good_module(session_host, test_folder))
    wrapped = {"state_dict": {f"module.{name}": tensor for name, tensor in tensors.items()}, "epoch": 1}
    torch.save(wrapped, test_folder / f"wrapped{suffix}")
    made = host.animate(model=f"{test_folder.name}/wrapped{suffix}").frames
    assert media.difference(made, host.animate().frames) == 0


def test_a_file_replaced_by_another_is_read_anew(host, modules, test_folder):
    path = test_folder / "replaced.safetensors"
    made = {}
    for number, family in enumerate(("v3", "v2")):
        shutil.copy(test_folder.parent / modules[family], path)
        os.utime(path, (1_700_000_000 + number, 1_700_000_000 + number))
        made[family] = host.animate(model=f"{test_folder.name}/replaced.safetensors").frames
        assert media.difference(made[family], host.animate(model=modules[family]).frames) == 0
    assert media.difference(made["v3"], made["v2"]) > 0
