"""Every form of request that clients send (contract 1.1, 1.2)."""

import pytest

from tests.live import media
from tests.live.client import SCRIPT, choices_of

PLAIN_FORMS = {
    "not named": None,
    "no arguments": {},
    "empty arguments": {"args": []},
    "False": {"args": [False]},
    "None": {"args": [None]},
    "empty dict": {"args": [{}]},
    "enable false": {"args": [{"enable": False, "fps": 12}]},
    "disabled, by position": {"args": [False, "x.safetensors", 16, 8]},
}


@pytest.mark.parametrize("form", PLAIN_FORMS)
@pytest.mark.parametrize("key", ["AnimateDiff", "animatediff"])
def test_a_request_that_is_not_enabled_makes_the_plain_image(host, plain, form, key):
    scripts = {} if PLAIN_FORMS[form] is None else {"alwayson_scripts": {key: PLAIN_FORMS[form]}}
    made = host.txt2img(host.body(**scripts))
    assert media.difference(made.frames, plain.pictures) == 0
    assert "AnimateDiff:" not in made.infotext


def test_true_alone_animates_with_the_defaults_of_the_host(host, modules, options):
    """The default motion module may be missing on a test host: the answer then names it."""
    answer = host.try_txt2img(host.body(alwayson_scripts={SCRIPT: {"args": [True]}}))
    if answer.status == 200:
        assert len(answer.body["images"]) >= 1
    else:
        assert answer.status == 422
        assert "motion module" in answer.error()


def test_the_key_may_be_written_in_small_letters(host):
    wanted = host.animate().frames
    body = host.body(alwayson_scripts={"animatediff": {"args": [host.settings()]}})
    assert media.difference(host.txt2img(body).frames, wanted) == 0


def test_a_dict_in_the_first_place_animates(host):
    assert len(host.animate().data) == host.frames


def test_a_bare_string_is_a_format(host):
    made = host.animate(format="GIF")
    assert made.formats == ["GIF"]


def test_formats_may_be_a_string_with_commas_and_in_small_letters(host):
    made = host.animate(format="gif, webp")
    assert made.formats == ["GIF", "WEBP"]


def test_interpolation_words_of_old_clients_are_off(host):
    for word in ("NO", "off", "Off"):
        assert len(host.animate(interp=word).data) == host.frames, word


def test_numbers_may_be_whole_floats_and_texts(host):
    wanted = host.animate().frames
    settings = {**host.settings(), "video_length": str(host.frames), "batch_size": float(host.frames), "fps": "8"}
    made = host.txt2img(host.body(alwayson_scripts={SCRIPT: {"args": [settings]}}))
    assert media.difference(made.frames, wanted) == 0


def test_internal_keys_sent_back_are_tolerated(host):
    wanted = host.animate().frames
    made = host.animate(is_i2i_batch=False, video_default=True, prompt_scheduler=None, video_path="", mask_path="")
    assert media.difference(made.frames, wanted) == 0


def test_the_default_that_script_info_shows_can_be_sent_back_whole(host):
    """The incumbent shows one argument whose value is a dict of all settings; a panel shows one for each component."""
    entry = host.script_info()[0]
    values = [argument["value"] for argument in entry["args"]]
    if len(values) == 1 and isinstance(values[0], dict):
        body = host.body(alwayson_scripts={SCRIPT: {"args": [{**values[0], **host.settings()}]}})
        assert len(host.txt2img(body).data) == host.frames
    else:
        values[0] = False
        made = host.txt2img(host.body(alwayson_scripts={SCRIPT: {"args": values}}))
        assert len(made.data) == 1


def test_settings_by_position_in_the_order_of_the_panel(host):
    entry = host.script_info()[0]
    by_label = {argument["label"]: argument["value"] for argument in entry["args"]}
    by_label.update(
        {
            "Enable AnimateDiff": True,
            "Motion module": host.model,
            "Number of frames": host.frames,
            "Context batch size": host.frames,
            "Closed loop": "N",
            "Save format": ["PNG"],
        }
    )
    wanted = host.animate().frames
    body = host.body(alwayson_scripts={SCRIPT: {"args": list(by_label.values())}})
    assert media.difference(host.txt2img(body).frames, wanted) == 0


def test_dicts_one_for_each_setting_are_added_up(host):
    wanted = host.animate().frames
    parts = [{name: value} for name, value in host.settings().items()]
    body = host.body(alwayson_scripts={SCRIPT: {"args": parts}})
    if len(parts) > len(host.script_info()[0]["args"]):
        pytest.skip("the host hands over fewer arguments")
    assert media.difference(host.txt2img(body).frames, wanted) == 0


def test_the_infotext_field_brings_the_settings(host):
    made = host.animate(fps=5, video_length=3)
    body = host.body(infotext=made.infotext, alwayson_scripts={SCRIPT: {"args": [{"enable": True, "format": ["PNG"]}]}})
    again = host.txt2img(body)
    assert len(again.data) == 3
    assert "fps: 5" in again.infotext
    assert media.difference(again.frames, made.frames) == 0


def test_a_setting_of_the_request_wins_over_the_infotext_field(host):
    made = host.animate(fps=5, video_length=3)
    settings = {"enable": True, "format": ["PNG"], "fps": 7}
    again = host.txt2img(host.body(infotext=made.infotext, alwayson_scripts={SCRIPT: {"args": [settings]}}))
    assert "fps: 7" in again.infotext


def test_one_request_does_not_change_the_defaults_of_the_next(host):
    host.animate(video_length=3, fps=5)
    entry = host.script_info()[0]
    body = host.body(alwayson_scripts={SCRIPT: {"args": [{"enable": True, "model": host.model, "video_length": 2}]}})
    made = host.txt2img(body)
    assert "fps: 8" in made.infotext
    assert entry == host.script_info()[0]


def test_frames_fewer_than_the_context_length_give_that_many(host, probe):
    made = host.animate(probe={}, video_length=2, batch_size=16)
    assert len(made.data) == 2
    assert host.seen()["batch_size"] == 2


def test_video_length_0_makes_one_context_of_frames(host):
    assert len(host.animate(video_length=0, batch_size=3).data) == 3


def test_the_users_batch_size_is_replaced_by_the_frames(host):
    wanted = host.animate().frames
    assert media.difference(host.animate(request={"batch_size": 3}).frames, wanted) == 0


def test_one_frame_alone_is_a_video_too(host):
    assert len(host.animate(video_length=1, batch_size=1).data) == 1


@pytest.mark.parametrize("family", ["v1", "v2", "v3"])
def test_each_family_moves_the_picture(host, modules, family):
    still = host.plain(batch_size=host.frames)
    moving = host.animate(model=modules[family]).frames
    assert media.difference(still, moving) > 8
    assert len({frame.tobytes() for frame in moving}) == host.frames


@pytest.mark.parametrize(("family", "slots"), [("v1", 20), ("v2", 21), ("v3", 20)])
def test_each_family_sits_in_its_slots_during_the_run_only(host, probe, modules, family, slots):
    before = host.probe_state()["model"]["hooks"]
    host.animate(probe={}, model=modules[family])
    seen = host.seen()
    # hooks of the host itself (low VRAM) stand in both numbers
    idle = host.probe_state()["model"]["hooks"]
    assert before == idle
    assert seen["motion_calls"] == slots * len(seen["rows"])


@pytest.mark.parametrize("family", ["v2", "v3"])
def test_motion_that_does_nothing_is_the_plain_batch(host, probe, modules, family):
    still = host.plain(batch_size=host.frames)
    made = host.animate(probe={"motion": "off", "schedule": "host"}, model=modules[family])
    assert media.difference(made.frames, still) == 0


def test_the_motion_modules_noise_schedule_is_used(host, probe):
    """With the motion off, what is left of the animation is its own schedule."""
    still = host.plain(batch_size=host.frames)
    assert media.difference(host.animate(probe={"motion": "off"}).frames, still) > 0


def test_v1_normalises_across_frames(host, probe, modules):
    still = host.plain(batch_size=host.frames)
    made = host.animate(probe={"motion": "off", "schedule": "host"}, model=modules.v1)
    assert media.difference(made.frames, still) > 0


def test_the_same_request_gives_the_same_frames(host):
    assert media.difference(host.animate().frames, host.animate().frames) == 0


def test_use_main_seed_gives_every_frame_the_first_seed(host):
    made = host.animate(use_main_seed=True)
    assert made.info["all_seeds"] == [1] * host.frames


def test_free_init_samples_as_often_as_it_is_told(host, probe):
    once = host.animate(probe={})
    calls = len(host.seen()["rows"])
    made = host.animate(probe={}, freeinit_enable=True, freeinit_iters=3)
    assert len(host.seen()["rows"]) == 3 * calls
    assert media.difference(made.frames, once.frames) > 0
    assert "freeinit_iters: 3" in made.infotext


def test_a_full_context_is_sampled_and_its_beginning_shown(host, probe):
    whole = host.animate(probe={}, video_length=6, batch_size=6)
    wanted = {"video_length": 3, "batch_size": 6, "full_context": True}
    made = host.animate(probe={}, format=["Frame", "GIF"], request={"n_iter": 2}, **wanted)
    assert max(host.seen()["rows"]) == 12
    assert made.formats == ["GIF", "GIF", *["PNG"] * 6]
    assert media.difference(made.frames[:3], whole.frames[:3]) <= 1
    assert made.info["all_seeds"] == [1, 2, 3, 7, 8, 9]
    assert len(made.info["infotexts"]) == len(made.info["all_prompts"]) == 6


def test_free_inits_fast_sampling_takes_fewer_steps_at_first(host, probe):
    request = {"steps": 4}
    host.animate(probe={}, request=request)
    a_step = len(host.seen()["rows"]) // 4
    made = host.animate(probe={}, request=request, freeinit_enable=True, freeinit_iters=4, freeinit_fast=True)
    assert len(host.seen()["rows"]) == (1 + 2 + 3 + 4) * a_step
    assert "freeinit_fast: True" in made.infotext


@pytest.mark.parametrize("kind", ["butterworth", "gaussian", "box", "ideal"])
def test_each_filter_of_free_init_runs(host, kind):
    assert len(host.animate(freeinit_enable=True, freeinit_iters=2, freeinit_filter=kind).data) == host.frames


def test_the_panel_lists_motion_modules_and_nothing_else(host, modules):
    names = choices_of(host.script_info()[0], "Motion module")
    assert {modules.v1, modules.v2, modules.v3} <= set(names)
