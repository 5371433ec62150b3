"""Other people's clients, and several of them at once."""

import threading
import urllib.parse

import pytest

from tests.live import media
from tests.live.client import SCRIPT


@pytest.fixture
def webuiapi_client(webui_url):
    webuiapi = pytest.importorskip("webuiapi", reason="the client webuiapi is not installed (pip install webuiapi)")
    address = urllib.parse.urlsplit(webui_url)
    return webuiapi, webuiapi.WebUIApi(host=address.hostname, port=address.port)


def test_webuiapi_makes_a_gif(host, webuiapi_client):
    webuiapi, client = webuiapi_client
    animation = webuiapi.AnimateDiff(
        model=host.model,
        enable=True,
        video_length=host.frames,
        batch_size=host.frames,
        closed_loop="N",
        format=["GIF"],
    )
    made = client.txt2img(
        prompt="a cat",
        negative_prompt="bad",
        seed=1,
        steps=2,
        width=host.size,
        height=host.size,
        sampler_name="Euler",
        cfg_scale=7,
        animatediff=animation,
    )
    gif = made.image
    assert gif.format == "GIF"
    assert gif.n_frames == host.frames


def test_webuiapi_makes_a_gif_of_an_image(host, webuiapi_client):
    from io import BytesIO

    from PIL import Image

    webuiapi, client = webuiapi_client
    picture = Image.open(BytesIO(media.decode(media.base64_picture(size=host.size))))
    animation = webuiapi.AnimateDiff(
        model=host.model, enable=True, video_length=host.frames, batch_size=host.frames, format=["GIF"]
    )
    made = client.img2img(
        images=[picture], prompt="a cat", seed=1, steps=3, width=host.size, height=host.size, animatediff=animation
    )
    assert made.image.n_frames >= host.frames


def test_webuiapi_without_animatediff_makes_a_plain_image(host, plain, webuiapi_client):
    """The client sends {"args": [False]} when it knows of the extension and does not use it."""
    _, client = webuiapi_client
    made = client.txt2img(
        prompt="a cat",
        negative_prompt="bad",
        seed=1,
        steps=host.steps,
        width=host.size,
        height=host.size,
        sampler_name="Euler",
        cfg_scale=7,
    )
    assert media.difference(media.np.asarray(made.image.convert("RGB")), plain.pictures[0]) == 0


def at_once(calls):
    results = [None] * len(calls)

    def run(place, call):
        results[place] = call()

    threads = [threading.Thread(target=run, args=entry) for entry in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_two_animations_at_once_are_what_they_are_one_by_one(host, modules):
    def one():
        return host.animate(model=modules.v1, video_length=3).frames

    def two():
        return host.animate(model=modules.v2, video_length=5, request={"seed": 9}).frames

    wanted = [one(), two()]
    for made, frames in zip(at_once([one, two]), wanted, strict=True):
        assert media.difference(made, frames) == 0


def test_plain_images_beside_an_animation_are_plain(host, plain):
    made = at_once([lambda: host.animate().frames, host.plain, host.plain])
    assert media.difference(made[1], plain.pictures) == 0
    assert media.difference(made[2], plain.pictures) == 0
    assert media.difference(made[0], host.animate().frames) == 0


def test_refused_requests_beside_an_animation_harm_neither(host):
    bodies = [host.request({}), host.request({"fps": 0})]
    good, bad = at_once([lambda: host.try_txt2img(bodies[0]), lambda: host.try_txt2img(bodies[1])])
    assert (good.status, bad.status) == (200, 422)


def test_videos_made_at_once_get_names_of_their_own(host, outputs):
    with outputs.added() as new:
        at_once([lambda: host.animate(format=["GIF"])] * 3)
    assert len([path for path in new if path.endswith(".gif")]) == 3


def test_an_unknown_script_beside_ours_is_the_hosts_error(host):
    body = host.request({}, alwayson_scripts={"no such script": {"args": []}})
    assert SCRIPT in body["alwayson_scripts"]
    assert host.try_txt2img(body).status == 422
