"""Contents of ``evaluation.json``: what ``test`` and ``predict`` take besides the network; none of it loads a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vision_suite.errors import CheckpointError
from vision_suite.hub.files import EVALUATION
from vision_suite.hub.registry import network_paths
from vision_suite.hub.settings import LOADING, faults_in, is_plain_word, last_name, leaves, without_files
from vision_suite.hub.text import one_line, read_json

if TYPE_CHECKING:
    from vision_suite.hub.loading import Opened

KINDS: dict[str, type] = {"module": str, "settings": dict, "data": dict, "operating_point": dict, "step": int}
DATA: dict[str, type] = {"class": str, "preprocessing": dict, "facts": dict}
NAMING = LOADING | {"tokenizer"}  # entries that name a file or a repository; a push leaves them out
FREE = {"system"}  # entries of the preprocessing that are sentences
# Notes on the extractor of features, which pushes hold: where its weights lie is forgotten, their checksum stays.
EXTRACTOR = ("sampling", "extractor")
WEIGHTS_OF = dict.fromkeys(("weights", "joined.weights"), r"default|random:\d+")


def read_evaluation(opened: Opened) -> dict[str, Any]:
    """Evaluation settings of an entry, checked.

    Raises:
        CheckpointError: The entry has none, or something in them is wrong.
    """
    contents = opened.files.contents.get(EVALUATION)
    if contents is None:
        raise CheckpointError(f"it has no {EVALUATION}: load it in Python with vision_suite.hub.load")
    try:
        found = read_json(contents)
        for name, kinds in (("", KINDS), ("data", DATA)):
            part = found[name] if name else found
            if set(part) != set(kinds) or any(type(part[each]) is not kind for each, kind in kinds.items()):
                raise ValueError(f"{name or 'it'} must have {', '.join(kinds)}")
        if found["step"] < 0:
            raise ValueError(f"step={found['step']} is below 0")
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{EVALUATION} is malformed ({one_line(error)}): push it again") from error
    if found["module"] not in opened.method.modules:
        raise CheckpointError(f"{EVALUATION}: {found['module']!r:.60} is no module of {opened.method.name}")
    data = found["data"]
    if not data["class"].isidentifier():
        raise CheckpointError(f"{EVALUATION}: {data['class']!r:.60} is no class of data")
    data["preprocessing"] = _without_places(data["preprocessing"])
    faults = faults_in(found["settings"], network_paths(), opened.method.words) + _data_faults(found)
    if faults:
        raise CheckpointError(f"{EVALUATION}: {faults[0]}")
    known: dict[str, Any] = found
    return known


def _without_places(preprocessing: Mapping[str, Any]) -> dict[str, Any]:
    """Preprocessing whose extractor of features does not tell where its weights lie."""
    part, name = EXTRACTOR
    sampling = preprocessing.get(part)
    if not isinstance(sampling, dict) or not isinstance(sampling.get(name), dict):
        return dict(preprocessing)
    return {**preprocessing, part: {**sampling, name: without_files(sampling[name], WEIGHTS_OF)}}


def _data_faults(found: Mapping[str, Any]) -> list[str]:
    """Entries about the data that name another place, one line each."""
    data, faults = found["data"], []
    parts = {
        "preprocessing": data["preprocessing"],
        "facts": data["facts"],
        "operating_point": found["operating_point"],
    }
    for part, settings in parts.items():
        for key, value in leaves(settings, part):
            name = last_name(key)
            if not isinstance(value, str) or not value or key.startswith(f"preprocessing.{'.'.join(EXTRACTOR)}."):
                continue
            words = part != "preprocessing" or name in FREE or is_plain_word(value)
            if name in NAMING or not words:
                faults.append(f"{key:.80}={value!r:.80} may name a file or an address: an entry names no other place")
    return faults
