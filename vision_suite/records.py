"""Records: the settings of one part as a frozen dataclass, which files and checkpoints give as plain containers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, TypeVar

from vision_suite.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

RecordT = TypeVar("RecordT", bound="DataclassInstance")


def as_record(kind: type[RecordT], value: RecordT | Mapping[str, object], section: str) -> RecordT:
    """A record as it is, or made of the plain containers of a checkpoint.

    Args:
        kind: The dataclass.
        value: The record, or its settings by name; settings that are left out take their defaults.
        section: Name of the argument, for messages.

    Raises:
        ConfigError: A setting is unknown.
    """
    if not isinstance(value, Mapping):
        return value
    known = [field.name for field in fields(kind)]
    for name in value:
        if name not in known:
            raise ConfigError(f"{section} has no setting {name!r}: it has {', '.join(known)}")
    return kind(**value)
