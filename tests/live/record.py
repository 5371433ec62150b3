"""Frames of a fixed list of requests as a file, and the comparison of two such files.

    python -m tests.live.record URL OUT.npz [--v1 NAME --v2 NAME --v3 NAME] [--size 64] [--frames 8]
    python -m tests.live.record compare A.npz B.npz [--limit 0.01] [--times-plain 1.5]

Record one host with the extension and one with another, or two hosts, and compare: mean and largest difference of each
case in steps of 255. The exit status is 1 where a mean is above --limit, or above --times-plain times the mean of the
plain images of the same sampler.
"""

import argparse
import sys
import urllib.parse
from pathlib import Path

import numpy as np

from tests.live.client import SCRIPT, Host, RefusedError, choices_of
from tests.live.conftest import _modules_by_family

# name -> (family or None, sampler, schedule type)
CASES = {
    "plain Euler": (None, "Euler", "Automatic"),
    "v1 Euler": ("v1", "Euler", "Automatic"),
    "v2 Euler": ("v2", "Euler", "Automatic"),
    "v3 Euler": ("v3", "Euler", "Automatic"),
    "plain DDIM": (None, "DDIM", "Automatic"),
    "v1 DDIM": ("v1", "DDIM", "Automatic"),
    "v2 DDIM": ("v2", "DDIM", "Automatic"),
    "v3 DDIM": ("v3", "DDIM", "Automatic"),
    "plain DPM++ 2M Karras": (None, "DPM++ 2M", "Karras"),
    "v1 DPM++ 2M Karras": ("v1", "DPM++ 2M", "Karras"),
    "v2 DPM++ 2M Karras": ("v2", "DPM++ 2M", "Karras"),
    "v3 DPM++ 2M Karras": ("v3", "DPM++ 2M", "Karras"),
}


def record(host: Host, names: dict[str, str], frames: int, steps: int, cases: list[str]) -> dict[str, np.ndarray]:
    """Frames of each case (frames, height, width, 3), uint8. The request is one that every AnimateDiff takes."""
    recorded = {}
    for case in cases:
        family, sampler, scheduler = CASES[case]
        body = host.body(sampler_name=sampler, scheduler=scheduler, steps=steps)
        if family is None:
            body["batch_size"] = frames
        else:
            settings = {
                "enable": True,
                "model": names[family],
                "video_length": frames,
                "batch_size": frames,
                "closed_loop": "N",
                "format": ["Frame", "PNG"],
            }
            body["alwayson_scripts"] = {SCRIPT: {"args": [settings]}}
        made = host.txt2img(body)
        if family is None and len(made.data) > frames:
            made.data = made.data[1:]  # a grid in front
        if len(made.frames) != frames:
            raise SystemExit(f"{case}: {len(made.frames)} frames instead of {frames}; see the host's log")
        recorded[case] = made.frames
        print(f"{case}: {made.frames.shape} {made.seconds:.1f} s", flush=True)
    return recorded


def compare(a: Path, b: Path, limit: float | None, times_plain: float | None) -> bool:
    """Print the differences of two recordings; whether all means are within the limits."""
    good, plain = True, {}
    with np.load(a) as first, np.load(b) as second:
        for case in first.files:
            if case not in second.files:
                print(f"{case:24} not in {b}")
                continue
            if first[case].shape != second[case].shape:
                print(f"{case:24} shapes {first[case].shape} and {second[case].shape}")
                good = False
                continue
            gap = np.abs(first[case].astype(int) - second[case].astype(int))
            mean, sampler = gap.mean(), case.split(maxsplit=1)[1]
            good &= limit is None or mean <= limit
            ratio = ""
            if CASES[case][0] is None:
                plain[sampler] = mean
            elif sampler in plain:
                good &= times_plain is None or mean <= times_plain * plain[sampler]
                ratio = f"  {mean / plain[sampler]:.2f} x plain" if plain[sampler] else ""
            print(f"{case:24} mean {mean:.5f}  max {gap.max()}{ratio}")
    return good


def main(argv: list[str]) -> int:
    if argv[:1] == ["compare"]:
        cli = argparse.ArgumentParser(prog="tests.live.record compare")
        cli.add_argument("first", type=Path)
        cli.add_argument("second", type=Path)
        cli.add_argument("--limit", type=float, help="the largest mean difference that is good")
        cli.add_argument("--times-plain", type=float, help="the same, as a multiple of the plain images' difference")
        given = cli.parse_args(argv[1:])
        return 0 if compare(given.first, given.second, given.limit, given.times_plain) else 1
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("url")
    cli.add_argument("out", type=Path)
    for family in ("v1", "v2", "v3"):
        cli.add_argument(f"--{family}", help=f"name of the {family} motion module; else found in the host's list")
    cli.add_argument("--size", type=int, default=64)
    cli.add_argument("--frames", type=int, default=8)
    cli.add_argument("--steps", type=int, default=3)
    cli.add_argument("--only", nargs="*", help=f"cases, of: {', '.join(CASES)}")
    given = cli.parse_args(argv)
    if urllib.parse.urlsplit(given.url).scheme not in {"http", "https"}:
        cli.error(f"{given.url} is no URL of a WebUI")
    host = Host(given.url, size=given.size)
    names = {family: getattr(given, family) for family in ("v1", "v2", "v3")}
    if None in names.values():
        try:
            found = _modules_by_family(choices_of(host.script_info()[0], "Motion module"))
        except (AssertionError, RefusedError) as error:
            cli.error(f"the host does not list its motion modules; name them by --v1, --v2, --v3 ({error})")
        names = {family: name or found[family] for family, name in names.items()}
    recorded = record(host, names, given.frames, given.steps, given.only or list(CASES))
    np.savez_compressed(given.out, **recorded)
    print(f"{given.out}: {len(recorded)} cases with {names}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
