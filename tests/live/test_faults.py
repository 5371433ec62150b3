"""Whatever goes wrong: a clear answer, and plain images as they were before, bit by bit."""

import threading
import time

import pytest

from tests.live import media

MESSAGE = "the probe raised this"
WINDOWS = {"video_length": 6, "batch_size": 4, "overlap": 2}


def assert_works_again(host, plain, wanted=None):
    plain.assert_unchanged()
    made = host.animate()
    assert len(made.data) == host.frames
    if wanted is not None:
        assert media.difference(made.frames, wanted) == 0


@pytest.fixture(scope="module")
def usual_frames(session_host):
    return session_host.animate().frames


@pytest.mark.parametrize("family", ["v1", "v2", "v3"])
@pytest.mark.parametrize("call", [1, 2])
@pytest.mark.parametrize("name", ["Euler", "DDIM"])
def test_an_exception_in_the_unet(host, plain, probe, modules, usual_frames, family, call, name):
    fault = {"fault": {"where": "unet", "call": call}}
    before = host.plain(sampler_name=name)
    request = {"sampler_name": name, "steps": 4}
    answer = host.try_animate(probe=fault, model=modules[family], request=request)
    assert answer.status == 500
    assert MESSAGE in answer.text()
    assert media.difference(host.plain(sampler_name=name), before) == 0
    assert_works_again(host, plain, usual_frames)


@pytest.mark.parametrize("error", ["MemoryError", "OutOfMemoryError"])
def test_out_of_memory_in_the_unet(host, plain, probe, usual_frames, error):
    answer = host.try_animate(probe={"fault": {"where": "unet", "call": 2, "error": error}})
    assert answer.status == 500
    assert MESSAGE in answer.text()
    assert_works_again(host, plain, usual_frames)


@pytest.mark.parametrize("call", [1, 2, 4])
def test_an_exception_inside_the_windows(host, plain, probe, usual_frames, call):
    answer = host.try_animate(probe={"fault": {"where": "unet", "call": call}}, **WINDOWS)
    assert answer.status == 500
    assert_works_again(host, plain, usual_frames)


def test_an_exception_in_the_hires_pass(host, plain, probe, usual_frames):
    request = {"enable_hr": True, "hr_upscaler": "Latent", "hr_scale": 2, "denoising_strength": 0.7}
    answer = host.try_animate(probe={"fault": {"where": "unet", "call": 3}}, request=request)
    assert answer.status == 500
    assert_works_again(host, plain, usual_frames)


def test_an_exception_after_the_refiners_switch(host, plain, probe, second_checkpoint, usual_frames):
    request = {"refiner_checkpoint": second_checkpoint, "refiner_switch_at": 0.5, "steps": 4}
    answer = host.try_animate(probe={"fault": {"where": "unet", "call": 4}}, request=request)
    # A1111 may load the refiner as another network, where the probe is not
    assert answer.status in {200, 500}
    assert_works_again(host, plain, usual_frames)


@pytest.mark.parametrize("call", [1, 3])
def test_an_exception_in_the_vae(host, plain, probe, usual_frames, call):
    answer = host.try_animate(probe={"fault": {"where": "vae", "call": call}})
    assert answer.status == 500
    assert MESSAGE in answer.text()
    assert_works_again(host, plain, usual_frames)


@pytest.mark.parametrize("name", ["GIF", "MP4", "WEBP", "WEBM", "PNG"])
@pytest.mark.parametrize("error", ["RuntimeError", "MemoryError"])
def test_a_format_that_fails_costs_only_itself(host, plain, probe, usual_frames, name, error):
    formats = ["GIF", "MP4", "WEBP", "WEBM", "PNG"]
    fault = {"fault": {"where": "writer", "format": name, "error": error}}
    made = host.animate(probe=fault, format=formats)
    assert made.formats == [other for other in formats if other not in {name, "PNG"}]
    told = made.info["extra_generation_params"].get("AnimateDiff errors") or made.body["info"]
    assert name in str(told)
    assert_works_again(host, plain, usual_frames)


def test_a_format_that_fails_leaves_no_file(host, probe, outputs):
    with outputs.added() as new:
        host.animate(probe={"fault": {"where": "writer", "format": "GIF"}}, format=["GIF", "WEBP"])
    assert not [path for path in new if path.endswith(".gif") or "/." in path]


def test_the_only_format_failing_still_answers_the_frames(host, plain, probe, usual_frames):
    made = host.animate(probe={"fault": {"where": "writer", "format": "GIF"}}, format=["GIF"])
    assert made.formats == ["PNG"] * host.frames
    assert media.difference(made.frames, usual_frames) == 0
    plain.assert_unchanged()


def test_writing_failing_as_a_whole(host, plain, probe, usual_frames):
    answer = host.try_animate(probe={"fault": {"where": "videos", "error": "OSError"}}, format=["GIF"])
    assert answer.status in {200, 500}
    assert_works_again(host, plain, usual_frames)


# interrupt and skip


@pytest.mark.parametrize("how", ["interrupt", "skip"])
@pytest.mark.parametrize("call", [1, 2, 3])
@pytest.mark.parametrize("name", ["Euler", "DDIM"])
def test_stopping_answers_every_frame(host, plain, probe, usual_frames, how, call, name):
    request = {"steps": 4, "sampler_name": name}
    made = host.animate(probe={"stop": {"how": how, "call": call}}, request=request)
    assert len(made.data) == host.frames
    assert_works_again(host, plain, usual_frames)


@pytest.mark.parametrize("how", ["interrupt", "skip"])
@pytest.mark.parametrize("call", [1, 2, 3, 4, 5])
def test_stopping_inside_the_windows_answers_every_frame(host, plain, probe, usual_frames, how, call):
    made = host.animate(probe={"stop": {"how": how, "call": call}}, request={"steps": 4}, **WINDOWS)
    assert len(made.data) == 6
    assert len(host.seen()["rows"]) == call
    assert_works_again(host, plain, usual_frames)


def test_stopping_a_video_of_many_writes_it(host, probe):
    stop = {"stop": {"how": "interrupt", "call": 2}}
    made = host.animate(probe=stop, format=["GIF"], request={"steps": 4, "n_iter": 3})
    assert made.formats == ["GIF"] * len(made.data)
    assert 1 <= len(made.data) < 3
    assert media.facts(made.data[0]).frames == host.frames


def test_skipping_a_video_of_two_makes_the_second_whole(host, probe):
    whole = host.animate(request={"steps": 4, "n_iter": 2}).frames
    made = host.animate(probe={"stop": {"how": "skip", "call": 2}}, request={"steps": 4, "n_iter": 2})
    assert len(made.data) == 2 * host.frames
    assert media.difference(made.frames[host.frames :], whole[host.frames :]) == 0


def test_stopping_free_init_ends_it(host, probe):
    stop = {"stop": {"how": "interrupt", "call": 2}}
    made = host.animate(probe=stop, freeinit_enable=True, freeinit_iters=5)
    assert len(made.data) == host.frames
    assert len(host.seen()["rows"]) == 2


def _in_the_middle(host, body, act):
    """Start a generation, do ``act`` while it samples, and return its answer."""
    answers = []
    thread = threading.Thread(target=lambda: answers.append(host.try_txt2img(body)))
    thread.start()
    end = time.monotonic() + 120
    while thread.is_alive() and time.monotonic() < end:
        if host.progress()["state"]["sampling_step"] > 0:
            act()
            break
        time.sleep(0.02)
    thread.join()
    return answers[0]


def test_interrupt_over_http(host, plain, usual_frames):
    body = host.request({}, steps=60)
    answer = _in_the_middle(host, body, host.interrupt)
    assert answer.status == 200
    assert len(answer.body["images"]) == host.frames
    assert_works_again(host, plain, usual_frames)


def test_a_checkpoint_switch_asked_for_in_the_middle_of_a_run(host, plain, second_checkpoint, usual_frames):
    loaded = host.options()["sd_model_checkpoint"]
    body = host.request({}, steps=40)
    wanted = host.txt2img(body).frames
    answer = _in_the_middle(host, body, lambda: host.set_options(sd_model_checkpoint=second_checkpoint))
    assert answer.status == 200
    pictures = [media.pixels(media.decode(image)) for image in answer.body["images"]]
    assert media.difference(media.np.stack(pictures), wanted) == 0
    host.set_options(sd_model_checkpoint=loaded)
    assert_works_again(host, plain, usual_frames)


# refused requests


REFUSED = {
    "unknown field": {"fsp": 8},
    "bad value": {"fps": 0},
    "missing module": {"model": "no_such_module.safetensors"},
    "outside the folder": {"model": "../secret.safetensors"},
    "video input": {"video_source": "clip.mp4"},
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_request(host, plain, usual_frames, case):
    answer = host.try_animate(**REFUSED[case])
    assert answer.status == 422
    assert next(iter(REFUSED[case])) in answer.error() or "no_such_module" in answer.error()
    assert_works_again(host, plain, usual_frames)


def test_a_network_in_place_of_the_checkpoints_own_is_refused(host, plain, probe, usual_frames):
    answer = host.try_animate(probe={"sd_unet": "[TRT] fast"})
    assert answer.status == 422
    assert "[TRT] fast" in answer.error()
    assert_works_again(host, plain, usual_frames)


def test_a_misspelt_field_is_refused_with_a_suggestion(host):
    assert "fps" in host.try_animate(fsp=8).error()


def test_a_missing_module_is_refused_with_the_ones_there_are(host):
    answer = host.try_animate(model="no_such_module.safetensors")
    assert "no_such_module.safetensors" in answer.error()
    assert host.model in answer.error()


def test_a_value_out_of_bounds_is_refused_with_the_bounds(host):
    answer = host.try_animate(fps=100000)
    assert "240" in answer.error()


def test_plain_ddim_is_unchanged_by_everything_so_far(host):
    before = host.plain(sampler_name="DDIM")
    host.animate(request={"sampler_name": "DDIM"})
    host.animate(request={"sampler_name": "Euler"})
    assert media.difference(host.plain(sampler_name="DDIM"), before) == 0
