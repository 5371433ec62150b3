"""Names of animations: numbered on, never given twice, safe whatever a request calls itself."""

import datetime
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_animatediff.video import names
from lib_animatediff.video.names import reserve_stem, sanitise_request_id

DAY = datetime.date(2026, 2, 3)


def test_the_first_of_the_day(tmp_path):
    with reserve_stem(tmp_path, 42, today=DAY) as stem:
        assert stem == tmp_path / "AnimateDiff" / "2026-02-03" / "00000-42"
        assert stem.parent.is_dir()
    assert list(stem.parent.iterdir()) == []


def test_today_is_the_day(tmp_path):
    with reserve_stem(str(tmp_path), 1) as stem:
        assert stem.parent.name in {str(datetime.date.today()), str(datetime.date.today() - datetime.timedelta(days=1))}


def test_numbers_go_on_after_files_and_folders(tmp_path):
    folder = tmp_path / "AnimateDiff" / "2026-02-03"
    folder.mkdir(parents=True)
    (folder / "00004-1.gif").touch()
    (folder / "00007-1-mine").mkdir()
    (folder / "notes.txt").touch()
    with reserve_stem(tmp_path, -1, "job 7", today=DAY) as stem:
        assert stem.name == "00008--1-job_7"


def test_a_reserved_number_is_taken_until_it_is_released(tmp_path):
    first, second = reserve_stem(tmp_path, 1, today=DAY), reserve_stem(tmp_path, 1, today=DAY)
    assert [first.stem.name, second.stem.name] == ["00000-1", "00001-1"]
    second.release()
    first.release()
    with reserve_stem(tmp_path, 1, today=DAY) as stem:
        assert stem.name == "00000-1"


def test_a_reservation_ends_with_an_exception(tmp_path):
    def run():
        with reserve_stem(tmp_path, 1, today=DAY):
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        run()
    assert list((tmp_path / "AnimateDiff" / "2026-02-03").iterdir()) == []


def test_many_threads_get_many_names(tmp_path):
    def run(_):
        with reserve_stem(tmp_path, 5, today=DAY) as stem:
            stem.with_name(stem.name + ".gif").open("x").close()
            return stem.name

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(run, range(200)))
    assert len(set(found)) == 200


def test_two_processes_get_different_names(tmp_path):
    script = (
        "import sys, datetime; from pathlib import Path\n"
        "from lib_animatediff.video.names import reserve_stem\n"
        "for _ in range(60):\n"
        "    with reserve_stem(sys.argv[1], 5, today=datetime.date(2026, 2, 3)) as stem:\n"
        "        stem.with_name(stem.name + '.gif').open('x').close()\n"
    )
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", script, str(tmp_path)]
    runs = [subprocess.Popen(command, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}) for _ in range(3)]
    assert [run.wait(timeout=60) for run in runs] == [0, 0, 0]
    assert len(list((tmp_path / "AnimateDiff" / "2026-02-03").iterdir())) == 180


def test_a_run_that_comes_and_goes_while_we_look(tmp_path, monkeypatch):
    """Another run writes and releases between our look into the folder and our reservation."""
    real, looks = names._highest, []

    def highest(folder, *, reservations=True):
        found = real(folder, reservations=reservations)
        if not looks:
            (folder / "00000-9.gif").touch()
        looks.append(found)
        return found

    monkeypatch.setattr(names, "_highest", highest)
    with reserve_stem(tmp_path, 1, today=DAY) as stem:
        assert stem.name == "00001-1"


def test_reservations_of_dead_runs_are_cleared_away(tmp_path):
    folder = tmp_path / "AnimateDiff" / "2026-02-03"
    folder.mkdir(parents=True)
    for name, age in ((".00003.reserved", 2 * 24 * 3600), (".00002.reserved", 60)):
        (folder / name).touch()
        os.utime(folder / name, (time.time() - age,) * 2)
    with reserve_stem(tmp_path, 1, today=DAY) as stem:
        assert stem.name == "00004-1"
    assert [entry.name for entry in folder.iterdir()] == [".00002.reserved"]


@pytest.mark.parametrize(
    ("request_id", "expected"),
    [
        ("", ""),
        ("abc-123_x", "abc-123_x"),
        ("v1.5", "v1.5"),
        ("../../etc/passwd", "____etc_passwd"),
        ("..\\..\\windows", "____windows"),
        ("/absolute", "_absolute"),
        ("C:\\x", "C__x"),
        ("a\0b\nc", "a_b_c"),
        ("...", "_"),
        (".", ""),
        ("  spaces  ", "spaces"),
        ("trailing.", "trailing"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("Com1", "_Com1"),
        ("console", "console"),
        ("猫", "猫"),
        ("e\u0301", "é"),
        ('a<b>c:d"e|f?g*h', "a_b_c_d_e_f_g_h"),
    ],
)
def test_request_ids(request_id, expected):
    assert sanitise_request_id(request_id) == expected


@given(st.text())
def test_any_request_id_is_one_safe_name(request_id):
    safe = sanitise_request_id(request_id)
    assert len(safe.encode("utf-8")) <= 101
    assert not re.search(r'[\x00-\x1f<>:"/\\|?*]|\.\.|^\.|\.$|\s', safe)
    assert sanitise_request_id(safe) == safe


def test_a_long_request_id_is_cut_between_letters(tmp_path):
    with reserve_stem(tmp_path, 2**63, "猫" * 300, today=DAY) as stem:
        assert stem.name.endswith("猫" * 33)
        stem.with_name(stem.name + ".webm").touch()


def test_a_request_id_cannot_leave_the_folder(tmp_path):
    with reserve_stem(tmp_path, 1, "/../../../x", today=DAY) as stem:
        assert stem.parent == tmp_path / "AnimateDiff" / "2026-02-03"
        assert stem.resolve().parent == stem.parent.resolve()
