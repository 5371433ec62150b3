"""Files that are no motion modules: each is refused with a sentence that names it and says what it is."""

import functools
import io
import json
import os
import pickle
import struct
import tarfile
import zipfile

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save, save_file

from lib_animatediff.errors import ModelFileError
from lib_animatediff.motion.files import describe_file, load_motion_model
from tests.unit.motion_files import motion_tensors, to_diffusers

SLOT = "down_blocks.0.motion_modules.0.temporal_transformer."
ATTENTION = SLOT + "transformer_blocks.0.attention_blocks.0."


def zeros(*names, shape=(2, 2)):
    return {name: torch.zeros(shape) for name in names}


FOREIGN = {
    "kohya lora": (
        zeros("lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight"),
        "lora",
        "a LoRA.*models/Lora",
    ),
    "peft lora": (zeros("unet.down_blocks.0.attentions.0.to_q.lora_A.weight"), "lora", "a LoRA.*models/Lora"),
    "lycoris": (zeros("lora_te_x.hada_w1_a"), "lora", "a LoRA.*models/Lora"),
    "motion lora": (zeros(ATTENTION + "processor.to_q_lora.down.weight"), "motion lora", "a motion LoRA.*models/Lora"),
    "kohya motion lora": (
        zeros("down_blocks_0_motion_modules_0_temporal_transformer_x.lora_down.weight"),
        "motion lora",
        "a motion LoRA.*models/Lora",
    ),
    "domain adapter": (
        zeros("down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.down.weight"),
        "(lora|domain adapter)",
        "LoRA.*models/Lora",
    ),
    "controlnet": (zeros("control_model.input_hint_block.0.weight"), "controlnet", "a ControlNet.*models/ControlNet"),
    "diffusers controlnet": (
        zeros("controlnet_cond_embedding.conv_in.weight", "controlnet_down_blocks.0.weight", "conv_in.weight"),
        "controlnet",
        "a ControlNet.*models/ControlNet",
    ),
    "sparsectrl": (
        zeros("controlnet_cond_embedding.weight", ATTENTION + "to_q.weight"),
        "sparsectrl",
        "a SparseCtrl encoder.*models/ControlNet",
    ),
    "ip-adapter": (zeros("ip_adapter.1.to_k_ip.weight", "image_proj.proj.weight"), "ip-adapter", "IP-Adapter"),
    "t2i-adapter": (
        zeros("adapter.body.0.resnets.0.block1.weight", "body.0.block1.weight"),
        "t2i-adapter",
        "T2I-Adapter",
    ),
    "checkpoint": (
        zeros("model.diffusion_model.input_blocks.0.0.weight", "first_stage_model.encoder.conv_in.weight"),
        "checkpoint",
        "a whole checkpoint.*models/Stable-diffusion",
    ),
    "unet": (
        zeros("model.diffusion_model.input_blocks.0.0.weight", "model.diffusion_model.time_embed.0.weight"),
        "unet",
        "UNet of a checkpoint",
    ),
    "diffusers unet": (
        zeros("down_blocks.0.resnets.0.conv1.weight", "time_embedding.linear_1.weight", "conv_in.weight"),
        "unet",
        "UNet of a checkpoint",
    ),
    "vae": (zeros("first_stage_model.decoder.conv_in.weight"), "vae", "a VAE.*models/VAE"),
    "bare vae": (zeros("encoder.down.0.block.0.conv1.weight", "quant_conv.weight"), "vae", "a VAE.*models/VAE"),
    "clip": (zeros("text_model.encoder.layers.0.mlp.fc1.weight"), "text encoder", "a text encoder"),
    "clip vision": (zeros("vision_model.encoder.layers.0.mlp.fc1.weight"), "vision model", "CLIP vision"),
    "embedding": (zeros("emb_params"), "embedding", "embedding.*folder embeddings"),
    "sdxl embedding": (zeros("clip_l", "clip_g"), "embedding", "embedding.*folder embeddings"),
    "esrgan": (zeros("RRDB_trunk.0.RDB1.conv1.weight", "conv_first.weight"), "upscaler", "an upscaler.*models/ESRGAN"),
    "camera encoder": (zeros("encoder_down_conv_blocks.0.0.weight"), "camera encoder", "CameraCtrl"),
    "something else": (zeros("layer1.weight", "layer2.weight"), "unknown", "2 tensors such as layer1.weight"),
    "nothing": ({}, "unknown", "no tensors"),
}


def refused(path):
    """The sentence, after checking that description and load agree and that the file is named."""
    description = describe_file(path)
    assert not description.usable
    with pytest.raises(ModelFileError) as caught:
        load_motion_model(path)
    assert str(caught.value) == description.sentence
    assert caught.value.status_code == 422
    assert path.name in description.sentence
    assert description.sentence.endswith((".", "?"))
    return description


def matches(description, pattern):
    import re

    assert re.search(pattern, description.sentence, re.DOTALL), description.sentence


@pytest.mark.parametrize("case", FOREIGN)
@pytest.mark.parametrize("container", ["safetensors", "ckpt"])
def test_other_models_are_named_and_sent_where_they_belong(case, container, tmp_path):
    tensors, kind, sentence = FOREIGN[case]
    path = tmp_path / f"mm_sd_v15_v2.{container}"  # the name says nothing
    if container == "safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path)
    description = refused(path)
    assert description.kind in kind
    matches(description, sentence)


def test_pickled_embedding_hypernetwork_and_upscaler(tmp_path):
    cases = {
        "embedding": {"string_to_token": {"*": 265}, "string_to_param": {"*": torch.zeros(1, 768)}, "name": "x"},
        "hypernetwork": {768: [{"linear.0.weight": torch.zeros(2, 2)}], "layer_structure": [1, 2, 1]},
        "upscaler": {"params_ema": {"conv_first.weight": torch.zeros(2, 2)}},
    }
    for kind, data in cases.items():
        torch.save(data, tmp_path / f"{kind}.pt")
        assert refused(tmp_path / f"{kind}.pt").kind == kind


@pytest.mark.parametrize(
    ("tensors", "sentence"),
    [
        (motion_tensors(levels=3), "SDXL-beta, which this extension does not run yet"),
        (motion_tensors(levels=3, positions=24), "HotShot-XL, which this extension does not run yet"),
        (motion_tensors() | zeros("img_encoder.conv_in.weight"), "AnimateLCM-I2V, which"),
        (motion_tensors() | zeros("conv_in.weight", shape=(32, 9, 3, 3)), "PIA, which"),
        (
            motion_tensors() | zeros("conv_in.weight", shape=(32, 9, 3, 3)) | zeros("fps_embedding.linear.weight"),
            "FancyVideo, which",
        ),
        (motion_tensors() | zeros(ATTENTION + "processor.qkv_merge.weight"), "CameraCtrl, which"),
        (
            {
                name.replace("motion_modules", "temporal_attentions")
                .replace("temporal_transformer.", "")
                .replace("pos_encoder.pe", "pos_encoder.positional_encoding"): tensor
                for name, tensor in motion_tensors(levels=3, positions=24).items()
            },
            "HotShot-XL, which",
        ),
    ],
)
def test_families_that_are_not_served_are_refused_by_name(tensors, sentence, tmp_path):
    save_file(tensors, tmp_path / "motion.safetensors")
    description = refused(tmp_path / "motion.safetensors")
    assert description.kind == "motion module"
    assert description.family is not None
    matches(description, sentence)


def without(name):
    tensors = motion_tensors()
    del tensors[name]
    return tensors


def with_shape(name, *shape):
    return motion_tensors() | {name: torch.zeros(shape)}


DAMAGED = {
    "tensor missing": (without(ATTENTION + "to_k.weight"), "to_k.weight is missing"),
    "bias missing": (without(SLOT + "proj_out.bias"), "proj_out.bias is missing"),
    "norm missing": (without(SLOT + "norm.weight"), "norm.weight is missing"),
    "table missing in one": (without(ATTENTION + "pos_encoder.pe"), "pos_encoder.pe is missing"),
    "wrong shape": (
        with_shape(ATTENTION + "to_q.weight", 32, 16),
        r"to_q.weight has the shape \[32, 16\], not \[32, 32\]",
    ),
    "wrong rank": (with_shape(SLOT + "norm.weight", 32, 1), r"norm.weight has the shape \[32, 1\]"),
    "odd width": (with_shape(SLOT + "norm.weight", 33), r"norm.weight has the shape \[33\]"),
    "scalar": (with_shape(SLOT + "norm.weight"), r"norm.weight has the shape \[\]"),
    "table of another width": (with_shape(ATTENTION + "pos_encoder.pe", 1, 32, 16), "pos_encoder.pe has the shape"),
    "table of another length": (with_shape(ATTENTION + "pos_encoder.pe", 1, 16, 32), "pos_encoder.pe has the shape"),
    "empty tables": (
        {n: torch.zeros(1, 0, 32) if n.endswith("pe") else t for n, t in motion_tensors().items()},
        "position table is empty",
    ),
    "integers": (
        motion_tensors() | {SLOT + "proj_in.weight": torch.zeros(32, 32, dtype=torch.int8)},
        "proj_in.weight is stored in a quantised",
    ),
    "module missing": (
        {n: t for n, t in motion_tensors().items() if not n.startswith("up_blocks.2.motion_modules.1.")},
        "up_blocks.2.motion_modules.1 is missing",
    ),
    "module too many": (
        motion_tensors() | {f"down_blocks.0.motion_modules.2.temporal_transformer.{n}": torch.zeros(1) for n in "ab"},
        "down_blocks.0.motion_modules.2 that AnimateDiff v3 has not",
    ),
    "tensor too many": (
        motion_tensors() | {SLOT + "transformer_blocks.1.ff_norm.weight": torch.zeros(32)},
        r"transformer_blocks\.1\.\w+\.weight that a motion module has not",
    ),
    "no table and no middle": (motion_tensors(positions=None), "no position table"),
    "only one level": (
        {n: t for n, t in motion_tensors().items() if n.startswith(("down_blocks.0", "up_blocks.3"))},
        "layout of no known family",
    ),
}


# diffusers keeps one table for both attentions, so cases about a single one exist in the official layout only
@pytest.mark.parametrize(
    ("layout", "case"),
    [("official", case) for case in DAMAGED] + [("diffusers", case) for case in DAMAGED if "table" not in case],
)
def test_damaged_motion_modules_are_refused_with_the_key(case, layout, tmp_path):
    tensors, sentence = DAMAGED[case]
    if layout == "diffusers":
        tensors = to_diffusers(tensors)
    save_file(tensors, tmp_path / "motion.safetensors")
    matches(refused(tmp_path / "motion.safetensors"), sentence)


@functools.cache
def good_safetensors():
    return save(motion_tensors())


@functools.cache
def good_pickle():
    buffer = io.BytesIO()
    torch.save(motion_tensors(), buffer)
    return buffer.getvalue()


def header_of(data):
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def with_header(header, body):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("empty.safetensors", b"", "is empty"),
        ("empty.ckpt", b"", "is empty"),
        ("zeros.safetensors", bytes(5000), "zeros only"),
        ("page.safetensors", b"\n<!DOCTYPE html><html><body>Sign in</body></html>", "web page"),
        ("page.ckpt", b"<html>404</html>", "web page"),
        (
            "pointer.safetensors",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n",
            "git-lfs pointer",
        ),
        ("error.ckpt", b'{"error": "Access to model is restricted"}', "JSON text"),
        ("notes.ckpt", b"Entry not found, please log in.\n" * 3, "text file"),
        ("picture.ckpt", b"\x89PNG\r\n\x1a\n" + bytes(range(200)), "PNG picture"),
        ("noise.ckpt", bytes(range(1, 128)) * 3 + b"\xff" * 300, "neither a safetensors file nor a PyTorch file"),
        ("model.gguf.bin", b"GGUF\x03\x00\x00\x00" + bytes(64), "GGUF"),
        ("archive.ckpt", b"\x1f\x8b\x08" + bytes(range(100)), "gzip archive"),
        ("header.safetensors", struct.pack("<Q", 1 << 60) + b"{" + bytes(50), "damaged safetensors.*its header claims"),
        ("short.safetensors", struct.pack("<Q", 5000) + b'{"a": {"dtype"', "truncated.*inside its header"),
        ("broken.safetensors", with_header(b"{ not json at all }", b""), "damaged safetensors.*not JSON"),
        ("deep.safetensors", with_header(b'{"a":' + b"[" * 200_000, b""), "damaged safetensors.*not JSON"),
        ("entry.safetensors", with_header({"a": {"dtype": "F32"}}, b"1234"), "entry of a is incomplete"),
        ("list.safetensors", with_header({"a": [1, 2]}, b"1234"), "entry of a is incomplete"),
        (
            "offsets.safetensors",
            with_header({"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 4]}}, b"1234"),
            "shape and offsets of a disagree",
        ),
        (
            "negative.safetensors",
            with_header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}, b"1234"),
            "shape and offsets of a disagree",
        ),
        ("pickle.ckpt", b"\x80\x02}q\x00(X\x05\x00", "damaged PyTorch file"),
        ("protocol4.pt", pickle.dumps({"a": [1, 2, 3]}, protocol=4), "(damaged PyTorch file|no tensors)"),
    ],
)
def test_files_that_are_no_models(name, content, sentence, tmp_path):
    (tmp_path / name).write_bytes(content)
    description = refused(tmp_path / name)
    assert description.kind in ("unreadable", "unknown")
    matches(description, sentence)


@pytest.mark.parametrize("part", [0.001, 0.5, 0.999])
def test_truncated_downloads(part, tmp_path):
    for name, data in (("cut.safetensors", good_safetensors()), ("cut.ckpt", good_pickle())):
        (tmp_path / name).write_bytes(data[: int(len(data) * part)])
        description = refused(tmp_path / name)
        assert description.kind == "unreadable"
        matches(description, "truncated.*Download it again")


def test_an_unknown_number_format_is_refused(tmp_path):
    header, body = header_of(good_safetensors())
    header[SLOT + "proj_in.weight"]["dtype"] = "Q4"
    (tmp_path / "q4.safetensors").write_bytes(with_header(header, body))
    matches(refused(tmp_path / "q4.safetensors"), "proj_in.weight is stored in a quantised or unknown number format")


def test_zip_archives(tmp_path):
    with zipfile.ZipFile(tmp_path / "models.ckpt", "w") as archive:
        archive.writestr("readme.txt", "x")
    matches(refused(tmp_path / "models.ckpt"), "zip archive")
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "program.pt")
    matches(refused(tmp_path / "program.pt"), "TorchScript program")


def test_a_damaged_pickle_within_a_sound_zip(tmp_path):
    with zipfile.ZipFile(io.BytesIO(good_pickle())) as sound, zipfile.ZipFile(tmp_path / "bad.ckpt", "w") as damaged:
        for member in sound.namelist():
            data = sound.read(member)
            damaged.writestr(member, data[: len(data) // 2] if member.endswith("data.pkl") else data)
    matches(refused(tmp_path / "bad.ckpt"), "damaged PyTorch file")


class Bomb:
    """Writes a file when it is unpickled by a loader that trusts it."""

    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return os.mkdir, (self.target,)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("extension", ["ckpt", "safetensors", "bin"])
def test_pickled_code_is_never_run(zipped, extension, tmp_path):
    target, path = tmp_path / "executed", tmp_path / f"mm_sd_v15.{extension}"
    data = {"state_dict": motion_tensors(), "callbacks": Bomb(target)}
    torch.save(data, path, _use_new_zipfile_serialization=zipped)
    description = refused(path)
    assert description.kind == "unreadable"
    matches(description, r"calls (os|posix|nt)\.mkdir")
    assert not target.exists()


def test_plain_pickles_and_tar_files_run_nothing_either(tmp_path):
    target = tmp_path / "executed"
    (tmp_path / "plain.ckpt").write_bytes(pickle.dumps(Bomb(target), protocol=2))
    refused(tmp_path / "plain.ckpt")
    payload = pickle.dumps(Bomb(target), protocol=2)
    with tarfile.open(tmp_path / "old.pth", "w") as archive:
        for name in ("\x80sys_info", "pickle", "storages", "tensors"):
            member = tarfile.TarInfo(name)
            member.size = len(payload)
            archive.addfile(member, io.BytesIO(payload))
    refused(tmp_path / "old.pth")
    assert not target.exists()


def test_a_foreign_class_is_named(tmp_path):
    torch.save({"model": torch.nn.Linear(2, 2)}, tmp_path / "whole.pt")
    matches(refused(tmp_path / "whole.pt"), r"calls torch\.nn\.modules\.linear\.Linear")


def test_folders_missing_files_and_near_names(tmp_path):
    (tmp_path / "folder.safetensors").mkdir()
    matches(refused(tmp_path / "folder.safetensors"), "is a folder")
    matches(refused(tmp_path / "nothing.ckpt"), "no file nothing.ckpt.*Download a motion module")
    (tmp_path / "mm_sd_v15_v2.safetensors").write_bytes(good_safetensors())
    matches(refused(tmp_path / "mm_sd15_v2.ckpt"), r"Did you mean mm_sd_v15_v2\.safetensors\?")
    matches(refused(tmp_path / "nowhere" / "a.ckpt"), "no file a.ckpt")
    refused(tmp_path / ("long" * 200 + ".ckpt"))


@pytest.mark.skipif(os.name == "nt" or os.getuid() == 0, reason="needs permissions that bind")
def test_files_that_may_not_be_read(tmp_path):
    path = tmp_path / "locked.safetensors"
    path.write_bytes(good_safetensors())
    path.chmod(0)
    matches(refused(path), "cannot be read")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes there")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.ckpt")
    matches(refused(tmp_path / "pipe.ckpt"), "a device or a pipe")


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_ends_in_another_exception(data, tmp_path):
    good = {"safetensors": good_safetensors, "pickle": good_pickle}
    content = bytearray(good[data.draw(st.sampled_from([*good]))]())
    edge = min(len(content), 60_000)  # the headers: in front for one format, at the end for the other
    for _ in range(data.draw(st.integers(1, 6))):
        position = data.draw(st.integers(0, edge - 1))
        content[data.draw(st.sampled_from([position, -position - 1]))] = data.draw(st.integers(0, 255))
    path = tmp_path / f"damaged.{data.draw(st.sampled_from(['safetensors', 'ckpt']))}"
    path.write_bytes(content)
    try:
        model = load_motion_model(path)
    except ModelFileError as error:
        assert path.name in str(error)  # noqa: PT017
    else:
        assert len(model.slots) in (20, 21)
