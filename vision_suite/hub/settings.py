"""Settings of an entry's network, none of which may load anything else than the entry's own weights."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

# Settings that name or switch on other weights, files or code, in the libraries that networks are built with.
LOADING = frozenset({
    "pretrained", "checkpoint", "checkpoint_path", "ckpt_path", "source", "weights", "cache_dir", "file", "filename",
    "path", "url", "hf_hub_id", "pretrained_cfg", "pretrained_cfg_overlay", "pretrained_strict", "auto_map",
    "_name_or_path", "name_or_path", "custom_pipelines", "trust_remote_code", "quantization_config", "adapter",
    "init_from", "gguf_file", "before",
})  # fmt: skip
PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_+.\- ]*")
LONGEST, LARGEST, MOST = 200, 10**7, 100_000


def faults_in(
    settings: Mapping[str, Any], classes: Collection[str], allowed: Mapping[str, str] | None = None
) -> list[str]:
    """Settings that are refused, one line each.

    Args:
        settings: Arguments of the network's constructor, as JSON holds them.
        classes: Class paths that a nested ``class_path`` may name.
        allowed: Patterns of texts that are plain words of a method though they look like addresses, by setting.
    """
    found: list[str] = []
    count = 0
    for key, value in leaves(settings, ""):
        count += 1
        if count > MOST:
            return [f"init_args: more than {MOST} values"]
        name = last_name(key)
        reason = _reason(name, key, value, classes, allowed or {})
        if reason is not None:
            found.append(f"init_args.{key:.80}={value!r:.80} {reason}")
    return found


def without_files(settings: Any, allowed: Mapping[str, str] | None = None, key: str = "") -> Any:
    """Nested settings without those that would load something.

    Args:
        settings: Settings in plain containers.
        allowed: As `faults_in` takes it.
        key: Dotted name of the settings themselves.
    """
    if isinstance(settings, Mapping):
        named = {name: f"{key}.{name}" if key else str(name) for name in settings}
        return {
            name: without_files(value, allowed, named[name])
            for name, value in settings.items()
            if name not in LOADING
            or (isinstance(value, str) and re.fullmatch((allowed or {}).get(named[name], "$"), value))
        }
    return [without_files(each, allowed, key) for each in settings] if isinstance(settings, list | tuple) else settings


def is_plain_word(text: str) -> bool:
    """True for a text that can be neither a path nor an address."""
    return len(text) <= LONGEST and PLAIN.fullmatch(text) is not None and ".." not in text


def last_name(key: str) -> str:
    """Name of a setting in its dotted path, in which an index may follow it."""
    return re.sub(r"\[\d+\]$", "", key).rpartition(".")[2]


def _reason(name: str, key: str, value: Any, classes: Collection[str], allowed: Mapping[str, str]) -> str | None:
    pattern = allowed.get(key)
    if pattern is not None and isinstance(value, str) and re.fullmatch(pattern, value):
        return None
    if name == "class_path":
        return None if value in classes else "is no class of the registry: only networks of the suite are built"
    if name in LOADING and value not in (None, False, "", 0):
        return "would load something else than the entry's weights"
    if isinstance(value, str) and value:
        if not is_plain_word(value):
            return "is an address, a path or no plain word: an entry names no other place"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > LARGEST:
        return "is larger than any size of a network"
    return None


def leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Every key with its value in nested containers, containers themselves included where a key names them."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            path = f"{key}.{name}" if key else str(name)
            if isinstance(inner, Mapping | list | tuple):
                if name in LOADING or name == "class_path":
                    yield path, "of several values" if inner else None
                yield from leaves(inner, path)
            else:
                yield path, inner
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            if isinstance(inner, Mapping | list | tuple):
                yield from leaves(inner, f"{key}[{index}]")
            else:
                yield f"{key}[{index}]", inner
