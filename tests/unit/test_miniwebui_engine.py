"""miniwebui's engine: from a request to pictures, on the stand-in weights."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from miniwebui import standin
from tests.unit.miniwebui_engine import Runner, host_modules


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return folder, standin.ensure(folder, progress=lambda _: None)


@pytest.fixture(scope="module")
def engine(weights):
    with host_modules(weights[0]) as engine:
        engine.sd_models.list_models()
        yield engine


@pytest.fixture
def paint(engine):
    """A function that does a txt2img request and answers its pictures as one array."""

    def paint(cls="Txt2Img", scripts=None, **request):
        given = {
            "prompt": "a cat", "sampler_name": "Euler", "steps": 2, "width": 32, "height": 32, "seed": 5,
            "do_not_save_samples": True, "do_not_save_grid": True, **request,
        }  # fmt: skip
        p = getattr(engine.processing, f"StableDiffusionProcessing{cls}")(**given)
        p.scripts = scripts
        engine.shared.state.begin("test")
        try:
            result = engine.processing.process_images(p)
        finally:
            p.close()
            engine.shared.state.end()
        paint.p, paint.result = p, result
        return np.stack([np.asarray(x) for x in result.images]).astype(int)

    return paint


def test_stand_ins_are_the_same_every_time(weights):
    state = standin.motion_state("v2", 1)
    again = standin.motion_state("v2", 1)
    assert state.keys() == again.keys()
    assert all(torch.equal(state[name], again[name]) for name in state)
    made = weights[1].motion["v1"].stat().st_mtime_ns
    standin.ensure(weights[0], progress=lambda _: pytest.fail("made twice"))
    assert weights[1].motion["v1"].stat().st_mtime_ns == made


def test_a_stand_in_of_another_version_is_made_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(standin, "checkpoint_state", lambda seed: {"x": torch.zeros(2)})
    paths = standin.ensure(tmp_path, progress=lambda _: None)
    save_file({"old": torch.zeros(1)}, paths.checkpoint)
    told = []
    standin.ensure(tmp_path, progress=told.append)
    assert len(told) == 1
    assert paths.checkpoint.name in told[0]


def test_the_checkpoint_holds_each_tensor_of_the_networks_and_no_other(engine, weights):
    state = engine.sd_models.read_state_dict(str(weights[1].checkpoint))
    model = engine.sd_network.LatentDiffusion(engine.sd_network.read_config(state, None))
    report = model.load_state_dict(state, strict=False)
    assert set(report.missing_keys) <= {"betas", "alphas_cumprod"}
    assert report.unexpected_keys == []


def test_a_batch_is_its_pictures_one_by_one(paint):
    together = paint(batch_size=3, sampler_name="Euler a")
    alone = [paint(seed=5 + i, sampler_name="Euler a")[0] for i in range(3)]
    assert abs(together - np.stack(alone)).max() <= 1
    assert abs(together[0] - together[1]).mean() > 5


def test_batch_count_counts_the_seeds_on(paint):
    twice = paint(n_iter=2)
    assert paint.p.all_seeds == [5, 6]
    assert abs(twice[1] - paint(seed=6)[0]).max() <= 1


def test_a_variation_keeps_the_seed(paint):
    paint(n_iter=2, subseed=9, subseed_strength=0.3)
    assert paint.p.all_seeds == [5, 5]
    assert paint.p.all_subseeds == [9, 10]


def test_a_part_of_weight_0_changes_nothing(paint):
    assert abs(paint(prompt="a cat:1 AND a red dog:0") - paint()).max() <= 1
    assert abs(paint(prompt="a cat AND a red dog") - paint()).mean() > 1


@pytest.mark.parametrize("option", ["batch_cond_uncond", "unpadded"])
def test_ways_to_run_the_rows_agree(paint, option):
    long = ", ".join(f"thing {i}" for i in range(60))
    request = {"prompt": long} if option == "unpadded" else {}
    off = {"batch_cond_uncond": False}
    assert abs(paint(batch_size=2, **request) - paint(batch_size=2, override_settings=off, **request)).max() <= 1


def test_prompt_editing_switches_at_its_step(paint):
    cat, dog = paint(prompt="a cat", steps=4), paint(prompt="a dog", steps=4)
    both = paint(prompt="[a cat:a dog:1]", steps=4)
    assert min(abs(both - cat).mean(), abs(both - dog).mean()) > 0.02
    assert (paint(prompt="[a cat:a dog:4]", steps=4) == cat).all()


HOOKS = [
    "before_process", "process", "before_process_batch", "after_extra_networks_activate", "process_batch",
    "process_before_every_sampling", "post_sample", "postprocess_batch", "postprocess_batch_list",
    "postprocess_image", "postprocess_maskoverlay", "postprocess_image_after_composite", "postprocess",
]  # fmt: skip


def test_hooks_come_in_the_order_of_the_contract(paint):
    runner = Runner()
    paint(scripts=runner)
    assert runner.seen == HOOKS


def test_hooks_of_the_second_pass(paint):
    runner = Runner()
    paint(scripts=runner, enable_hr=True, hr_upscaler="Latent", hr_second_pass_steps=1, denoising_strength=0.5)
    at = runner.seen.index("process_before_every_sampling")
    following = ["after_extra_networks_activate", "before_hr", "process_before_every_sampling", "post_sample"]
    assert runner.seen[at + 1 : at + 5] == following


def test_a_wrapped_sampler_sees_every_pass_once(paint):
    calls = []

    def wrap(p, **kwargs):
        for name in ("sample", "sample_img2img"):
            original = getattr(p.sampler, name)
            setattr(p.sampler, name, lambda *a, f=original, n=name, **k: calls.append(n) or f(*a, **k))

    pictures = paint(scripts=Runner(process_before_every_sampling=wrap), enable_hr=True, hr_upscaler="Lanczos")
    assert calls == ["sample", "sample_img2img"]
    assert pictures.shape == (1, 64, 64, 3)


def test_an_error_in_the_sampler_ends_the_request_and_leaves_nothing(paint, engine):
    before = paint()

    def wrap(p, **kwargs):
        def fail(*args, **kwargs):
            raise RuntimeError("on purpose")

        p.sampler.sample = fail

    runner = Runner(process_before_every_sampling=wrap)
    with pytest.raises(RuntimeError, match="on purpose"):
        paint(scripts=runner)
    assert "post_sample" not in runner.seen
    assert (paint() == before).all()


def test_an_interrupt_answers_the_last_latent_and_runs_the_last_hooks(paint, engine):
    def interrupt_after_first_step(p, **kwargs):
        forward = p.sampler.model_wrap_cfg.forward

        def step(*args, **kwargs):
            result = forward(*args, **kwargs)
            engine.shared.state.interrupted = True
            return result

        p.sampler.model_wrap_cfg.forward = step

    runner = Runner(process_before_every_sampling=interrupt_after_first_step)
    assert paint(scripts=runner, batch_size=2, steps=5).shape[0] == 2
    assert engine.shared.state.sampling_step == 0
    assert runner.seen[-1] == "postprocess"


def test_overridden_settings_are_put_back(paint, engine):
    engine.shared.opts.data["sd_noise_schedule"] = "Default"
    plain = paint()
    changed = paint(override_settings={"sd_noise_schedule": "Zero Terminal SNR"})
    assert abs(changed - plain).mean() > 0.5
    assert engine.shared.opts.sd_noise_schedule == "Default"
    assert (paint() == plain).all()


@pytest.mark.parametrize("sampler", ["Euler", "DDIM", "LCM"])
def test_a_schedule_in_half_precision(paint, engine, sampler):
    engine.shared.opts.data["use_downcasted_alpha_bar"] = False
    plain = paint(sampler_name=sampler)
    rounded = paint(sampler_name=sampler, override_settings={"use_downcasted_alpha_bar": True})
    assert 0 < abs(rounded - plain).mean() < 10
    assert (paint(sampler_name=sampler) == plain).all()


def test_another_checkpoint_for_one_request_fills_the_same_model(paint, engine):
    plain, model = paint(), engine.shared.sd_model
    other = paint(override_settings={"sd_model_checkpoint": "standin-b"})
    assert paint.p.sd_model_name == "standin-b"
    assert abs(other - plain).mean() > 5
    assert (paint() == plain).all()
    assert engine.shared.sd_model is model


def test_the_refiner_takes_over_in_the_middle(paint, engine):
    plain, other = paint(steps=4), paint(steps=4, override_settings={"sd_model_checkpoint": "standin-b"})
    both = paint(steps=4, refiner_checkpoint="standin-b", refiner_switch_at=0.5)
    assert engine.shared.sd_model.sd_checkpoint_info.name_for_extra == "standin-b"
    assert "Refiner: standin-b" in paint.result.infotexts[0]
    assert min(abs(both - plain).mean(), abs(both - other).mean()) > 1
    assert (paint(steps=4) == plain).all()


def test_inpainting_keeps_what_the_mask_leaves(paint):
    from PIL import Image

    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8))
    mask = Image.new("L", (32, 32))
    mask.paste(255, (0, 0, 16, 32))
    request = {"init_images": [image], "mask": mask, "mask_blur": 0, "inpainting_fill": 1, "denoising_strength": 1.0}
    made = paint("Img2Img", inpaint_full_res=False, **request)[0]
    assert (made[:, 16:] == np.asarray(image)[:, 16:]).all()
    assert abs(made[:, :16] - np.asarray(image)[:, :16]).mean() > 10


def test_too_many_init_images_are_refused(paint):
    from PIL import Image

    with pytest.raises(RuntimeError, match="bad number of images passed: 3; expecting 2 or less"):
        paint("Img2Img", batch_size=2, init_images=[Image.new("RGB", (32, 32))] * 3)


@pytest.mark.parametrize("flag", ["medvram", "lowvram"])
def test_low_vram_modes_paint_the_same(paint, engine, monkeypatch, flag):
    plain = paint()
    monkeypatch.setattr(engine.shared.cmd_opts, flag, True)
    engine.sd_models.load_model()
    assert engine.lowvram.is_enabled(engine.shared.sd_model)
    seen = []
    pictures = paint(scripts=Runner(post_sample=lambda *_: seen.append(engine.lowvram.module_in_gpu)))
    assert seen[0] is not None
    assert abs(pictures - plain).max() <= 1
    assert engine.lowvram.module_in_gpu is None
    monkeypatch.undo()
    engine.sd_models.load_model()


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({"conditioner.embedders.0.x": torch.zeros(1)}, "SDXL"),
        ({"cond_stage_model.model.x": torch.zeros(1)}, "SD2"),
        ({"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(32, 9, 3, 3)}, "9 channels"),
        (None, "no SD1.x checkpoint"),
    ],
)
def test_other_checkpoints_are_refused_by_name(engine, weights, extra, said):
    state = {} if extra is None else {**engine.sd_models.read_state_dict(str(weights[1].checkpoint)), **extra}
    with pytest.raises(engine.sd_network.CheckpointError, match=said):
        engine.sd_network.read_config(state, None)


def test_a_picture_of_no_multiple_of_64_is_painted(paint):
    assert paint(width=40, height=56).shape == (1, 56, 40, 3)
