"""Prompts and guidance in every shape the host batches them."""

import pytest

from tests.live import media

LONG = ", ".join(f"a very detailed painting of thing number {i}" for i in range(20))
OFF = {"motion": "off", "schedule": "host"}


def still_and_off(host, **request):
    still = host.plain(batch_size=host.frames, **request)
    return still, host.animate(probe=OFF, request=request).frames


LENGTHS = {
    "long prompt": {"prompt": LONG},
    "long negative": {"negative_prompt": LONG},
    "both long": {"prompt": LONG, "negative_prompt": LONG + " again " + LONG},
    "no negative": {"negative_prompt": ""},
    "no prompt": {"prompt": ""},
}


@pytest.mark.parametrize("form", LENGTHS)
@pytest.mark.parametrize("family", ["v1", "v3"])
def test_prompts_of_any_length(host, modules, form, family):
    made = host.animate(model=modules[family], request=LENGTHS[form])
    assert len(made.data) == host.frames


@pytest.mark.parametrize("form", LENGTHS)
def test_prompts_of_any_length_without_motion_are_the_plain_batch(host, probe, form):
    assert media.difference(*still_and_off(host, **LENGTHS[form])) == 0


def test_an_unpadded_long_prompt_is_computed_apart_from_the_negative(host, probe, options):
    options(pad_cond_uncond=False, pad_cond_uncond_v0=False)
    host.animate(probe={}, request={"prompt": LONG})
    if host.engine() == "forge":  # repeats the shorter one where that makes them fit
        assert set(host.seen()["rows"]) <= {host.frames, 2 * host.frames}
    else:
        assert set(host.seen()["rows"]) == {host.frames}


@pytest.mark.parametrize("option", ["pad_cond_uncond", "pad_cond_uncond_v0"])
def test_padded_long_prompts(host, probe, options, option):
    options(**{option: True})
    assert media.difference(*still_and_off(host, prompt=LONG)) == 0
    assert len(host.animate(request={"prompt": LONG}).data) == host.frames


@pytest.mark.parametrize("family", ["v1", "v3"])
def test_batch_cond_uncond_off_equals_on(host, modules, options, family):
    together = host.animate(model=modules[family]).frames
    options(batch_cond_uncond=False)
    apart = host.animate(model=modules[family]).frames
    assert media.difference(together, apart) <= 1


def test_batch_cond_uncond_off_computes_prompt_and_negative_apart(host, probe, options):
    if host.engine() == "forge":
        pytest.skip("the Forge family decides by the memory that is free")
    options(batch_cond_uncond=False)
    host.animate(probe={})
    assert set(host.seen()["rows"]) == {host.frames}


def test_negative_guidance_minimum_sigma_skips_the_negative_on_some_steps(host, probe):
    request = {"s_min_uncond": 4.0, "steps": 6}
    host.animate(probe={}, request=request)
    assert set(host.seen()["rows"]) == {host.frames, 2 * host.frames}
    assert media.difference(*still_and_off(host, **request)) == 0


def test_negative_guidance_minimum_sigma_in_windows(host, probe):
    request, off = {"s_min_uncond": 4.0, "steps": 6}, {"motion": "off"}
    one = host.animate(probe=off, request=request, video_length=6, batch_size=6).frames
    windows = host.animate(probe=off, request=request, video_length=6, batch_size=4, overlap=2).frames
    assert media.difference(one, windows) <= 1


def test_negative_guidance_minimum_sigma_on_every_step(host, options):
    options(s_min_uncond_all=True)
    assert len(host.animate(request={"s_min_uncond": 4.0, "steps": 6}).data) == host.frames


def test_skip_early_cond(host, probe, options):
    options(skip_early_cond=0.5)
    host.animate(probe={}, request={"steps": 4})
    assert host.seen()["rows"][0] == host.frames
    assert host.seen()["rows"][-1] == 2 * host.frames
    assert media.difference(*still_and_off(host, steps=4)) == 0


@pytest.mark.parametrize("scale", [1, 1.5, 30])
def test_any_guidance_scale(host, probe, scale):
    assert len(host.animate(request={"cfg_scale": scale}).data) == host.frames
    assert media.difference(*still_and_off(host, cfg_scale=scale)) == 0


# AND: the host hands its rows over frame by frame


@pytest.mark.parametrize("family", ["v1", "v3"])
@pytest.mark.parametrize("windows", [{}, {"video_length": 6, "batch_size": 4, "overlap": 2}], ids=["one", "windows"])
def test_and_with_the_weight_0_changes_nothing(host, modules, family, windows):
    alone = host.animate(model=modules[family], **windows).frames
    composed = host.animate(model=modules[family], request={"prompt": "a cat :1 AND a dog :0"}, **windows).frames
    assert media.difference(alone, composed) <= 1


def test_and_of_a_prompt_with_itself_is_the_prompt_at_twice_the_guidance(host):
    twice = host.animate(request={"cfg_scale": 14}).frames
    composed = host.animate(request={"prompt": "a cat AND a cat", "cfg_scale": 7}).frames
    assert media.difference(twice, composed) <= 1


@pytest.mark.parametrize("prompt", ["a cat AND a dog", f"a cat AND {LONG} :0.5", f"{LONG} AND a cat AND a dog :0.3"])
def test_and_together_equals_and_apart(host, options, prompt):
    together = host.animate(request={"prompt": prompt}).frames
    options(batch_cond_uncond=False)
    apart = host.animate(request={"prompt": prompt}).frames
    assert media.difference(together, apart) <= 1


@pytest.mark.parametrize("prompt", ["a cat AND a dog", f"a cat AND {LONG} :0.5"])
def test_and_without_motion_is_the_plain_batch(host, probe, prompt):
    assert media.difference(*still_and_off(host, prompt=prompt)) <= 1


def test_and_where_the_negative_is_skipped(host, probe):
    request = {"prompt": "a cat :1 AND a dog :0", "s_min_uncond": 4.0, "steps": 6}
    alone = host.animate(request={**request, "prompt": "a cat"}).frames
    composed = host.animate(probe={}, request=request).frames
    # parts of two weights forbid skipping in some hosts; what counts is the picture
    assert media.difference(alone, composed) <= 1


def test_frames_with_unequal_numbers_of_and_parts_are_refused(host, probe):
    prompts = ["a cat AND a dog"] + ["a cat"] * (host.frames - 1)
    answer = host.try_animate(probe={"prompts": prompts})
    assert answer.status == 422
    assert "AND" in answer.error()


def test_frames_may_have_prompts_of_their_own(host, probe):
    prompts = [f"picture {i}" for i in range(6)]
    off = {"motion": "off", "prompts": prompts}
    one = host.animate(probe=off, video_length=6, batch_size=6).frames
    windows = host.animate(probe=off, video_length=6, batch_size=4, overlap=2).frames
    assert media.difference(one, windows) <= 1


# prompt editing


@pytest.mark.parametrize("prompt", ["a [cat:dog:0.5] here", "a [cat|dog] here"])
def test_prompt_editing(host, probe, prompt):
    request = {"prompt": prompt, "steps": 6}
    assert media.difference(*still_and_off(host, **request)) == 0
    assert media.difference(host.animate(request=request).frames, host.animate(request={"steps": 6}).frames) > 0


@pytest.mark.parametrize("prompt", ["a [cat:dog:0.5] here", "a [cat|dog] here", "[a:b:0.3] AND [c:d:0.6]"])
def test_prompt_editing_in_windows_counts_steps_and_not_windows(host, probe, prompt):
    request, off = {"prompt": prompt, "steps": 6}, {"motion": "off"}
    one = host.animate(probe=off, request=request, video_length=6, batch_size=6).frames
    windows = host.animate(probe=off, request=request, video_length=6, batch_size=4, overlap=2).frames
    assert media.difference(one, windows) <= 1


def test_emphasis_and_break(host):
    prompt = "a (cat:1.3) [in] a hat BREAK in the (rain:0.7)"
    assert len(host.animate(request={"prompt": prompt}).data) == host.frames


def test_clip_skip(host, options):
    options(CLIP_stop_at_last_layers=2)
    before = host.plain()
    assert len(host.animate().data) == host.frames
    assert media.difference(host.plain(), before) == 0


def test_subseeds_move_with_the_frames(host):
    request = {"subseed": 5, "subseed_strength": 0.3}
    made = host.animate(request=request)
    assert len(made.data) == host.frames
    assert len(made.info["all_subseeds"]) == host.frames
