"""One generation from the first hook to the last, on a host of a few lines."""

import base64
import contextlib
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from lib_animatediff.animation import Animation, motion_module_path
from lib_animatediff.errors import ModelFileError, RequestError, UnsupportedError
from lib_animatediff.motion.families import LINEAR
from lib_animatediff.request import AnimationRequest
from lib_animatediff.video.metadata import probe, read_infotext
from lib_animatediff.video.options import WriterOptions

from .fake_unet import FakeMotionModel, FakeUNet

FRAMES = 4


class Host:
    def __init__(self):
        self.model, self.low = FakeUNet(), False

    def device(self):
        return torch.device("cpu")

    def check(self, p):
        pass

    def unet(self, p):
        return self.model

    def low_memory(self, p):
        return self.low


class Models:
    def __init__(self):
        self.model, self.cleared = FakeMotionModel(), 0
        self.model.family.beta_schedule, self.model.sha256 = LINEAR, "0123456789abcdef"

    def get(self, path):
        return self.model

    def clear(self):
        self.cleared += 1


class Settings(SimpleNamespace):
    """The user's settings; the motion module folder holds one file."""

    own_folder, keep = True, "device"

    def model_folder(self):
        return self.folder

    def film_file(self):
        return self.folder / "film_net_fp16.pt"

    def writer_options(self):
        return WriterOptions()

    def frames_in_own_folder(self):
        return self.own_folder

    def keep_motion_module(self):
        return self.keep


class Processing:
    """The attributes of the host's processing object that an animation touches."""

    def __init__(self, out, **more):
        self.batch_size, self.n_iter, self.script_args = 1, 1, (0,)
        self.extra_generation_params, self.outpath_samples = {}, str(out)
        self.do_not_save_samples = self.do_not_save_grid = False
        self.all_seeds, self.seeds, self.initialised = [], [7], False
        self.all_prompts = self.all_negative_prompts = ["a cat"] * FRAMES
        vars(self).update(more)

    def init(self, *args):
        self.initialised = True


@pytest.fixture
def scene(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "mm.safetensors").write_bytes(b"")
    return SimpleNamespace(host=Host(), models=Models(), settings=Settings(folder=folder), out=tmp_path / "out")


def animation(scene, error=None, **fields):
    fields = {"enable": True, "model": "mm.safetensors", "video_length": FRAMES, "format": ["GIF"]} | fields
    request = None if error else AnimationRequest.from_mapping(fields)
    return Animation(request, scene.host, scene.models, scene.settings, "1.0", error=error)


def generated(p, pictures=None, batches=1):
    pictures = pictures or [Image.new("RGB", (16, 16), (60 * i % 256, 10, 10)) for i in range(FRAMES * batches)]
    return SimpleNamespace(
        images=pictures,
        index_of_first_image=0,
        infotexts=[f"infotext {i}" for i in range(FRAMES * batches)],
        all_seeds=list(range(100, 100 + FRAMES * batches)),
        comments="",
        extra_generation_params=p.extra_generation_params,
    )


def run(scene, p=None, batches=1, pictures=None, **fields):
    p = p or Processing(scene.out)
    one = animation(scene, **fields)
    one.begin(p)
    p.init()
    for _ in range(batches):
        one.count_batch(range(FRAMES))
    processed = generated(p, pictures, batches)
    one.finish(p, processed)
    return p, processed


def test_the_batch_is_the_animation(scene):
    p = Processing(scene.out)
    animation(scene, video_length=40).begin(p)
    assert p.batch_size == 40
    assert p.do_not_save_grid
    assert p.do_not_save_samples


def test_zero_frames_are_one_context(scene):
    p = Processing(scene.out)
    animation(scene, video_length=0, batch_size=12).begin(p)
    assert p.batch_size == 12


@pytest.mark.parametrize(("own_folder", "host_saves"), [(True, False), (False, True)])
def test_png_frames_are_saved_by_one_of_the_two(scene, own_folder, host_saves):
    scene.settings.own_folder = own_folder
    p, _ = run(scene, format=["GIF", "PNG"])
    assert p.do_not_save_samples is not host_saves
    assert bool(list(scene.out.rglob("*.png"))) is own_folder


def test_an_error_is_raised_before_the_host_prepares_anything(scene):
    p = Processing(scene.out)
    animation(scene, error=RequestError("fps", "no")).begin(p)
    with pytest.raises(RequestError, match="fps: no"):
        p.init()
    assert not p.initialised
    assert "init" not in vars(p)


@pytest.mark.parametrize(
    ("fields", "error", "says"),
    [
        ({"model": "nm.safetensors"}, ModelFileError, "Did you mean mm.safetensors"),
        ({"batch_size": 40, "video_length": 64}, RequestError, "32 positions"),
        ({"interp": "FILM"}, ModelFileError, "film_net_fp16.pt"),
    ],
)
def test_what_cannot_be_made_is_refused_before_sampling(scene, fields, error, says, monkeypatch):
    monkeypatch.setattr("lib_animatediff.animation.list_motion_modules", lambda folder: ["mm.safetensors"])
    p = Processing(scene.out)
    animation(scene, **fields).begin(p)
    with pytest.raises(error, match=says):
        p.init()
    assert not p.initialised
    assert not scene.out.exists()


def test_formats_without_an_encoder_are_refused_unless_another_can_be_written(scene, monkeypatch):
    monkeypatch.setattr("lib_animatediff.animation.unwritable", lambda formats: {"MP4": "MP4 needs PyAV."})
    one = animation(scene, format=["MP4"])
    p = Processing(scene.out)
    one.begin(p)
    with pytest.raises(UnsupportedError, match="needs PyAV"):
        p.init()
    run(scene, format=["MP4", "GIF"])


def test_several_images_must_be_one_per_frame(scene):
    p = Processing(scene.out, init_images=[1, 2], rng=None)
    animation(scene).begin(p)
    with pytest.raises(RequestError, match="2 images for 4 frames"):
        p.init()


def test_the_main_seed_for_all_frames_of_each_video(scene):
    p = Processing(scene.out, all_seeds=[5, 6, 7, 8, 9, 10, 11, 12])
    animation(scene, use_main_seed=True).begin(p)
    p.init()
    assert p.all_seeds == [5, 5, 5, 5, 9, 9, 9, 9]


def test_the_infotext_names_the_module_and_can_be_forgotten(scene):
    p, _ = run(scene)
    text = p.extra_generation_params["AnimateDiff"]
    assert "model: mm.safetensors" in text
    assert "mm_hash: 01234567" in text
    Animation.forget(p)
    assert "AnimateDiff" not in p.extra_generation_params
    assert Animation.of(p) is None


def test_upscaling_from_the_gallery_makes_the_whole_animation_again(scene):
    p = Processing(scene.out, txt2img_upscale=True, firstpass_image=Image.new("RGB", (8, 8)))
    animation(scene).begin(p)
    assert not p.txt2img_upscale
    assert p.firstpass_image is None


def test_each_frame_gets_its_keyframes_prompt_before_the_host_encodes_them(scene):
    text = "0: a\n2: b"
    p = Processing(scene.out, all_prompts=[text] * FRAMES, all_negative_prompts=["bad"] * FRAMES, enable_hr=True)
    p.all_hr_prompts, p.all_hr_negative_prompts = ["c"] * FRAMES, ["1: d"] * FRAMES
    one = animation(scene)
    one.begin(p)
    p.init()
    p.prompts, p.negative_prompts = list(p.all_prompts), list(p.all_negative_prompts)
    p.hr_prompts, p.hr_negative_prompts = list(p.all_hr_prompts), list(p.all_hr_negative_prompts)
    one.before_encoding(p)
    assert (p.prompts, p.negative_prompts) == (["a", "a", *["b"] * (FRAMES - 2)], ["bad"] * FRAMES)
    assert (p.hr_prompts, p.hr_negative_prompts) == (["c"] * FRAMES, ["d"] * FRAMES)
    assert p.all_prompts == [text] * FRAMES, "the infotext keeps the whole prompt"
    assert one.travel.prompt.mix(1) == (0, 2, 0.5)
    assert (one.travel.negative, one.hires_travel.prompt) == (None, None)


def test_a_keyframe_that_cannot_be_is_refused_before_anything_is_made(scene):
    p = Processing(scene.out, all_prompts=["a"] * FRAMES + ["99: b"] * FRAMES, n_iter=2)
    p.all_negative_prompts = [""] * 2 * FRAMES
    animation(scene).begin(p)
    with pytest.raises(RequestError, match="99: b"):
        p.init()
    assert not p.initialised


def test_a_prompt_that_went_wrong_on_the_way_is_not_sampled(scene):
    p = Processing(scene.out, sampler=Sampler())
    one = animation(scene)
    one.begin(p)
    p.init()
    p.prompts, p.negative_prompts = ["99: b"] * FRAMES, [""] * FRAMES  # another script's doing
    one.before_encoding(p)
    one.before_sampling(p)
    with pytest.raises(RequestError, match="99: b"):
        p.sampler.sample(p, torch.zeros(1))


def test_a_full_context_is_sampled_and_its_beginning_kept(scene):
    sampled, kept = 8, 3
    p = Processing(scene.out, n_iter=2, all_prompts=["0: a\n2: b"] * 2 * sampled)
    p.all_negative_prompts = [""] * 2 * sampled
    one = animation(scene, video_length=kept, batch_size=sampled, full_context=True, motion_scale="0:1, 2:3")
    one.begin(p)
    assert p.batch_size == sampled
    p.init()
    assert (one.plan.frames, one.plan.context) == (sampled, sampled)
    assert one.plan.motion_scale.tolist() == [1, 2, 3, 3, 3, 3, 3, 3]
    p.prompts, p.negative_prompts = p.all_prompts[:sampled], p.all_negative_prompts[:sampled]
    one.before_encoding(p)
    assert p.prompts == ["a", "a"] + ["b"] * 6
    for samples in (torch.zeros(sampled, 4, 8, 8), [1] * sampled):
        of_host = SimpleNamespace(samples=samples)
        one.after_sampling(of_host)
        assert len(of_host.samples) == kept
        assert type(of_host.samples) is type(samples)
        one.count_batch(of_host.samples)
    processed = generated(p, [Image.new("RGB", (16, 16), (i, 0, 0)) for i in range(2 * kept)], 2)
    processed.all_seeds = list(range(2 * sampled))
    processed.all_subseeds, processed.all_prompts = list(range(2 * sampled)), p.all_prompts
    processed.all_negative_prompts = p.all_negative_prompts
    one.finish(p, processed)
    assert processed.all_seeds == processed.all_subseeds == [0, 1, 2, 8, 9, 10]
    assert len(processed.all_prompts) == len(processed.all_negative_prompts) == 2 * kept
    assert [Path(picture.already_saved_as).name for picture in processed.images] == ["00000-0.gif", "00001-8.gif"]


def test_longer_videos_have_no_use_for_a_full_context(scene):
    p = Processing(scene.out, all_prompts=["a"] * 20, all_negative_prompts=[""] * 20)
    one = animation(scene, video_length=20, batch_size=8, full_context=True)
    one.begin(p)
    p.init()
    of_host = SimpleNamespace(samples=torch.zeros(20, 4, 8, 8))
    one.after_sampling(of_host)
    assert (p.batch_size, one.plan.frames, len(of_host.samples)) == (20, 20, 20)


def test_a_second_generation_with_the_same_object_starts_anew(scene):
    p, _ = run(scene)
    Animation.forget(p)
    p, processed = run(scene, p)
    assert len(processed.images) == 1


# what the host shows and answers


def test_page_one_picture_per_file_served_from_it(scene):
    _, processed = run(scene, format=["MP4", "GIF"])
    files = [Path(picture.already_saved_as) for picture in processed.images]
    assert [path.suffix for path in files] == [".gif", ".mp4"]
    assert all(path.is_file() for path in files)
    assert processed.infotexts == ["infotext 0", "infotext 0"]


@pytest.mark.parametrize(
    ("formats", "batches", "script", "played"),
    [
        (["GIF", "MP4"], 1, 0, ".mp4"),
        (["WEBM"], 1, 0, ".webm"),
        (["GIF"], 1, 0, None),  # a player shows no GIF; the gallery does
        (["MP4"], 2, 0, None),  # it shows one video; the gallery all of them
        (["MP4"], 1, 3, None),
    ],
)
def test_a_host_with_a_player_gets_the_video(scene, formats, batches, script, played):
    p = Processing(scene.out, script_args=(script,), n_iter=batches)
    one = animation(scene, format=formats)
    one.begin(p)
    p.init()
    for _ in range(batches):
        one.count_batch(range(FRAMES))
    processed = generated(p, None, batches)
    processed.video_path = None
    one.finish(p, processed)
    assert (processed.video_path and Path(processed.video_path).suffix) == played
    assert processed.images


def test_api_whole_files_in_the_order_of_the_contract(scene):
    p = Processing(scene.out, is_api=True)
    _, processed = run(scene, p, format=["WEBM", "Frame", "GIF", "WEBP", "MP4", "TXT"])
    texts = [item for item in processed.images if isinstance(item, str)]
    starts = [base64.b64decode(text)[:12] for text in texts]
    assert [starts[0][:3], starts[1][4:8], starts[2][8:12], starts[3][:4]] == [
        b"GIF",
        b"ftyp",
        b"WEBP",
        b"\x1aE\xdf\xa3",
    ]
    assert len(texts) == 4
    assert len(processed.images) == 4 + FRAMES
    assert len(processed.infotexts) == FRAMES, "seeds and infotexts stay per frame"


def test_api_png_alone_answers_the_frames(scene):
    _, processed = run(scene, Processing(scene.out, is_api=True), format=["PNG"])
    assert len(processed.images) == FRAMES
    assert all(isinstance(picture, Image.Image) for picture in processed.images)


def test_scripts_of_the_dropdown_get_one_picture_per_video(scene):
    p = Processing(scene.out, is_api=True, script_args=(3,), n_iter=2)
    _, processed = run(scene, p, batches=2, format=["GIF", "MP4"])
    assert [Path(picture.already_saved_as).suffix for picture in processed.images] == [".gif", ".gif"]


def test_each_batch_is_a_video_with_its_own_seed_and_infotext(scene):
    _, processed = run(scene, batches=2)
    files = [Path(picture.already_saved_as) for picture in processed.images]
    assert [path.name for path in files] == ["00000-100.gif", "00001-104.gif"]
    assert [read_infotext(path) for path in files] == ["infotext 0", "infotext 4"]


def test_masks_between_the_frames_are_no_frames(scene):
    pictures = []
    for i in range(FRAMES):
        pictures += [
            Image.new("RGB", (16, 16), (80 * i % 256, 0, 0)),
            Image.new("L", (16, 16)),
            Image.new("RGBA", (4, 4)),
        ]
    run(scene, pictures=pictures, format=["PNG", "GIF"])
    frames = sorted(scene.out.rglob("*.png"))
    assert [Image.open(path).getpixel((0, 0))[0] for path in frames] == [80 * i % 256 for i in range(FRAMES)]


def test_a_short_closed_loop_swings_back(scene):
    _, processed = run(scene, closed_loop="A", batch_size=8)
    assert probe(Path(processed.images[0].already_saved_as)).frames == FRAMES + FRAMES - 2


def test_interpolated_frames_are_in_the_file(scene):
    _, processed = run(scene, interp="Flow", interp_x=3)
    assert probe(Path(processed.images[0].already_saved_as)).frames == (FRAMES - 1) * 3 + 1


def test_a_failing_writer_costs_its_format_and_is_told(scene, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setitem(__import__("lib_animatediff.video.write", fromlist=["x"])._WRITERS, "MP4", fail)
    p, processed = run(scene, format=["GIF", "MP4"])
    assert len(processed.images) == 1
    assert "disk full" in processed.comments
    assert "disk full" in p.extra_generation_params["AnimateDiff errors"][0]
    assert len(list(scene.out.rglob("*.*"))) == 1, "nothing half-written"


def test_when_every_writer_fails_the_frames_are_the_answer(scene, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setitem(__import__("lib_animatediff.video.write", fromlist=["x"])._WRITERS, "GIF", fail)
    _, processed = run(scene)
    assert len(processed.images) == FRAMES
    assert "disk full" in processed.comments


def test_a_folder_that_cannot_be_written_is_told_and_the_frames_are_the_answer(scene):
    scene.out.write_bytes(b"a file stands where the folder should be")
    p, processed = run(scene, format=["GIF", "MP4"])
    assert len(processed.images) == FRAMES
    assert [text.split()[0] for text in p.extra_generation_params["AnimateDiff errors"]] == ["GIF", "MP4"]


def test_interpolation_without_opencv_is_refused_before_sampling(scene, monkeypatch):
    def missing():
        raise UnsupportedError("OpenCV is not installed.")

    monkeypatch.setattr("lib_animatediff.animation.flow_between", missing)
    p = Processing(scene.out)
    animation(scene, interp="Flow").begin(p)
    with pytest.raises(UnsupportedError, match="OpenCV"):
        p.init()


# the sampler


class Sampler:
    def __init__(self):
        self.calls = []

    def sample(self, p, x):
        self.calls.append(("txt", x))
        return x

    def sample_img2img(self, p, x, noise):
        self.calls.append(("img", x))
        return x


@pytest.fixture
def no_run(monkeypatch):
    """The sampling itself is tested elsewhere."""
    for name in ("sample_animated", "sample_animated_img2img"):
        monkeypatch.setattr(
            f"lib_animatediff.animation.{name}", lambda host, plan, p, sampler, sample, x, *args: sample(p, x, *args)
        )


@pytest.mark.usefixtures("no_run")
def test_the_sampler_is_wrapped_once_and_left_as_it_was(scene):
    p = Processing(scene.out, sampler=Sampler())
    one = animation(scene)
    one.begin(p)
    p.init()
    theirs = p.sampler.sample
    vars(p.sampler)["sample"] = theirs  # another extension was there first
    one.before_sampling(p)
    one.before_sampling(p)
    assert vars(p.sampler)["sample"] is not theirs
    p.sampler.sample(p, torch.zeros(1))
    assert len(p.sampler.calls) == 1
    assert vars(p.sampler)["sample"] is theirs
    assert "sample_img2img" not in vars(p.sampler)


@pytest.mark.usefixtures("no_run")
def test_without_preparation_nothing_is_sampled(scene):
    p = Processing(scene.out, sampler=Sampler())
    one = animation(scene)
    one.begin(p)
    one.before_sampling(p)
    with contextlib.suppress(Exception):
        p.sampler.sample(p, torch.zeros(1))
    assert not p.sampler.calls


@pytest.mark.usefixtures("no_run")
def test_one_image_fades_into_noise_and_one_per_frame_does_not(scene):
    noise = torch.ones(FRAMES, 4, 2, 2)
    for images, fades in (([1], True), ([1, 2, 3, 4], False)):
        p = Processing(scene.out, init_images=images, sampler=Sampler(), rng=SimpleNamespace(next=lambda: noise))
        one = animation(scene, latent_scale=4)
        one.begin(p)
        p.init()
        one.before_batch(p)
        one.before_sampling(p)
        p.sampler.sample_img2img(p, torch.zeros(FRAMES, 4, 2, 2), noise)
        shares = p.sampler.calls[0][1][:, 0, 0, 0].tolist()
        assert shares == ([0, 0.25, 0.5, 0.75] if fades else [0, 0, 0, 0])


@pytest.mark.usefixtures("no_run")
@pytest.mark.parametrize(("keep", "low", "cleared"), [("device", False, 0), ("ram", False, 0), ("nowhere", True, 1)])
def test_the_weights_go_where_the_user_wants_them(scene, keep, low, cleared, monkeypatch):
    scene.settings.keep, scene.host.low = keep, low
    moved = []
    monkeypatch.setattr(type(scene.models.model), "to", lambda self, *a, **k: moved.append(a))
    p = Processing(scene.out, sampler=Sampler())
    one = animation(scene)
    one.begin(p)
    p.init()
    one.before_sampling(p)
    p.sampler.sample(p, torch.zeros(1))
    assert scene.models.cleared == cleared
    assert bool(moved) is (keep != "device" or low)
    assert scene.models.model.released == len(moved)


def test_a_module_is_looked_for_in_the_folder_and_below(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "mm.ckpt").write_bytes(b"")
    assert motion_module_path(tmp_path, "sub/mm.ckpt").is_file()
    with pytest.raises(ModelFileError, match=r"put one there|It holds"):
        motion_module_path(tmp_path, "other.ckpt")
