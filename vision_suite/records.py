"""Records: frozen dataclasses with the settings of one part. Files and checkpoints hold them as plain containers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, TypeVar

from vision_suite.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

RecordT = TypeVar("RecordT", bound="DataclassInstance")


def as_record(kind: type[RecordT], value: RecordT | Mapping[str, object], section: str) -> RecordT:
    """Return a record unchanged, or build it from a mapping of its settings.

    Args:
        kind: Dataclass of the record.
        value: Record, or its settings by name; missing settings take their defaults.
        section: Name of the argument, for error messages.

    Raises:
        ConfigError: A setting is unknown.
    """
    if isinstance(value, kind):
        return value
    if not isinstance(value, Mapping):
        raise ConfigError(f"{section}={value!r}: give its settings by name, such as {fields(kind)[0].name}")
    known = [field.name for field in fields(kind)]
    for name in value:
        if name not in known:
            raise ConfigError(f"{section} has no setting {name!r}: it has {', '.join(known)}")
    return kind(**value)
