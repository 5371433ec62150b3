"""One table: what motion costs. ``python -m bench --help``."""

from __future__ import annotations

import argparse
import platform

import torch

from bench.measure import Times, interleaved, peak_bytes
from bench.peers import diffusers_module
from bench.products import products
from bench.shapes import SD15, random_tensors
from bench.unet import unet_steps
from lib_animatediff.motion.module import Scratch, TemporalTransformer

COLUMNS = (("modules", 18), ("ms", 9), ("products", 9), ("ratio", 6), ("±", 5), ("MiB", 7))
COLUMNS += (("diffusers", 10), ("ratio", 6), ("MiB", 7))


def arguments() -> argparse.Namespace:
    cli = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    cli.add_argument("--size", type=int, nargs="+", default=[256], metavar="PIXELS", help="width, or width and height")
    cli.add_argument("--frames", type=int, default=16)
    cli.add_argument("--clips", type=int, default=1, help="2 is a step with a negative prompt")
    cli.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    cli.add_argument("--dtype", choices=["float32", "float16", "bfloat16"], help="float16 on a GPU, float32 on a CPU")
    cli.add_argument("--threads", type=int, default=torch.get_num_threads())
    cli.add_argument("--rounds", type=int, default=7)
    cli.add_argument("--no-unet", action="store_true", help="leave out the step of the whole UNet")
    return cli.parse_args()


def machine(args: argparse.Namespace) -> str:
    if args.device.startswith("cuda"):
        return f"{torch.cuda.get_device_name(args.device)}, torch {torch.__version__}"
    return f"{platform.machine()} CPU, {args.threads} threads, torch {torch.__version__}"


def cell(times: Times | None, ours: Times, memory: int | None) -> str:
    if times is None:
        return f"{'-':>10} {'-':>6} {'-':>7}"
    return f"{times.median * 1e3:10.1f} {times.ratio(ours):6.2f} {memory / 2**20:7.0f}"


def total(parts: list[tuple[int, Times]]) -> Times:
    """Seconds per round of a whole motion model, from its shapes and their counts."""
    return Times(
        tuple(
            sum(n * t for (n, _), t in zip(parts, row, strict=True))
            for row in zip(*(p.rounds for _, p in parts), strict=True)
        )
    )


def main() -> None:
    args = arguments()
    width, height = args.size[0], args.size[-1]
    dtype = getattr(torch, args.dtype or ("float16" if args.device.startswith("cuda") else "float32"))
    torch.set_num_threads(args.threads)
    print(f"{machine(args)}; {args.clips} x {args.frames} frames of {width}x{height}, {dtype}, {args.rounds} rounds")
    print(" ".join(f"{name:>{width}}" for name, width in COLUMNS))
    collected: dict[str, list[tuple[int, Times]]] = {"ours": [], "products": [], "diffusers": []}
    peaks: dict[str, int] = {"ours": 0, "diffusers": 0}
    scratch = Scratch()  # as in a run: shared by all modules
    for shape in SD15:
        x = torch.randn(shape.latents(args.clips, args.frames, width, height), device=args.device, dtype=dtype)
        module = TemporalTransformer(random_tensors(shape.channels, args.device, dtype))
        tokens = x.numel() // shape.channels
        candidates = {
            "ours": lambda module=module, x=x: module(x, args.frames, scratch=scratch),
            "products": products(shape.channels, tokens, args.frames, args.device, dtype),
            "diffusers": diffusers_module(shape.channels, args.frames, x),
        }
        candidates = {name: run for name, run in candidates.items() if run is not None}
        times = interleaved(candidates, args.rounds, args.device)
        candidates["ours"] = lambda module=module, x=x: module(x, args.frames)  # its scratch counts as its memory
        memory = {name: peak_bytes(candidates[name], args.device) for name in candidates if name != "products"}
        for name, measured in times.items():
            collected[name].append((shape.count, measured))
        peaks = {name: max(peaks[name], memory.get(name, 0)) for name in peaks}
        size = f"{shape.count} x {shape.channels} @ {x.shape[3]}x{x.shape[2]}"
        print_row(size, times, memory)
    print_row("sum", {name: total(parts) for name, parts in collected.items() if parts}, peaks)
    if not args.no_unet:
        steps = unet_steps(args.clips, args.frames, width, height, args.device, dtype)
        times = interleaved(steps, max(2, args.rounds // 2), args.device)
        memory = {name: peak_bytes(run, args.device) / 2**20 for name, run in steps.items()}
        for name, label in (("plain", "a step of the UNet"), ("motion", "the same with motion")):
            print(f"{label:>22}: {times[name].median:8.3f} s, {memory[name]:6.0f} MiB beside the weights")
        print(f"{'ratio':>22}: {times['motion'].ratio(times['plain']):8.3f}")


def print_row(label: str, times: dict[str, Times], memory: dict[str, int]) -> None:
    ours, floor = times["ours"], times["products"]
    left = f"{label:>18} {ours.median * 1e3:9.1f} {floor.median * 1e3:9.1f} {ours.ratio(floor):6.3f} {ours.spread:5.1%}"
    print(
        f"{left} {memory['ours'] / 2**20:7.0f} {cell(times.get('diffusers'), ours, memory.get('diffusers'))}",
        flush=True,
    )


if __name__ == "__main__":
    with torch.inference_mode():
        main()
