"""MP4, WEBM and WEBP: codecs, colour tags, sizes and speeds, read from the files."""

import struct

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lib_animatediff.video.frames import even_rgb, yuv420p
from lib_animatediff.video.metadata import probe
from lib_animatediff.video.write import WriterOptions, write_animation


def colours(count=3, size=(64, 48)):
    palette = [(200, 30, 40), (20, 200, 60), (30, 40, 220), (250, 250, 10), (128, 128, 128), (0, 0, 0)]
    return [Image.new("RGB", size, palette[number % len(palette)]) for number in range(count)]


def written(tmp_path, name, frames, **keywords):
    (result,) = write_animation(frames, tmp_path / "a", [name], **{"fps": 8, **keywords})
    assert result.error is None
    return result.path


@pytest.mark.parametrize(("name", "codec"), [("MP4", "h264"), ("WEBM", "vp9")])
def test_codec_and_colour_tags(tmp_path, name, codec):
    path = written(tmp_path, name, colours(2))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name.startswith((codec, "libvpx-vp9"))
        assert stream.codec_context.pix_fmt == "yuv420p"
        frame = next(container.decode(stream))
        # 1 is BT.709 and limited range in FFmpeg's numbering.
        assert (int(frame.colorspace), int(frame.color_range)) == (1, 1)


@pytest.mark.parametrize("name", ["MP4", "WEBM"])
def test_colours_as_a_player_sees_them(tmp_path, name):
    """FFmpeg's scale filter, which goes by the tags of the file, against the source."""
    frames = colours(6)
    path = written(tmp_path, name, frames, options=WriterOptions(mp4_crf=10))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        graph = av.filter.Graph()
        source = graph.add_buffer(template=stream)
        # The matrix is spelled out from the tag, because old versions of the filter take BT.601 for a bare "rgb24".
        first = next(container.decode(stream))
        assert int(first.colorspace) == 1
        scale = graph.add("scale", "in_color_matrix=bt709:in_range=tv")
        form = graph.add("format", "rgb24")
        sink = graph.add("buffersink")
        source.link_to(scale)
        scale.link_to(form)
        form.link_to(sink)
        graph.configure()
        seen = []
        container.seek(0)
        for frame in container.decode(stream):
            source.push(frame)
            seen.append(sink.pull().to_ndarray())
    assert len(seen) == len(frames)
    for pixels, frame in zip(seen, frames, strict=True):
        assert np.abs(pixels.astype(float).mean((0, 1)) - np.asarray(frame, float)[0, 0]).max() < 4


@pytest.mark.parametrize("name", ["MP4", "WEBM"])
@pytest.mark.parametrize("size", [(63, 48), (64, 47), (33, 35), (2, 2), (513, 16)])
def test_odd_sides_grow_by_repeating_the_edge(tmp_path, name, size):
    path = written(tmp_path, name, colours(2, size))
    assert probe(path).size == (size[0] + size[0] % 2, size[1] + size[1] % 2)


def test_the_edge_is_repeated_right_and_below():
    pixels = np.arange(3 * 5 * 3, dtype=np.uint8).reshape(3, 5, 3)
    even = even_rgb(Image.fromarray(pixels))
    assert even.shape == (4, 6, 3)
    assert (even[:3, :5] == pixels).all()
    assert (even[3, :5] == pixels[2]).all()
    assert (even[:3, 5] == pixels[:, 4]).all()


@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_the_matrix_against_the_standard(rgb):
    planes = yuv420p(np.full((4, 4, 3), rgb, np.uint8))
    y, u, v = float(planes[0, 0]), float(planes[4, 0]), float(planes[5, 0])
    red, green, blue = (value / 255 for value in rgb)
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    assert y == pytest.approx(16 + 219 * luma, abs=0.51)
    assert u == pytest.approx(128 + 224 * (blue - luma) / 1.8556, abs=0.51)
    assert v == pytest.approx(128 + 224 * (red - luma) / 1.5748, abs=0.51)


def test_black_and_white_fill_the_limited_range():
    assert (yuv420p(np.zeros((2, 2, 3), np.uint8)) == [[16, 16], [16, 16], [128, 128]]).all()
    assert (yuv420p(np.full((2, 2, 3), 255, np.uint8)) == [[235, 235], [235, 235], [128, 128]]).all()


@pytest.mark.parametrize("name", ["GIF", "MP4", "WEBM", "WEBP"])
@pytest.mark.parametrize("fps", [1, 7, 8, 12.5, 24, 29.97, 50, 60, 240])
def test_speed(tmp_path, name, fps):
    frames = [Image.new("RGB", (16, 16), (number * 8, 255 - number * 8, 60)) for number in range(24)]
    info = probe(written(tmp_path, name, frames, fps=fps))
    if name == "GIF" and fps > 50:
        assert info.fps == pytest.approx(50)
        assert info.frames / info.fps == pytest.approx(24 / fps, abs=0.01)
    else:
        assert info.frames == 24
        assert info.frames / info.fps == pytest.approx(24 / fps, abs=0.01)


def test_mp4_index_comes_before_the_pictures(tmp_path):
    data = written(tmp_path, "MP4", colours(8)).read_bytes()
    position, boxes = 0, []
    while position < len(data):
        size, kind = struct.unpack(">I4s", data[position : position + 8])
        boxes.append(kind)
        position += size
    assert boxes.index(b"moov") < boxes.index(b"mdat")


def test_mp4_settings_reach_the_encoder(tmp_path):
    random = np.random.default_rng(0)
    frames = [Image.fromarray(random.integers(0, 256, (64, 64, 3), dtype=np.uint8)) for _ in range(4)]
    sizes = {}
    for crf in (10, 23, 45):
        options = WriterOptions(mp4_crf=crf, mp4_preset="ultrafast", mp4_tune="grain")
        sizes[crf] = written(tmp_path, "MP4", frames, options=options).stat().st_size
    assert sizes[10] > sizes[23] > sizes[45]
    # x264 writes its settings into the stream.
    data = (tmp_path / "a.mp4").read_bytes()
    assert b"crf=45.0" in data
    assert b"subme=0" in data


def test_a_preset_there_is_not_costs_only_mp4(tmp_path):
    results = write_animation(
        colours(), tmp_path / "a", ["MP4", "GIF"], fps=8, options=WriterOptions(mp4_preset="fastest")
    )
    assert results[0].path is None
    assert results[0].error.startswith("MP4 was not written")
    assert results[1].error is None
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.gif"]


def chunks(data):
    assert data[:4] == b"RIFF"
    assert data[8:12] == b"WEBP"
    position = 12
    while position < len(data):
        (size,) = struct.unpack("<I", data[position + 4 : position + 8])
        yield data[position : position + 4], data[position + 8 : position + 8 + size]
        position += 8 + size + size % 2


@pytest.mark.parametrize("loop", [0, 1, 5])
def test_webp_plays_as_often_as_asked(tmp_path, loop):
    data = written(tmp_path, "WEBP", colours(3), loop=loop).read_bytes()
    (animation,) = [content for kind, content in chunks(data) if kind == b"ANIM"]
    assert struct.unpack("<H", animation[4:6]) == (loop,)


def test_webp_settings_reach_the_encoder(tmp_path):
    random = np.random.default_rng(0)
    frames = [Image.fromarray(random.integers(0, 256, (64, 64, 3), dtype=np.uint8)) for _ in range(3)]
    low = written(tmp_path, "WEBP", frames, options=WriterOptions(webp_quality=10)).stat().st_size
    high = written(tmp_path, "WEBP", frames, options=WriterOptions(webp_quality=95)).stat().st_size
    assert low < high
    path = written(tmp_path, "WEBP", frames, options=WriterOptions(webp_lossless=True))
    with Image.open(path) as image:
        for number, frame in enumerate(frames):
            image.seek(number)
            assert (np.asarray(image.convert("RGB")) == np.asarray(frame)).all()


def test_webp_leaves_no_ghosts(tmp_path):
    frames = []
    rows, columns = np.mgrid[:97, :131]
    for number in range(8):
        pixels = np.stack([columns * 255 // 130, rows * 255 // 96, np.full_like(rows, 128)], -1).astype(np.uint8)
        pixels[30:60, 10 + 8 * number : 30 + 8 * number] = (230, 20, 20)
        frames.append(Image.fromarray(pixels))
    path = written(tmp_path, "WEBP", frames)
    with Image.open(path) as image:
        image.seek(7)
        seen = np.asarray(image.convert("RGB"), float)
    behind = np.abs(seen - np.asarray(frames[7], float))[25:65, 5:60]
    assert behind.max() < 30


def test_frames_that_are_open_many_paged_files(tmp_path):
    """A frame may be an opened animation itself: only the page it shows belongs to us."""
    source = written(tmp_path, "WEBP", colours(4))
    first = Image.open(source)
    results = write_animation([first, *colours(2)], tmp_path / "b", ["GIF", "WEBP", "PNG", "MP4"], fps=8)
    assert [probe(result.path).frames for result in results] == [3, 3, 3, 3]
