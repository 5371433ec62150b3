"""The list of samplers."""

from __future__ import annotations

import functools

from modules import sd_samplers_kdiffusion, sd_samplers_lcm, sd_samplers_timesteps, sd_schedulers, shared
from modules.sd_samplers_common import SamplerData, sample_to_image, samples_to_image_grid  # noqa: F401

all_samplers: list[SamplerData] = [
    entry for module in (sd_samplers_kdiffusion, sd_samplers_timesteps, sd_samplers_lcm) for entry in module.entries
]
all_samplers_map = dict(zip((x.name for x in all_samplers), all_samplers, strict=True))

samplers: list[SamplerData] = []
samplers_for_img2img: list[SamplerData] = []
samplers_map: dict[str, str] = {}


def find_sampler_config(name: str | None) -> SamplerData | None:
    """The entry of that name; the first one for None."""
    return all_samplers[0] if name is None else all_samplers_map.get(name)


def create_sampler(name: str, model):
    """A fresh sampler for one pass."""
    entry = find_sampler_config(name)
    if entry is None:
        raise ValueError(f"bad sampler name: {name}")
    made = entry.constructor(model)
    made.config = entry
    return made


def calls_of_denoiser(name: str, steps: int) -> int:
    """How often a sampler is expected to call the denoiser in so many steps."""
    entry = find_sampler_config(name)
    return steps if entry is None else entry.total_steps(steps)


def set_samplers() -> None:
    """Fill the lists."""
    samplers[:] = samplers_for_img2img[:] = all_samplers
    samplers_map.clear()
    for sampler in all_samplers:
        samplers_map.update({key.lower(): sampler.name for key in (sampler.name, *sampler.aliases)})


def visible_samplers() -> list[SamplerData]:
    """The samplers that the settings do not hide."""
    hidden = getattr(shared.opts, "hide_samplers", None) or ()
    return [entry for entry in samplers if entry.name not in hidden]


def visible_sampler_names() -> list[str]:
    """Their names."""
    return [x.name for x in visible_samplers()]


@functools.cache
def get_sampler_and_scheduler(sampler_name, scheduler_name, *, convert_automatic=True) -> tuple[str, str]:
    """Known (sampler, schedule type) for given names; an old name such as "Euler Karras" holds both."""
    automatic = sd_schedulers.schedulers[0]
    scheduler = sd_schedulers.schedulers_map.get(scheduler_name, automatic)
    name = sampler_name or all_samplers[0].name
    for candidate in sd_schedulers.schedulers:
        ending = next(
            (f" {x}" for x in (candidate.label, candidate.name, *candidate.aliases) if name.endswith(f" {x}")), None
        )
        if ending:
            scheduler, name = candidate, name[: -len(ending)]
            break
    sampler = all_samplers_map.get(name, all_samplers[0])
    if convert_automatic and sampler.options.get("scheduler") == scheduler.name:
        scheduler = automatic
    return sampler.name, scheduler.label


def known_names(sampler_name, scheduler_name) -> tuple[str, str]:
    """The names of a request, unknown ones replaced by known ones."""
    return get_sampler_and_scheduler(sampler_name, scheduler_name, convert_automatic=False)


def names_of_infotext(d: dict) -> tuple[str, str]:
    """(sampler, schedule type) of an infotext."""
    return get_sampler_and_scheduler(*map(d.get, ("Sampler", "Schedule type")))


def hr_names_of_infotext(d: dict) -> tuple[str, str]:
    """(sampler, schedule type) of the second pass of an infotext, "Use same ..." where they are the first's."""
    first = [d.get("Sampler"), d.get("Schedule type")]
    same = ["Use same sampler", "Use same scheduler"]
    given = [d.get("Hires sampler"), d.get("Hires schedule type")]
    found = get_sampler_and_scheduler(*(f if g in (None, s) else g for f, s, g in zip(first, same, given, strict=True)))
    return tuple(s if name == f else name for f, s, name in zip(first, same, found, strict=True))


set_samplers()
