"""Prompt travel: prompts whose lines are keyframes. Without motion each frame is what its own prompt makes of it."""

import pytest

from tests.live import media
from tests.live.test_guidance import LONG

OFF = {"motion": "off", "schedule": "host"}
TWO = "0: a cat\n2: a dog"


def travelled(host, prompt, probe=OFF, **animation):
    return host.animate(probe=probe, request={"prompt": prompt}, **animation).frames


def plain(host, prompt, **request):
    return host.plain(prompt=prompt, batch_size=host.frames, **request)


def test_frames_show_their_keyframe(host, probe):
    made = travelled(host, f"best\n{TWO}\n35mm", prompt_easing="step")
    cats, dogs = plain(host, "best, a cat, 35mm"), plain(host, "best, a dog, 35mm")
    assert media.difference(made[:2], cats[:2]) <= 1
    assert media.difference(made[2:], dogs[2:]) <= 1
    assert media.difference(cats[2:], dogs[2:]) > 1


@pytest.mark.parametrize("interpolation", ["slerp", "lerp"])
def test_frames_between_are_on_their_way(host, probe, interpolation):
    made = travelled(host, "0: a cat\n3: a dog", prompt_interpolation=interpolation)
    cats, dogs = plain(host, "a cat"), plain(host, "a dog")
    assert media.difference(made[:1], cats[:1]) <= 1
    assert media.difference(made[3:], dogs[3:]) <= 1
    for i in (1, 2):
        assert min(media.difference(made[i], cats[i]), media.difference(made[i], dogs[i])) > 0


FORMS = {
    "unequal lengths": f"0: a cat\n2: {LONG}",
    "AND": "0: a cat AND a tree:0.5\n2: a dog AND a house:0.5",
    "prompt editing": "0: a [cat:lion:0.5]\n2: a [dog|wolf]",
    "emphasis": "0: a (cat:1.3)\n2: a [dog]",
}


@pytest.mark.parametrize("form", FORMS)
def test_windows_of_a_travelling_prompt_are_one_window(host, probe, form):
    request, off = {"prompt": FORMS[form], "steps": 4}, {"motion": "off"}
    one = host.animate(probe=off, request=request, video_length=6, batch_size=6).frames
    windows = host.animate(probe=off, request=request, video_length=6, batch_size=4, overlap=2).frames
    assert media.difference(one, windows) <= 1


def test_weights_of_parts_travel_or_are_refused(host, probe):
    request, off = {"prompt": "0: a cat AND a tree\n2: a dog AND a house:0.5", "steps": 4}, {"motion": "off"}
    if host.engine() == "forge":  # knows one weight for all frames
        answer = host.try_animate(probe=off, request=request)
        assert answer.status == 422
        assert "same weights in every keyframe" in answer.error()
        return
    one = host.animate(probe=off, request=request, video_length=6, batch_size=6).frames
    windows = host.animate(probe=off, request=request, video_length=6, batch_size=4, overlap=2).frames
    assert media.difference(one, windows) <= 1


@pytest.mark.parametrize("family", ["v1", "v3"])
def test_a_travelling_prompt_moves(host, modules, family):
    made = host.animate(model=modules[family], request={"prompt": TWO})
    assert len(made.frames) == host.frames
    assert media.difference(made.frames, host.animate(model=modules[family], request={"prompt": "a cat"}).frames) > 0


@pytest.mark.parametrize("last", ["worse", LONG])
def test_the_negative_travels_too(host, probe, last):
    request = {"negative_prompt": f"0: bad\n2: {last}"}
    made = host.animate(probe=OFF, request=request, prompt_easing="step").frames
    bad = plain(host, "a cat", negative_prompt="bad")
    assert media.difference(made[2:], bad[2:]) > 0
    if last != LONG:  # a longer negative lengthens those of the other frames too, which the host cannot do by itself
        assert media.difference(made[:2], bad[:2]) <= 1
        assert media.difference(made[2:], plain(host, "a cat", negative_prompt=last)[2:]) <= 1


def test_a_closed_loop_travels_around_its_end(host, probe):
    wanted = {"video_length": 8, "batch_size": 4, "overlap": 1}
    line = travelled(host, "0: a cat\n4: a dog", closed_loop="N", **wanted)
    loop = travelled(host, "0: a cat\n4: a dog", closed_loop="A", **wanted)
    assert media.difference(line[:5], loop[:5]) <= 1
    assert all(media.difference(line[i], loop[i]) > 0 for i in (5, 6, 7))


def test_the_hires_pass_travels_too(host, probe):
    request = {
        "prompt": TWO, "enable_hr": True, "hr_upscaler": "Latent", "hr_scale": 2, "hr_second_pass_steps": 2,
        "denoising_strength": 0.7,
    }  # fmt: skip
    made = host.animate(probe=OFF, request=request, prompt_easing="step").frames
    cats = plain(host, **{**request, "prompt": "a cat"})
    assert made.shape == cats.shape
    assert media.difference(made[:2], cats[:2]) <= 1
    assert media.difference(made[2:], cats[2:]) > 1


def test_img2img_travels(host, probe):
    picture = media.base64_picture(128, host.size)
    body = host.request({}, OFF, prompt=TWO, init_images=[picture], denoising_strength=0.9)
    host.img2img(body)  # A1111's first img2img after a txt2img differs from later ones, with or without AnimateDiff
    made = host.img2img(body).frames
    still = host.img2img({**body, "prompt": "a cat"}).frames
    assert media.difference(made[:1], still[:1]) <= 1
    assert media.difference(made[2:], still[2:]) > 0


def test_the_infotext_keeps_the_whole_prompt(host):
    made = host.animate(request={"prompt": TWO, "negative_prompt": "0: x\n3: y"})
    for text in [*made.info["infotexts"], media.infotext_inside(made.data[-1])]:
        assert text.startswith(f"{TWO}\nNegative prompt: 0: x\n3: y\nSteps:")
    assert made.info["all_prompts"] == [TWO] * host.frames


def test_a_video_of_two_travels_in_both(host, probe):
    made = host.animate(probe=OFF, request={"prompt": TWO, "n_iter": 2}, prompt_easing="step").frames
    cats = plain(host, "a cat", n_iter=2)
    assert media.difference(made[[0, 1, 4, 5]], cats[[0, 1, 4, 5]]) <= 1
    assert media.difference(made[[2, 3, 6, 7]], cats[[2, 3, 6, 7]]) > 1


@pytest.mark.parametrize("prompt", ["16:9 photo of a cat", "a cat\na dog, 12:30"])
def test_ordinary_lines_stay_text(host, probe, prompt):
    assert media.difference(travelled(host, prompt), plain(host, prompt)) == 0


@pytest.mark.parametrize(
    ("request_fields", "words"),
    [
        ({"prompt": "0: a\n4: b"}, ["prompt", "line 2", "4: b", "0 to 3"]),
        ({"prompt": "0: a\nnight\n2: b"}, ["line 2", "night"]),
        ({"prompt": "0: a\n2: <lora:x:1> b"}, ["<lora:x:1>"]),
        ({"negative_prompt": "16:9 photo\n0: b"}, ["negative_prompt", "16:9 photo"]),
        ({"prompt": "a", "enable_hr": True, "hr_scale": 2, "hr_prompt": "9: b"}, ["hr_prompt", "9: b"]),
    ],
)
def test_a_keyframe_that_cannot_be_is_refused(host, outputs, request_fields, words):
    with outputs.added() as new:
        answer = host.try_animate(request=request_fields)
    assert answer.status != 200
    assert all(word in answer.error() for word in words), answer.error()
    assert new == []
