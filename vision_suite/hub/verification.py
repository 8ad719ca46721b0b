"""Verification of an entry: every fault, where loading tells the first."""

from __future__ import annotations

from dataclasses import dataclass, field

from vision_suite.errors import SuiteError, printable
from vision_suite.hub.evaluation import read_evaluation
from vision_suite.hub.files import CONFIG, EVALUATION, WEIGHTS
from vision_suite.hub.loading import Loaded, Opened, config_faults, method_of, network_of
from vision_suite.hub.places import locate
from vision_suite.hub.trust import files_of, vouch


@dataclass
class Verified:
    """Result of a verification.

    Attributes:
        faults: What is wrong, one line each.
        notes: Lines to tell the user.
        words: What was checked, where nothing is wrong.
    """

    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    words: str = ""


def verify(name: str, *, run: bool = False, allow_unsigned: bool = False) -> Verified:
    """Check an entry as far as it can be checked.

    Args:
        name: Name of the entry, as `vision_suite.hub.load` takes it.
        run: Build the network, and compare its output for the entry's sample.
        allow_unsigned: Take an entry of a hub without a signature of a trusted key.
    """
    found = Verified()
    try:
        place = locate(name)
        files = files_of(place)
    except SuiteError as error:
        found.faults.append(printable(error))
        return found
    found.notes += place.notes
    found.faults += files.faults
    try:
        if files.sums_sha256:
            found.notes += vouch(place, files, allow_unsigned=allow_unsigned)
    except SuiteError as error:
        found.faults.append(str(error))
    faults, config = config_faults(files, None if place.root != place.folder else place.folder.name)
    found.faults += faults
    if not faults:
        try:
            opened = Opened(place, files, config, method_of(config), ())
        except SuiteError as error:
            found.faults.append(str(error))
        else:
            _built(opened, found, run=run)
    found.faults = [printable(fault) for fault in found.faults]
    found.words = (
        f"{len(files.contents)} files are right, and the weights are those of the network"
        f"{'; its sample gives what it should' if run else ''}"
    )
    return found


def _built(opened: Opened, found: Verified, *, run: bool) -> None:
    """Check the settings of the evaluation and the network with its weights; with ``run``, its base and its sample."""
    if EVALUATION in opened.files.contents:
        try:
            read_evaluation(opened)
        except SuiteError as error:
            found.faults.append(str(error))
    if WEIGHTS not in opened.files.contents:
        return
    run = run and not found.faults
    try:
        found.faults += _network_faults(opened, run=run)
    except SuiteError as error:
        found.faults.append(str(error))
    base = opened.config["base"]
    if base is not None and not run:
        found.notes.append(f"{opened.place.name}: its base {base['source']} was not looked for: --run does")


def _network_faults(opened: Opened, *, run: bool) -> list[str]:
    """Differences between the network and what the configuration and the sample say of it.

    Raises:
        CheckpointError: The network cannot be built, or its weights do not fit.
    """
    from vision_suite.hub.building import dtypes_of
    from vision_suite.hub.preprocess import Preprocess

    network, tensors = network_of(opened, with_base=run)
    told = opened.config["weights"]
    own = {
        "parameters": sum(value.numel() for name, value in network.named_parameters() if name in tensors),
        "dtypes": dtypes_of(tensors),
    }
    faults = [
        f"{CONFIG}: weights.{name} is {told[name]!s:.80}, those of {WEIGHTS} are {value}"
        for name, value in own.items()
        if told[name] != value
    ]
    if run:
        from vision_suite.hub.sample import sample_faults

        faults += sample_faults(opened, Loaded(network, Preprocess(opened.config["preprocess"]), opened.config))
    return faults
