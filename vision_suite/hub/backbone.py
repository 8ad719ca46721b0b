"""Backbones of entries: the architecture and the weights of the vision transformer in a network of the hub."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, NamedTuple

from vision_suite.errors import CheckpointError, ConfigError, DataError
from vision_suite.hub.loading import open_entry
from vision_suite.hub.places import HF_HUB, HF_NAME, HUB, LOCAL, is_name
from vision_suite.hub.sums import SUMS
from vision_suite.hub.writing import weights_bytes

log = logging.getLogger(__name__)
SETTINGS = ("backbone", "backbone_args", "patch_stride")
PREFIX = "vit."


class Backbone(NamedTuple):
    """A backbone of an entry.

    Attributes:
        name: Name of the entry as it was given.
        settings: Settings of a network that give the architecture.
        weights: Bytes of a safetensors file of its tensors.
    """

    name: str
    settings: dict[str, Any]
    weights: bytes


def backbone_of(name: object) -> Backbone | None:
    """The backbone that a name means; None if it is no entry's but a name of timm, or a folder in timm's layout.

    Args:
        name: ``hub:NAME``, ``local-dir:PATH``, ``hf-hub:ORG/NAME[@REVISION]``, or anything else.

    Raises:
        CheckpointError: There is no such entry, or something in it is wrong.
        ConfigError: Its network has no such backbone.
    """
    if not is_name(name) or not _is_entry(str(name)):
        return None
    opened = open_entry(str(name))
    for line in opened.notes:
        log.warning(line)
    arguments = opened.config["model"]["init_args"]
    tensors = {key: value for key, value in opened.tensors().items() if key.startswith(PREFIX)}
    if "backbone" not in arguments or not tensors:
        raise ConfigError(f"backbone={name!r}: {opened.config['method']} has no vision transformer: use DCAL's entries")
    settings = {key: arguments.get(key) for key in SETTINGS}
    return Backbone(str(name), settings, weights_bytes(tensors, opened.config["name"]))


def _is_entry(name: str) -> bool:
    """True for a name of the hub, and for a folder or repository that has sums."""
    if name.startswith(HUB):
        return True
    if name.startswith(LOCAL):
        return (Path(name.removeprefix(LOCAL)).expanduser() / SUMS).is_file()
    match = HF_NAME.fullmatch(name.removeprefix(HF_HUB))
    if match is None:
        return False
    from vision_suite.network import cached_first

    def load(local: bool) -> str:
        from huggingface_hub import hf_hub_download

        return hf_hub_download(match[1], SUMS, revision=match[2], local_files_only=local)

    try:
        return bool(cached_first(load, match[1]))
    except (DataError, CheckpointError):
        return False
    except Exception as error:  # the client's errors have many types; timm asks again, and tells the reason
        log.debug("%s has no %s: %s", name, SUMS, error)
        return False
