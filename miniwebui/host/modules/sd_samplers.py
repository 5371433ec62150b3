"""The list of samplers."""

from __future__ import annotations

import functools

from modules import sd_samplers_kdiffusion, sd_samplers_lcm, sd_samplers_timesteps, sd_schedulers, shared
from modules.sd_samplers_common import SamplerData, sample_to_image, samples_to_image_grid  # noqa: F401

all_samplers: list[SamplerData] = [
    *sd_samplers_kdiffusion.samplers_data_k_diffusion,
    *sd_samplers_timesteps.samplers_data_timesteps,
    *sd_samplers_lcm.samplers_data_lcm,
]
all_samplers_map = {x.name: x for x in all_samplers}

samplers: list[SamplerData] = []
samplers_for_img2img: list[SamplerData] = []
samplers_map: dict[str, str] = {}
samplers_hidden: set[str] = set()


def find_sampler_config(name: str | None) -> SamplerData | None:
    """The entry of that name; the first one for None."""
    return all_samplers[0] if name is None else all_samplers_map.get(name)


def create_sampler(name: str, model):
    """A fresh sampler for one pass."""
    config = find_sampler_config(name)
    if config is None:
        raise ValueError(f"bad sampler name: {name}")
    sampler = config.constructor(model)
    sampler.config = config
    return sampler


def set_samplers() -> None:
    """Fill the lists from the settings."""
    samplers_hidden.clear()
    samplers_hidden.update(getattr(shared.opts, "hide_samplers", None) or [])
    samplers[:] = samplers_for_img2img[:] = all_samplers
    samplers_map.clear()
    for sampler in all_samplers:
        samplers_map.update({key.lower(): sampler.name for key in (sampler.name, *sampler.aliases)})


def visible_samplers() -> list[SamplerData]:
    """The samplers that the settings do not hide."""
    return [x for x in samplers if x.name not in samplers_hidden]


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


def get_hr_sampler_and_scheduler(d: dict) -> tuple[str, str]:
    """The second pass's sampler and schedule type of an infotext, "Use same ..." where they do not differ."""
    sampler, scheduler = d.get("Hires sampler"), d.get("Hires schedule type")
    sampler = d.get("Sampler") if sampler in (None, "Use same sampler") else sampler
    scheduler = d.get("Schedule type") if scheduler in (None, "Use same scheduler") else scheduler
    sampler, scheduler = get_sampler_and_scheduler(sampler, scheduler)
    return (
        "Use same sampler" if sampler == d.get("Sampler") else sampler,
        "Use same scheduler" if scheduler == d.get("Schedule type") else scheduler,
    )


def get_sampler_from_infotext(d: dict) -> str:
    """The sampler of an infotext."""
    return get_sampler_and_scheduler(d.get("Sampler"), d.get("Schedule type"))[0]


def get_scheduler_from_infotext(d: dict) -> str:
    """The schedule type of an infotext."""
    return get_sampler_and_scheduler(d.get("Sampler"), d.get("Schedule type"))[1]


def get_hr_sampler_from_infotext(d: dict) -> str:
    """The second pass's sampler of an infotext."""
    return get_hr_sampler_and_scheduler(d)[0]


def get_hr_scheduler_from_infotext(d: dict) -> str:
    """The second pass's schedule type of an infotext."""
    return get_hr_sampler_and_scheduler(d)[1]


def fix_p_invalid_sampler_and_scheduler(p) -> None:
    """Replace unknown names in ``p`` by known ones."""
    p.sampler_name, p.scheduler = get_sampler_and_scheduler(p.sampler_name, p.scheduler, convert_automatic=False)


set_samplers()
