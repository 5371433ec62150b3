"""Motion module files of every family and layout: described, loaded, listed, kept."""

import hashlib
import os

import pytest
import torch
from safetensors.torch import save_file

from lib_animatediff.errors import ModelFileError
from lib_animatediff.motion.cache import MotionModelCache
from lib_animatediff.motion.families import FAMILIES, LINEAR
from lib_animatediff.motion.files import describe_file, list_motion_modules, load_motion_model
from tests.unit.motion_files import WIDTHS, motion_tensors, to_diffusers

SERVED = {
    "v1": {"positions": 24},
    "v2": {"positions": 32, "mid": True},
    "v3": {"positions": 32},
    "long-32": {"positions": 64, "mid": True},
    "long-64": {"positions": 128, "mid": True},
    "lcm": {"positions": None, "mid": True},
}
LIMITS = {"v1": 24, "v2": 32, "v3": 32, "long-32": 64, "long-64": 128, "lcm": 64}


@pytest.fixture(scope="module")
def v3_tensors():
    return motion_tensors()


@pytest.fixture
def v3_file(tmp_path, v3_tensors):
    save_file(v3_tensors, tmp_path / "v3.safetensors")
    return tmp_path / "v3.safetensors"


@pytest.mark.parametrize("family", SERVED)
@pytest.mark.parametrize("layout", ["official", "diffusers", "wrapped"])
def test_families_in_every_layout(family, layout, tmp_path):
    tensors = motion_tensors(**SERVED[family])
    if layout == "wrapped":
        path = tmp_path / "anything.ckpt"
        wrapped = {f"module.{name}": tensor for name, tensor in tensors.items()}
        torch.save({"epoch": 3, "animatediff_config": "x", "state_dict": wrapped}, path)
    else:
        path = tmp_path / "anything.safetensors"
        save_file(to_diffusers(tensors) if layout == "diffusers" else tensors, path)
    description = describe_file(path)
    assert description.usable, description.sentence
    assert description.kind == "motion module"
    assert description.family is FAMILIES[family]
    assert description.channels == WIDTHS
    assert FAMILIES[family].label in description.sentence
    model = load_motion_model(path)
    assert model.family is FAMILIES[family]
    assert model.pe_length == description.positions == LIMITS[family]
    assert model.channels == WIDTHS
    assert len(model.slots) == 20 + FAMILIES[family].has_mid_block
    slot, name = "up_blocks.3.motion_modules.2", "transformer_blocks.0.attention_blocks.1.to_k.weight"
    stored = tensors[f"{slot}.temporal_transformer.{name}"]
    assert torch.equal(model.slots[slot].qkv[1].weight.chunk(3)[1], stored)
    x = torch.randn(4, WIDTHS[0], 2, 2)
    assert (model.slots[slot].float()(x, 4) - x).abs().max() > 1e-3


@pytest.mark.parametrize("extension", ["ckpt", "pth", "pt", "bin"])
@pytest.mark.parametrize("zipped", [True, False])
def test_pytorch_files_old_and_new(extension, zipped, tmp_path, v3_tensors):
    path = tmp_path / f"motion.{extension}"
    torch.save(v3_tensors, path, _use_new_zipfile_serialization=zipped)
    assert load_motion_model(path).family.name == "v3"


def test_the_first_bytes_count_not_the_extension(tmp_path, v3_tensors):
    save_file(v3_tensors, tmp_path / "motion.ckpt")
    torch.save(v3_tensors, tmp_path / "motion.safetensors")
    assert load_motion_model(tmp_path / "motion.ckpt").family.name == "v3"
    assert load_motion_model(tmp_path / "motion.safetensors").family.name == "v3"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_dtype_of_the_file_is_kept(dtype, tmp_path):
    save_file(motion_tensors(dtype=dtype), tmp_path / "motion.safetensors")
    model = load_motion_model(tmp_path / "motion.safetensors")
    assert {p.dtype for p in model.parameters()} == {dtype}
    assert {p.device.type for p in model.parameters()} == {"cpu"}


def test_eight_bit_floats_are_widened_exactly(tmp_path):
    tensors = {name: tensor.to(torch.float8_e4m3fn) for name, tensor in motion_tensors().items()}
    save_file(tensors, tmp_path / "motion.safetensors")
    model = load_motion_model(tmp_path / "motion.safetensors")
    slot = "down_blocks.0.motion_modules.0"
    stored = tensors[f"{slot}.temporal_transformer.proj_in.weight"]
    assert torch.equal(model.slots[slot].proj_in.weight.float(), stored.float())


def test_a_unet_saved_with_its_motion_modules_serves(tmp_path, v3_tensors):
    unet = {"conv_in.weight": torch.zeros(32, 4, 3, 3), "time_embedding.linear_1.weight": torch.zeros(8, 8)}
    unet["down_blocks.0.resnets.0.conv1.weight"] = torch.zeros(32, 32, 3, 3)
    torch.save({"state_dict": {f"module.{k}": v for k, v in (unet | v3_tensors).items()}}, tmp_path / "training.ckpt")
    assert len(load_motion_model(tmp_path / "training.ckpt").slots) == 20


def test_loading_within_inference_mode_leaves_ordinary_frozen_tensors(v3_file):
    with torch.inference_mode():
        model = load_motion_model(v3_file)
        model.to(torch.float32)
    assert not any(p.is_inference() or p.requires_grad for p in model.parameters())
    assert not any(module.training for module in model.modules())


def test_a_loaded_model_does_not_depend_on_its_file(v3_file, tmp_path, v3_tensors):
    torch.save(v3_tensors, tmp_path / "v3.ckpt")
    for path in (v3_file, tmp_path / "v3.ckpt"):
        model = load_motion_model(path)
        before = [p.clone() for p in model.parameters()]
        with path.open("r+b") as stream:
            stream.write(bytes(path.stat().st_size))
        assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))


def test_sha256_is_that_of_the_file(v3_file, v3_tensors):
    first = load_motion_model(v3_file).sha256
    assert first == hashlib.sha256(v3_file.read_bytes()).hexdigest() == load_motion_model(v3_file).sha256
    save_file({name: tensor + 1 for name, tensor in v3_tensors.items()}, v3_file)
    os.utime(v3_file, ns=(1, 1))  # the same size
    assert load_motion_model(v3_file).sha256 == hashlib.sha256(v3_file.read_bytes()).hexdigest() != first


def test_the_table_of_families():
    assert {name for name, family in FAMILIES.items() if family.served} == set(SERVED)
    assert all(name == family.name for name, family in FAMILIES.items())
    assert {n for n, f in FAMILIES.items() if f.norm_across_frames} == {"v1", "pia", "hotshot-xl"}
    assert all(f.beta_schedule == LINEAR for f in FAMILIES.values() if f.served)
    with pytest.raises(AttributeError):
        FAMILIES["v1"].label = "other"


def test_lists_what_is_a_motion_module(tmp_path, v3_tensors):
    (tmp_path / "sub" / "deeper").mkdir(parents=True)
    save_file(v3_tensors, tmp_path / "b.safetensors")
    save_file(v3_tensors, tmp_path / "sub" / "deeper" / "A.SafeTensors")
    save_file(motion_tensors(levels=3), tmp_path / "sdxl.safetensors")
    save_file({"lora_unet_x.lora_down.weight": torch.zeros(2, 2)}, tmp_path / "mm_lora.safetensors")
    (tmp_path / "mm_broken.safetensors").write_bytes(b"\x00" * 100)
    (tmp_path / "unread.ckpt").write_bytes(b"old pickles are listed unread")
    torch.save({"lora_unet_x.lora_down.weight": torch.zeros(2, 2)}, tmp_path / "mm_lora.ckpt")
    torch.save({"state_dict": v3_tensors}, tmp_path / "c.ckpt")
    (tmp_path / ".hidden.ckpt").write_bytes(b"x")
    (tmp_path / "readme.txt").write_text("x")
    expected = ["b.safetensors", "c.ckpt", "sdxl.safetensors", "sub/deeper/A.SafeTensors", "unread.ckpt"]
    assert list_motion_modules(tmp_path) == expected
    assert list_motion_modules(tmp_path / "nowhere") == []


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_the_list_follows_links_once(tmp_path, v3_file):
    other = tmp_path / "other"
    (other / "models").mkdir(parents=True)
    (other / "models" / "loop").symlink_to(other, target_is_directory=True)
    (other / "models" / "linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "elsewhere").mkdir()
    v3_file.rename(tmp_path / "elsewhere" / "v3.safetensors")
    assert list_motion_modules(other) == ["models/linked/v3.safetensors"]


def test_a_description_is_renewed_when_the_file_changes(v3_file, v3_tensors):
    assert describe_file(v3_file).usable
    save_file({"x": torch.zeros(1)}, v3_file)
    assert not describe_file(v3_file).usable
    v3_file.unlink()
    assert describe_file(v3_file).kind == "unreadable"


def test_the_cache_keeps_the_most_recent(tmp_path, v3_tensors):
    paths = [tmp_path / f"{name}.safetensors" for name in "abc"]
    for path in paths:
        save_file(v3_tensors, path)
    cache = MotionModelCache(limit=2)
    a, b = cache.get(paths[0]), cache.get(paths[1])
    assert cache.get(paths[0]) is a
    c = cache.get(paths[2])  # b is the least recently used
    assert (cache.get(paths[0]), cache.get(str(paths[2]))) == (a, c)
    assert cache.get(paths[1]) is not b
    cache.limit = 1
    assert len(cache) == 1
    cache.clear()
    assert len(cache) == 0
    assert cache.get(paths[0]) is not a


def test_the_cache_reads_a_replaced_file_anew(v3_file, v3_tensors):
    cache = MotionModelCache(limit=4)
    first = cache.get(v3_file)
    os.utime(v3_file, ns=(1, 1))
    assert cache.get(v3_file) is not first
    assert len(cache) == 1


def test_what_the_cache_gives_up_is_released(tmp_path, v3_tensors):
    paths = [tmp_path / f"{name}.safetensors" for name in "ab"]
    for path in paths:
        save_file(v3_tensors, path)
    cache, released = MotionModelCache(limit=1), []

    def get(path):
        model = cache.get(path)
        model.on_release(released.append)
        return model

    first = get(paths[0])
    second = get(paths[1])
    assert released == [first]
    os.utime(paths[1], ns=(1, 1))
    third = get(paths[1])
    assert released == [first, second]
    cache.to_cpu()
    cache.clear()
    assert released == [first, second, third]


def test_the_cache_without_a_place_keeps_nothing(v3_file):
    cache = MotionModelCache(limit=0)
    assert cache.get(v3_file) is not cache.get(v3_file)
    assert len(cache) == 0
    with pytest.raises(ValueError, match="-1"):
        cache.limit = -1


def test_the_cache_moves_to_the_cpu_and_refuses_what_is_missing(v3_file, tmp_path):
    cache = MotionModelCache()
    cache.get(v3_file).to("meta")
    cache.clear()
    model = cache.get(v3_file)
    cache.to_cpu()
    assert {p.device.type for p in model.parameters()} == {"cpu"}
    with pytest.raises(ModelFileError, match="nowhere"):
        cache.get(tmp_path / "nowhere.safetensors")


def test_the_cache_serves_threads(v3_file):
    from concurrent.futures import ThreadPoolExecutor

    cache = MotionModelCache()
    with ThreadPoolExecutor(8) as pool:
        models = list(pool.map(lambda _: cache.get(v3_file), range(16)))
    assert len({id(model) for model in models}) == 1
