"""Loading of an entry, in this order and nothing skipped.

Name, folder, sums (each listed file is there, each file is listed), hashes, what vouches for them, ``config.json``
against its schema, class of the network from the registry, network without memory for its parameters, weights from the
bytes that were hashed.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from vision_suite.errors import CheckpointError, SuiteError
from vision_suite.hub import schema
from vision_suite.hub.files import CONFIG, LABELS, WEIGHTS, EntryFiles, refused
from vision_suite.hub.places import Place, locate
from vision_suite.hub.settings import faults_in
from vision_suite.hub.sums import sha256
from vision_suite.hub.text import one_line, read_json
from vision_suite.hub.trust import files_of, vouch

if TYPE_CHECKING:
    from torch import Tensor, nn

    from vision_suite.hub.method import HubMethod
    from vision_suite.hub.preprocess import Preprocess

log = logging.getLogger(__name__)
FORMAT_NOTE, NAME_NOTE = "vision_suite.entry", "vision_suite.name"


class Loaded(NamedTuple):
    """A network of the hub.

    Attributes:
        network: Network in evaluation mode.
        preprocess: Settings of its preprocessing by name; for pictures, also the steps.
        config: Contents of ``config.json``.
    """

    network: nn.Module
    preprocess: Preprocess
    config: dict[str, Any]


@dataclass(frozen=True)
class Opened:
    """An entry whose files, sums and configuration are right; nothing of it has been built.

    Attributes:
        place: Where it lies.
        files: Its files as they were read.
        config: Contents of ``config.json``.
        method: Its method.
        notes: Lines to tell the user.
    """

    place: Place
    files: EntryFiles
    config: dict[str, Any]
    method: HubMethod
    notes: tuple[str, ...]

    @property
    def labels(self) -> list[str]:
        """Names of the classes; empty if there are none."""
        named = self.config["labels"]
        found: list[str] = read_json(self.files.contents[LABELS]) if isinstance(named, dict) else named or []
        return found

    def tensors(self) -> dict[str, Tensor]:
        """Tensors of the weights, checked."""
        from vision_suite.hub.building import read_tensors

        tensors, notes = read_tensors(self.files.contents[WEIGHTS])
        expected = {"format": "pt", FORMAT_NOTE: "1", NAME_NOTE: self.config["name"]}
        if notes != expected:
            raise CheckpointError(f"{WEIGHTS}: its header is {notes!s:.100}, not that of {self.config['name']}")
        return tensors


def load(name: str, *, allow_unsigned: bool = False) -> Loaded:
    """Load a network with its preprocessing and configuration; nothing in the entry is executed.

    Args:
        name: ``hub:NAME`` or ``NAME``, ``local-dir:PATH``, or ``hf-hub:ORG/NAME[@REVISION]``.
        allow_unsigned: Take an entry of a hub whose index has no signature of a trusted key.

    Returns:
        Network in evaluation mode, preprocessing, and contents of ``config.json``.

    Raises:
        CheckpointError: There is no such entry, or something in it is wrong; one line says what.

    Example:
        >>> from vision_suite import hub
        >>> hub.load("hub:no_such.entry")
        Traceback (most recent call last):
        vision_suite.errors.CheckpointError: hub:no_such.entry: no such entry ...
    """
    opened = open_entry(name, allow_unsigned=allow_unsigned)
    for line in opened.notes:
        log.warning(line)
    return loaded(opened)


def open_entry(name: str, *, allow_unsigned: bool = False) -> Opened:
    """Find an entry and check it, up to its configuration and the class of its network.

    Args:
        name: As `load` takes it.
        allow_unsigned: As `load` takes it.

    Raises:
        CheckpointError: There is no such entry, or something in it is wrong.
    """
    place = locate(name)
    files = files_of(place)
    files.check()
    notes = vouch(place, files, allow_unsigned=allow_unsigned)
    try:
        config = read_config(files, None if place.root != place.folder else place.folder.name)
        method = method_of(config)
    except CheckpointError as error:
        raise refused(place.folder, error) from error
    return Opened(place, files, config, method, (*place.notes, *notes))


def loaded(opened: Opened) -> Loaded:
    """The network of an entry that was opened.

    Raises:
        CheckpointError: The weights do not fit, or are not finite.
    """
    from vision_suite.hub.preprocess import Preprocess

    try:
        network, _ = network_of(opened)
    except CheckpointError as error:
        raise refused(opened.place.folder, error) from error
    return Loaded(network, Preprocess(opened.config["preprocess"]), opened.config)


def network_of(opened: Opened, *, with_base: bool = True) -> tuple[nn.Module, dict[str, Tensor]]:
    """The network of an entry in evaluation mode, and the tensors that the entry has for it.

    Args:
        opened: The entry.
        with_base: Look for the base model that the entry names; without it, its part of the network stays empty.

    Raises:
        CheckpointError: The weights do not fit, or are not finite.
    """
    from vision_suite.hub.base import base_places, base_tensors
    from vision_suite.hub.building import bounds_of, build, fill

    base = opened.config["base"]
    try:
        tensors = opened.tensors()
        network = build(opened.method, opened.config["model"]["init_args"], bounds_of(tensors, base=base is not None))
        more = None
        if base is not None:
            more = base_tensors(network, base, tensors) if with_base else base_places(network, tensors)
        fill(network, tensors, more)
    except SuiteError as error:
        raise CheckpointError(str(error)) from error
    except Exception as error:  # a file of an unknown origin makes the libraries fail in any way
        raise CheckpointError(
            f"{WEIGHTS} and {CONFIG} do not fit together ({type(error).__name__}: {one_line(error)}): use another entry"
        ) from error
    return network.eval(), tensors


def read_config(files: EntryFiles, name: str | None) -> dict[str, Any]:
    """The configuration of an entry whose sums are right, compared with its schema, its weights and its labels.

    Args:
        files: Files of the entry.
        name: Name that it must have; None for any.

    Raises:
        CheckpointError: Something is wrong.
    """
    faults, config = config_faults(files, name)
    if faults:
        raise CheckpointError(faults[0])
    return config


def config_faults(files: EntryFiles, name: str | None) -> tuple[list[str], dict[str, Any]]:
    """Faults of an entry's configuration, one line each, and the configuration."""
    if CONFIG not in files.contents:
        return [f"{CONFIG}: it is missing"], {}
    try:
        config = read_json(files.contents[CONFIG])
    except ValueError as error:
        return [f"{CONFIG}: {one_line(error)}"], {}
    faults = schema.faults_of(config, name)
    if not faults and WEIGHTS in files.contents:
        weights, contents = config["weights"], files.contents[WEIGHTS]
        if (weights["bytes"], weights["sha256"]) != (len(contents), sha256(contents)):
            faults.append(f"{CONFIG}: weights are not those of {WEIGHTS}")
    if not faults and isinstance(config["labels"], dict):
        faults += _label_faults(files.contents.get(LABELS), config["labels"]["count"])
    return faults, config if isinstance(config, dict) else {}


def method_of(config: Mapping[str, Any]) -> HubMethod:
    """The method of a configuration, whose settings load nothing else than the entry's weights.

    Raises:
        CheckpointError: The registry has no such class, or a setting is refused.
    """
    from vision_suite.hub import registry

    method = registry.find(config["method"], config["model"]["class_path"])
    if config["task"] not in method.tasks:
        raise CheckpointError(f"config.json: task {config['task']!r} is none of {method.name}'s")
    faults = faults_in(config["model"]["init_args"], registry.network_paths(), method.words)
    if faults:
        raise CheckpointError(f"config.json: {faults[0]}")
    return method


def _label_faults(contents: bytes | None, count: int) -> list[str]:
    if contents is None:
        return [f"{LABELS}: config.json names it, and it is not there"]
    try:
        labels = read_json(contents)
    except ValueError as error:
        return [f"{LABELS}: {one_line(error)}"]
    if not isinstance(labels, list) or len(labels) != count or any(schema.TEXT(each) for each in labels):
        return [f"{LABELS}: it is no list of {count} texts"]
    return []
