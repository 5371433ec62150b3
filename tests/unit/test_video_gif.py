"""GIF: loop count, delays, comment and palettes, read from the bytes and not by the library that wrote them."""

import os
import stat
import struct
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lib_animatediff.video.frames import frame_times, gif_times
from lib_animatediff.video.write import WriterOptions, write_animation


def parse(data):
    """A GIF's version, repetitions (None without a NETSCAPE block), comment, delays and palettes."""
    assert data[:6] == b"GIF89a"
    assert data[-1:] == b"\x3b"
    found = {"repetitions": None, "comment": b"", "delays": [], "local": 0, "pictures": 0, "disposals": set()}
    found["size"] = struct.unpack("<HH", data[6:10])
    position = 13 + (6 << (data[10] & 7) if data[10] & 0x80 else 0)

    def blocks(position):
        content = b""
        while data[position]:
            content += data[position + 1 : position + 1 + data[position]]
            position += data[position] + 1
        return content, position + 1

    while data[position] != 0x3B:
        if data[position] == 0x21:
            kind = data[position + 1]
            content, position = blocks(position + 2)
            if kind == 0xFF:
                assert content[:11] == b"NETSCAPE2.0"
                assert content[11] == 1
                assert found["pictures"] == 0
                (found["repetitions"],) = struct.unpack("<H", content[12:14])
            elif kind == 0xFE:
                found["comment"] += content
            elif kind == 0xF9:
                found["disposals"].add(content[0] >> 2 & 7)
                found["delays"].append(struct.unpack("<H", content[1:3])[0])
        else:
            assert data[position] == 0x2C
            flags = data[position + 9]
            found["pictures"] += 1
            found["local"] += flags >> 7
            position += 10 + (6 << (flags & 7) if flags & 0x80 else 0)
            _, position = blocks(position + 1)
    assert position == len(data) - 1
    return found


def noise(count, size=(48, 40), seed=0):
    random = np.random.default_rng(seed)
    return [Image.fromarray(random.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)) for _ in range(count)]


def written(tmp_path, frames, **keywords):
    (result,) = write_animation(frames, tmp_path / "a", ["GIF"], **{"fps": 8, **keywords})
    assert result.error is None
    return parse(result.path.read_bytes()), result


@pytest.mark.parametrize(
    ("loop", "repetitions"), [(0, 0), (1, None), (2, 1), (3, 2), (10, 9), (65536, 65535), (99999, 65535)]
)
def test_the_block_counts_repetitions_after_the_first_play(tmp_path, loop, repetitions):
    found, _ = written(tmp_path, noise(3), loop=loop)
    assert found["repetitions"] == repetitions


@pytest.mark.parametrize("length", [1, 254, 255, 256, 510, 10_000])
def test_comments_of_any_length(tmp_path, length):
    text = ("é" * length)[:length]
    found, _ = written(tmp_path, noise(2), infotext=text)
    assert found["comment"].decode("utf-8") == text


def test_delays_of_usual_speeds(tmp_path):
    assert written(tmp_path, noise(4), fps=8)[0]["delays"] == [13, 12, 13, 12]
    assert written(tmp_path, noise(3), fps=10)[0]["delays"] == [10, 10, 10]
    assert written(tmp_path, noise(6), fps=30)[0]["delays"] == [3, 4, 3, 3, 4, 3]


@given(st.integers(1, 400), st.fractions(1, 240, max_denominator=1001))
def test_times_add_up_at_every_speed(count, fps):
    times = gif_times(count, fps)
    assert [number for number, _ in times] == sorted({number for number, _ in times})
    assert times[0][0] == 0
    assert times[-1][0] < count
    assert all(delay >= 2 for _, delay in times)
    assert abs(sum(delay for _, delay in times) - 100 * count / fps) <= 1 + (count / fps < 0.02)
    if fps <= 50:
        assert len(times) == count
    milliseconds = frame_times(count, fps, 1000)
    assert len(milliseconds) == count
    assert abs(sum(milliseconds) - 1000 * count / fps) <= 0.5


def test_above_fifty_frames_a_second_the_nearest_are_shown(tmp_path):
    found, result = written(tmp_path, noise(12), fps=240)
    assert found["delays"] == [2, 2, 2] or found["delays"] == [2, 2]
    with Image.open(result.path) as image:
        assert image.n_frames == found["pictures"] == len(found["delays"])


def test_equal_frames_stay_frames(tmp_path):
    found, _ = written(tmp_path, noise(1) * 5)
    assert found["pictures"] == 5
    assert found["local"] == 0
    assert found["disposals"] == {1}


def test_frames_of_few_and_of_many_colours_in_one_file(tmp_path):
    flat = Image.new("RGB", (48, 40), (10, 200, 30))
    (many,) = noise(1)
    _, result = written(tmp_path, [flat, many, flat])
    with Image.open(result.path) as image:
        means = []
        for number in range(3):
            image.seek(number)
            means.append(np.asarray(image.convert("RGB"), float))
    assert np.abs(means[0] - np.asarray(flat, float)).max() == 0
    assert np.abs(means[1] - np.asarray(many, float)).mean() < 25
    assert np.abs(means[2] - np.asarray(flat, float)).max() == 0


@pytest.mark.parametrize("count", [1, 2, 40])
def test_one_palette_for_all(tmp_path, count):
    rows, columns = np.mgrid[:40, :48]
    frames = [
        Image.fromarray(np.stack([columns * 4 + number, rows * 6, np.full_like(rows, 60)], -1).astype(np.uint8))
        for number in range(count)
    ]
    found, result = written(tmp_path, frames, options=WriterOptions(gif_palette=True), infotext="é")
    assert (found["pictures"], found["local"], found["comment"]) == (count, 0, "é".encode())
    with Image.open(result.path) as image:
        for number, frame in enumerate(frames):
            image.seek(number)
            seen = np.asarray(image.convert("RGB"), float)
            assert np.abs(seen - np.asarray(frame, float)).mean() < 12
            assert np.abs(seen.mean((0, 1)) - np.asarray(frame, float).mean((0, 1))).max() < 4


def test_the_palette_holds_the_colours_of_late_frames(tmp_path):
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("black", "white", (255, 0, 0), (0, 0, 255))]
    _, result = written(tmp_path, frames, options=WriterOptions(gif_palette=True))
    with Image.open(result.path) as image:
        for number, frame in enumerate(frames):
            image.seek(number)
            seen = np.asarray(image.convert("RGB"), float)
            assert np.abs(seen - np.asarray(frame, float)).max() <= 4


def gifsicle(folder, script):
    """Puts a program called gifsicle on a path of its own: Python under that name."""
    folder.mkdir()
    program = folder / "gifsicle"
    program.write_text(
        f"#!{sys.executable}\nimport shutil, sys\nsource, target = sys.argv[-3], sys.argv[-1]\n{script}\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return str(folder)


def test_without_gifsicle_the_file_is_good_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    found, result = written(tmp_path, noise(3), options=WriterOptions(gif_gifsicle=True))
    assert found["pictures"] == 3
    assert "gifsicle is not installed" in result.note


@pytest.mark.skipif(os.name == "nt", reason="a script is not a program on Windows")
@pytest.mark.parametrize(
    ("script", "note", "smaller"),
    [
        ("open(target, 'wb').write(open(source, 'rb').read()[:-1].rstrip() + b';')", None, False),
        (
            "d = open(source, 'rb').read(); i = d.index(bytes([0x21, 0xF9])); j = d.index(bytes([0x21, 0xF9]), i + 8)\n"
            "open(target, 'wb').write(d[:j] + b';')",
            None,
            True,
        ),
        ("sys.stderr.write('gifsicle: broken\\n'); sys.exit(1)", "gifsicle failed: gifsicle: broken.", False),
    ],
)
def test_gifsicle(tmp_path, monkeypatch, script, note, smaller):
    monkeypatch.setenv("PATH", gifsicle(tmp_path / "bin", script))
    found, result = written(tmp_path, noise(3), options=WriterOptions(gif_gifsicle=True))
    assert found["pictures"] == (1 if smaller else 3)
    assert (note or "") in (result.note or "")
    assert (result.note is None) == (note is None)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.gif", "bin"]
