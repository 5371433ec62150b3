"""Extra networks named in prompts, ``<name:argument:...>``: found, taken out of the text, and switched on and off."""

from __future__ import annotations

import logging
import re
from collections import defaultdict

from modules import errors

extra_network_registry: dict[str, ExtraNetwork] = {}
extra_network_aliases: dict[str, ExtraNetwork] = {}

_MENTION = re.compile(r"<(\w+):([^>]+)>")


class ExtraNetworkParams:
    """The arguments of one mention: all in ``items``; those with "=" in ``named``, the others in ``positional``."""

    def __init__(self, items: list | None = None):
        self.items = items or []
        self.positional, self.named = [], {}
        for item in self.items:
            key, equals, value = item.partition("=") if isinstance(item, str) else (item, "", "")
            if equals:
                self.named[key] = value
            else:
                self.positional.append(item)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ExtraNetworkParams) and other.items == self.items

    __hash__ = None


class ExtraNetwork:
    """A kind of network that prompts may name; an extension derives from it and registers an object."""

    def __init__(self, name: str):
        self.name = name

    def activate(self, p, params_list: list[ExtraNetworkParams]) -> None:
        """Called before every pass with what the prompts say, an empty list included."""
        raise NotImplementedError

    def deactivate(self, p) -> None:
        """Called after the last pass."""
        raise NotImplementedError


def initialize() -> None:
    """Forget all kinds."""
    for known in (extra_network_registry, extra_network_aliases):
        known.clear()


def register_extra_network(extra_network: ExtraNetwork) -> None:
    """Make a kind known."""
    extra_network_registry.update({extra_network.name: extra_network})


def register_extra_network_alias(extra_network: ExtraNetwork, alias: str) -> None:
    """Make a kind known under one more name."""
    extra_network_aliases.update({alias: extra_network})


def lookup_extra_networks(extra_network_data: dict) -> dict[ExtraNetwork, list[ExtraNetworkParams]]:
    """The mentioned kinds with their arguments."""
    found: dict[ExtraNetwork, list[ExtraNetworkParams]] = {}
    for name, arguments in extra_network_data.items():
        network = extra_network_registry.get(name) or extra_network_aliases.get(name)
        if network is None:
            logging.info("The prompt names an extra network of an unknown kind: %s", name)
        else:
            found.setdefault(network, []).extend(arguments)
    return found


def _for_all(mentioned: dict, what: str, call) -> None:
    """First the kinds that are mentioned, then the others; an error costs only its own kind."""
    others = {x: [] for x in extra_network_registry.values() if x not in mentioned}
    for network, arguments in [*mentioned.items(), *others.items()]:
        try:
            call(network, arguments)
        except Exception as e:  # noqa: BLE001
            errors.display(e, f"{what} extra network {network.name}")


def activate(p, extra_network_data: dict) -> None:
    """Switch on what the prompts name, and tell the scripts."""
    _for_all(lookup_extra_networks(extra_network_data), "activating", lambda network, found: network.activate(p, found))
    if p.scripts is not None:
        p.scripts.after_extra_networks_activate(
            p,
            batch_number=p.iteration,
            prompts=p.prompts,
            seeds=p.seeds,
            subseeds=p.subseeds,
            extra_network_data=extra_network_data,
        )


def deactivate(p, extra_network_data: dict) -> None:
    """Switch everything off."""
    _for_all(lookup_extra_networks(extra_network_data), "deactivating", lambda network, _: network.deactivate(p))


def parse_prompt(prompt: str) -> tuple[str, dict[str, list[ExtraNetworkParams]]]:
    """(the prompt without its mentions, kind -> mentions)."""
    found = defaultdict(list)
    for name, arguments in _MENTION.findall(prompt):
        found[name].append(ExtraNetworkParams(items=arguments.split(":")))
    return _MENTION.sub("", prompt), found


def parse_prompts(prompts: list[str]) -> tuple[list[str], dict | None]:
    """(the prompts without mentions, the mentions of the first: they hold for the whole batch)."""
    parsed = [parse_prompt(prompt) for prompt in prompts]
    return [text for text, _ in parsed], parsed[0][1] if parsed else None
