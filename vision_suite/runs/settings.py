"""Settings of a run as one level of dotted keys, for tables that compare runs."""

from __future__ import annotations

from collections.abc import Mapping


def flattened(tree: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """A nested mapping as one level of dotted keys, without the words that only spell a class.

    Example: ``{"model": {"class_path": "m.A", "init_args": {"lr": 1}}}`` becomes ``{"model": "m.A", "model.lr": 1}``.
    """
    flat: dict[str, object] = {}
    for name, value in tree.items():
        if name == "class_path":
            flat[prefix] = value
            continue
        key = prefix if name == "init_args" else f"{prefix}.{name}" if prefix else name
        if isinstance(value, Mapping) and value:
            flat |= flattened(value, key)
        else:
            flat[key] = value
    return flat
