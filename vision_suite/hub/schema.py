"""Schema of an entry's ``config.json``, format 1: every key, its type, and no other key."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from vision_suite.errors import is_number
from vision_suite.hub.text import LARGEST_WHOLE

FORMAT = 1
NAME = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*\.[a-z0-9_]+(\.[a-z0-9_]+)?")
TASKS = ("reid", "fgvc", "tad", "scanpath", "instruct", "preference")
HEX64, HEX40 = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{40}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
SPDX = re.compile(r"[A-Za-z0-9.+-]+(?: (?:AND|OR|WITH) [A-Za-z0-9.+-]+)*")
# A prepared set, which is one folder, or a repository of a model hub: never another place of this machine.
BASE = re.compile(r"package:([a-z0-9][a-z0-9_.-]*)|hf-hub:([\w-][\w.-]*/[\w-][\w.-]*)(?:@([\w-][\w.-]*))?")
# What a terminal obeys, or what turns the order of letters; a tab and the end of a line are text.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
LARGEST_NUMBER, LARGEST_AREA = 1e300, 10**8
Check = Callable[[Any], str | None]
PICTURE = ("size", "resize", "interpolation", "antialias", "crop", "color", "mean", "std")
# What tasks have beside the keys of pictures; those of pictures are left out where the network reads no picture.
OWN = {"tad": ("fps", "feature"), "scanpath": ("canvas", "cells"), "instruct": ("chat_template_sha256", "tokenizer"),
       "preference": ("chat_template_sha256", "tokenizer")}  # fmt: skip


def faults_of(config: Any, name: str | None = None) -> list[str]:
    """Faults of a configuration, one line each.

    Args:
        config: Value that ``config.json`` holds.
        name: Name of the entry's folder, None where any name will do.
    """
    if not isinstance(config, dict):
        return [f"config.json: it holds a {type(config).__name__}, not an object"]
    form = config.get("format")
    if type(form) is int and form > FORMAT:
        version = config.get("suite_version")
        return [
            f"config.json: format {form}, made by a newer suite ({version!r:.20}); this one reads {FORMAT}: "
            "pip install --upgrade vision-suite"
        ]
    found: list[str] = []
    _fields(config, CONFIG, "", found)
    if not found and name is not None and config["name"] != name:
        found.append(f"config.json: name is {config['name']!r}, its folder is {name!r}: rename the folder")
    if not found:
        _preprocess(config["preprocess"], config["task"], found)
    return found


def _fields(value: Any, kinds: Mapping[str, Check], where: str, found: list[str]) -> None:
    """Note keys that are missing, unknown, or of a wrong kind."""
    if not isinstance(value, dict):
        found.append(f"config.json: {where.rstrip('.')} is no object")
        return
    found += [f"config.json: {where}{name} is missing" for name in kinds if name not in value]
    found += [f"config.json: {where}{name:.60} is unknown" for name in sorted(value) if name not in kinds]
    for name, check in kinds.items():
        if name in value and (reason := check(value[name])) is not None:
            found.append(f"config.json: {where}{name}{reason}")


def _is(test: Callable[[Any], bool], words: str) -> Check:
    return lambda value: None if test(value) else f" is {value!r:.60}, not {words}"


def _record(**kinds: Check) -> Check:
    """An object with exactly these keys; the first fault in it is told."""

    def check(value: Any) -> str | None:
        found: list[str] = []
        _fields(value, kinds, "", found)
        return None if not found else f": {found[0].removeprefix('config.json: ')}"

    return check


def _list(each: Check, count: int | None = None) -> Check:
    def check(value: Any) -> str | None:
        if not isinstance(value, list) or (count is not None and len(value) != count):
            return f" is {value!r:.60}, not a list{'' if count is None else f' of {count}'}"
        return next((f"[{index}]{reason}" for index, item in enumerate(value) if (reason := each(item))), None)

    return check


def _or_null(check: Check) -> Check:
    return lambda value: None if value is None else check(value)


def _words(pattern: re.Pattern[str], words: str) -> Check:
    return _is(lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None, words)


def _whole(low: int) -> Check:
    return _is(lambda value: type(value) is int and low <= value <= LARGEST_WHOLE, f"a whole number of {low} or more")


def _number(value: Any) -> bool:
    return is_number(value, LARGEST_NUMBER)


def _text(value: Any) -> bool:
    return isinstance(value, str) and CONTROL.search(value) is None


def _area(value: Any) -> str | None:
    reason = _list(_whole(1), 2)(value)
    return f" is {value}, too many pixels" if reason is None and value[0] * value[1] > LARGEST_AREA else reason


def _choice(*choices: str) -> Check:
    return _is(lambda value: isinstance(value, str) and value in choices, f"one of {', '.join(choices)}")


TEXT = _is(_text, "a text without control characters")
WORDS = _is(lambda value: _text(value) and bool(value.strip()), "a text that says something")
FLAG = _is(lambda value: isinstance(value, bool), "true or false")
NUMBER = _is(_number, "a finite number")
OBJECT = _is(lambda value: isinstance(value, dict), "an object")
SHA256 = _words(HEX64, "a SHA-256 in 64 hexadecimal digits")


def _labels(value: Any) -> str | None:
    if value is None or isinstance(value, list):
        return _or_null(_list(TEXT))(value)
    return _record(file=_choice("labels.json"), count=_whole(1))(value)


PREPROCESS: dict[str, Check] = {
    "size": _area,
    "resize": _choice("squash", "shortest", "pad"),
    "interpolation": _choice("bicubic", "bilinear"),
    "antialias": FLAG,
    "crop": _or_null(_record(center=_area, bottom=_whole(0))),
    "color": _choice("RGB"),
    "mean": _list(NUMBER, 3),
    "std": _list(_is(lambda value: _number(value) and value > 0, "a number above 0"), 3),
    "fps": _or_null(_is(lambda value: _number(value) and value > 0, "a number above 0")),
    "feature": OBJECT,
    "canvas": _or_null(OBJECT),
    "cells": _whole(0),
    "chat_template_sha256": SHA256,
    "tokenizer": _record(sha256=SHA256, ids=_whole(1), image_tokens=_whole(0)),
}
CONFIG: dict[str, Check] = {
    "format": _is(lambda value: type(value) is int and value == FORMAT, f"{FORMAT}"),
    "name": _words(NAME, "method_size.data[.variant] in small letters"),
    "method": WORDS,
    "task": _choice(*TASKS),
    "suite_version": TEXT,
    "torch_version": TEXT,
    "created": _words(TIME, "a time such as 2026-01-01T00:00:00Z"),
    "model": _record(class_path=WORDS, init_args=OBJECT),
    "preprocess": OBJECT,
    "labels": _labels,
    "metrics": _list(
        _record(
            name=WORDS, value=NUMBER, std=_or_null(NUMBER), seeds=_list(_whole(0)), split=TEXT, data=TEXT,
            protocol=OBJECT,
        )
    ),
    "training": _record(
        command=_list(TEXT), commit=_or_null(_words(HEX40, "a commit in 40 hexadecimal digits")),
        dirty=_or_null(FLAG), seed=_or_null(_whole(0)), data=_record(name=TEXT, fingerprint=TEXT), hardware=TEXT,
    ),
    "weights": _record(
        file=_choice("model.safetensors"), sha256=SHA256, bytes=_whole(1), parameters=_whole(0),
        dtypes=_is(
            lambda value: isinstance(value, dict) and all(type(each) is int and each >= 0 for each in value.values()),
            "an object of numbers",
        ),
        ema=FLAG, lora_merged=FLAG,
    ),
    "base": _or_null(_record(source=_words(BASE, "package:NAME or hf-hub:ORG/NAME"), sha256=SHA256)),
    "license": _words(SPDX, "an SPDX identifier such as Apache-2.0"),
    "attribution": _list(_record(what=WORDS, by=WORDS, license=TEXT, source=TEXT)),
}  # fmt: skip


def _preprocess(value: Mapping[str, Any], task: str, found: list[str]) -> None:
    """Note keys of the preprocessing that the task does not have, and those that are missing."""
    own = OWN.get(task, ())
    if task == "preference" and not set(own) & set(value):  # a detector of pictures
        own = ()
    pictures = not own or bool(set(PICTURE) & set(value))
    kinds = {name: PREPROCESS[name] for name in ((*PICTURE, *own) if pictures else own)}
    _fields(dict(value), kinds, "preprocess.", found)
