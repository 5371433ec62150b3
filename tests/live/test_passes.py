"""Hires fix, refiner, other checkpoints, batch count, img2img: everything that samples more than once."""

import pytest

from tests.live import media

OFF = {"motion": "off", "schedule": "host"}


def hires(**fields) -> dict:
    return {
        "enable_hr": True,
        "hr_upscaler": "Latent",
        "hr_scale": 2,
        "hr_second_pass_steps": 2,
        "denoising_strength": 0.7,
        **fields,
    }


# hires fix


@pytest.mark.parametrize("family", ["v1", "v2", "v3"])
def test_hires_fix_animates_both_passes(host, probe, modules, family):
    made = host.animate(probe={}, model=modules[family], request=hires())
    assert made.frames.shape == (host.frames, 2 * host.size, 2 * host.size, 3)
    seen = host.seen()
    assert len(seen["sampler"]) == 2
    assert seen["motion_calls"] == len(seen["rows"]) * (21 if family == "v2" else 20)


UPSCALERS = ("Latent", "Latent (nearest-exact)", "Lanczos", "Nearest", "None")


@pytest.mark.parametrize("upscaler", UPSCALERS)
def test_hires_fix_without_motion_is_the_plain_batch(host, probe, upscaler):
    known = [entry["name"] for path in ("upscalers", "latent-upscale-modes") for entry in host.get(f"/sdapi/v1/{path}")]
    if upscaler not in known:
        pytest.skip(f"the host has no upscaler {upscaler}")
    request = hires(hr_upscaler=upscaler)
    still = host.plain(batch_size=host.frames, **request)
    assert media.difference(host.animate(probe=OFF, request=request).frames, still) == 0


def test_hires_fix_in_windows(host, probe):
    off, request = {"motion": "off"}, hires(sampler_name="DDIM", steps=4)
    one = host.animate(probe=off, request=request, video_length=6, batch_size=6).frames
    windows = host.animate(probe=off, request=request, video_length=6, batch_size=4, overlap=2).frames
    assert media.difference(one, windows) <= 1


def test_hires_fix_with_a_prompt_and_a_sampler_of_its_own(host):
    request = hires(hr_prompt="a dog", hr_negative_prompt="worse", hr_sampler_name="DDIM")
    made = host.animate(request=request)
    assert len(made.data) == host.frames
    assert media.difference(made.frames, host.animate(request=hires()).frames) > 0


def test_hires_fix_with_a_checkpoint_of_its_own(host, second_checkpoint):
    request = hires(hr_checkpoint_name=second_checkpoint)
    answer = host.try_animate(request=request)
    assert answer.status == 200 or (answer.status == 422 and "checkpoint" in answer.error())
    if answer.status == 200:
        made = host.txt2img(host.request({}, **request))
        assert media.difference(made.frames, host.animate(request=hires()).frames) > 0
        still = host.plain(batch_size=host.frames, **request)
        assert media.difference(made.frames, still) > 0


def test_hires_checkpoint_without_motion_is_the_plain_batch(host, probe, second_checkpoint):
    request = hires(hr_checkpoint_name=second_checkpoint)
    still = host.plain(batch_size=host.frames, **request)
    assert media.difference(host.animate(probe=OFF, request=request).frames, still) == 0


# refiner and checkpoints


@pytest.mark.parametrize("switch_at", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("name", ["Euler", "DPM++ 2M", "DDIM"])
def test_the_refiner_without_motion_is_the_plain_batch(host, probe, second_checkpoint, name, switch_at):
    """Which shows that the switch came at the right step, to the right model, with its own conditioning."""
    request = {
        "refiner_checkpoint": second_checkpoint,
        "refiner_switch_at": switch_at,
        "sampler_name": name,
        "steps": 4,
    }
    still = host.plain(batch_size=host.frames, **request)
    assert media.difference(host.animate(probe=OFF, request=request).frames, still) == 0


def test_the_refiner_is_animated_too(host, probe, second_checkpoint):
    request = {"refiner_checkpoint": second_checkpoint, "refiner_switch_at": 0.5, "steps": 4}
    made = host.animate(probe={}, request=request)
    assert len(made.data) == host.frames
    assert media.difference(made.frames, host.animate(request={"steps": 4}).frames) > 0
    again = host.animate(request=request)
    assert media.difference(made.frames, again.frames) == 0


def test_the_refiner_in_windows(host, probe, second_checkpoint):
    request = {"refiner_checkpoint": second_checkpoint, "refiner_switch_at": 0.5, "steps": 4}
    off = {"motion": "off"}
    one = host.animate(probe=off, request=request, video_length=6, batch_size=6).frames
    windows = host.animate(probe=off, request=request, video_length=6, batch_size=4, overlap=2).frames
    assert media.difference(one, windows) <= 1


def test_a_checkpoint_override_in_the_same_request(host, second_checkpoint):
    override = {"override_settings": {"sd_model_checkpoint": second_checkpoint}}
    made = host.animate(request=override).frames
    assert media.difference(made, host.animate().frames) > 0
    host.set_options(sd_model_checkpoint=second_checkpoint)
    assert media.difference(made, host.animate().frames) == 0


def test_a_checkpoint_override_without_motion_is_the_plain_batch(host, probe, second_checkpoint):
    request = {"override_settings": {"sd_model_checkpoint": second_checkpoint}}
    still = host.plain(batch_size=host.frames, **request)
    assert media.difference(host.animate(probe=OFF, request=request).frames, still) == 0


def test_fp8_weights(host, plain, has_probe, options):
    """A1111's plain images are no longer quite the same after a turn of this option, with or without AnimateDiff."""

    def turn(make):
        options(fp8_storage="Enable")
        made = make()
        options(fp8_storage="Disable")
        return made, host.plain()

    small, after_plain = turn(host.plain)
    frames, after_animation = turn(lambda: host.animate().frames)
    assert len(frames) == host.frames
    assert media.difference(small, after_plain) > 0
    assert media.difference(after_plain, after_animation) == 0
    vars(plain).update(vars(type(plain).of(host, has_probe)))


# batch count


def test_batch_count_makes_one_video_each_and_the_first_equals_a_single_one(host):
    single = host.animate()
    made = host.animate(request={"n_iter": 2})
    assert len(made.data) == 2 * host.frames
    assert media.difference(made.frames[: host.frames], single.frames) == 0
    assert media.difference(made.frames[host.frames :], single.frames) > 0
    assert made.info["all_seeds"] == list(range(1, 1 + 2 * host.frames))


def test_batch_count_of_videos(host):
    made = host.animate(format=["GIF", "WEBP"], request={"n_iter": 2})
    assert made.formats == ["GIF", "WEBP", "GIF", "WEBP"]


# img2img: A1111's first img2img after a txt2img differs from later ones, with or without AnimateDiff


def img2img(host, animation=None, probe=None, warm=True, **fields):
    body = host.request(
        animation,
        probe,
        **{"init_images": [media.base64_picture(size=host.size)], "denoising_strength": 0.75, "steps": 4, **fields},
    )
    if warm:
        host.img2img(body)
    return host.img2img(body)


@pytest.mark.parametrize("name", ["Euler", "DDIM", "DPM++ 2M"])
def test_img2img_from_one_image(host, name):
    made = img2img(host, {}, sampler_name=name)
    assert len(made.data) == host.frames
    assert "latent_power" in made.infotext


@pytest.mark.parametrize("name", ["Euler", "DDIM"])
def test_img2img_without_motion_and_fading_is_the_plain_batch(host, probe, name):
    """One init image for each frame fades into nothing, so that only the motion is to be taken out."""
    images = [media.base64_picture(40 * i, host.size) for i in range(host.frames)]
    still = img2img(host, init_images=images, batch_size=host.frames, sampler_name=name).frames
    made = img2img(host, {}, OFF, init_images=images, sampler_name=name).frames
    assert media.difference(made, still) == 0


def test_img2img_fades_from_the_image_into_noise(host):
    """With a short fade the last frame remembers the image less than with a long one."""
    short = img2img(host, {"latent_scale": 1}).frames
    long = img2img(host, {"latent_scale": 128}).frames
    assert media.difference(short[-1:], long[-1:]) > 0


def test_img2img_ends_in_the_last_frame(host):
    without = img2img(host, {}).frames
    last = {"last_frame": media.base64_picture(255, host.size), "latent_power_last": 1, "latent_scale_last": 4}
    made = img2img(host, last)
    assert len(made.data) == host.frames
    assert media.difference(made.frames[-1:], without[-1:]) > 0


def test_a_last_frame_may_be_a_data_uri(host):
    picture = media.base64_picture(255, host.size)
    one = img2img(host, {"last_frame": picture}).frames
    assert media.difference(img2img(host, {"last_frame": f"data:image/png;base64,{picture}"}).frames, one) == 0


def test_txt2img_has_no_last_frame(host):
    answer = host.try_animate(last_frame=media.base64_picture(size=host.size))
    assert answer.status == 422
    assert "last_frame" in answer.error()


@pytest.mark.parametrize("mode", [0, 1])
@pytest.mark.parametrize("windows", [{}, {"video_length": 6, "batch_size": 4, "overlap": 2}], ids=["one", "windows"])
def test_inpainting_keeps_what_is_not_masked(host, windows, mode):
    masked = {"mask": media.base64_mask(host.size), "mask_blur": 0, "inpainting_fill": mode}
    made = img2img(host, windows, **masked, warm=False).frames
    kept = made[:, :, : host.size // 2 - 8]
    assert media.difference(kept, kept[:1].repeat(len(kept), 0)) <= 2
    moved = made[:, :, host.size // 2 + 8 :]
    assert media.difference(moved, moved[:1].repeat(len(moved), 0)) > 2


@pytest.mark.parametrize("name", ["Euler", "DDIM"])
def test_inpainting_in_windows_without_motion_is_one_window(host, probe, name):
    masked = {"mask": media.base64_mask(host.size), "mask_blur": 0, "sampler_name": name}
    off = {"motion": "off"}
    images = [media.base64_picture(40 * i, host.size) for i in range(6)]
    one = img2img(host, {"video_length": 6}, off, init_images=images, **masked).frames
    windows = {"video_length": 6, "batch_size": 4, "overlap": 2}
    made = img2img(host, windows, off, init_images=images, **masked).frames
    assert media.difference(one, made) <= 1


def test_a_wrong_number_of_init_images_is_refused(host):
    body = host.request({}, init_images=[media.base64_picture(i, host.size) for i in range(2)])
    answer = host.try_img2img(body)
    assert answer.status == 422
    assert "2 images" in answer.error()
    assert "video_length" in answer.error()


def test_img2img_in_windows(host):
    made = img2img(host, {"video_length": 8, "batch_size": 4, "overlap": 1})
    assert len(made.data) == 8


def test_img2img_batch_count(host):
    made = img2img(host, {}, n_iter=2, warm=False)
    assert len(made.data) == 2 * host.frames


@pytest.mark.parametrize("option", ["return_mask", "return_mask_composite"])
def test_masks_in_the_answer_are_not_frames(host, options, option):
    options(**{option: True})
    body = host.request(
        {"format": ["GIF"]}, init_images=[media.base64_picture(size=host.size)], mask=media.base64_mask(host.size)
    )
    made = host.img2img(body)
    assert media.facts(made.data[0]).frames == host.frames
