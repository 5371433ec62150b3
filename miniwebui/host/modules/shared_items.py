"""Lists that settings and the page offer, looked up when they are shown."""

from __future__ import annotations


def list_checkpoint_tiles(use_short: bool = False) -> list[str]:
    from modules import sd_models

    return sd_models.checkpoint_tiles(use_short)


def refresh_checkpoints() -> None:
    from modules import sd_models

    sd_models.list_models()


def list_samplers() -> list:
    from modules import sd_samplers

    return sd_samplers.all_samplers


def sampler_names() -> list[str]:
    return [x.name for x in list_samplers()]


def sd_unet_items() -> list[str]:
    from modules import sd_unet

    return ["Automatic", *[x.label for x in sd_unet.unet_options], "None"]


def refresh_unet_list() -> None:
    from modules import sd_unet

    sd_unet.list_unets()


def upscalers() -> list:
    from modules import shared

    return shared.sd_upscalers


def get_infotext_names() -> list[str]:
    """Labels that pasted infotext may carry: those of the settings and of the page's fields."""
    from modules import infotext_utils, shared

    names = {info.infotext for info in shared.opts.data_labels.values() if info.infotext}
    for tab in infotext_utils.paste_fields.values():
        names.update(field.label for field in tab["fields"] or [] if field.label)
    return sorted(names)
