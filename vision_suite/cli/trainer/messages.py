"""Mistakes in one line instead of the parser's dump: the given value, the allowed ones, and the nearest names.

The parser reports a mistake inside a class as a tree of every type it tried. The rules below pick the branch that names
the mistake. A text that no rule knows is shortened, never dropped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Protocol

from vision_suite.hints import did_you_mean

LONGEST = 300
LineFinding = tuple[int, str]  # index in the text, and the line


class Vocabulary(Protocol):
    """The names a message may suggest."""

    def flags(self) -> list[str]:
        """Every dotted key of the command, such as ``trainer.max_epochs``."""

    def classes(self, key: str) -> list[str]:
        """Names of the classes that fit a key, such as ``model`` or ``trainer.callbacks``."""

    def parts(self, key: str) -> list[str]:
        """Names of the parts in ``configs/_base`` that a key takes."""

    def settings(self, class_path: str) -> list[str]:
        """The settings of a class, dotted where nested."""


def explain(text: str, known: Vocabulary) -> str:
    """Explain a mistake in one line.

    Args:
        text: Message of an ``argparse.ArgumentError`` raised by jsonargparse.
        known: Names to suggest.
    """
    # A union is tried type by type, the likely one first: the first finding in the text is the one that was meant.
    found = [
        finding
        for rule in (_required, _unknown_setting, _unknown_class, _wrong_value)
        if (finding := rule(text, known))
    ]
    if found:
        return min(found)[1]
    for line in (_no_type_fits(text), _missing_file(text)):
        if line is not None:
            return line
    flat = " ".join(text.split())
    return flat if len(flat) <= LONGEST else flat[:LONGEST] + " ..."


def name_whole_keys(error: Exception, settings: Mapping[str, Mapping[str, object]]) -> None:
    """Let an error of a constructor, which knows its own arguments only, name the whole dotted key of a setting.

    Args:
        error: Error whose message may begin with the name of a setting.
        settings: Settings of each section by name.
    """
    match = re.match(r"(?P<name>[a-z]\w*)(?:\.\w+)*(?:=| has )", str(error))
    sections = [section for section, names in settings.items() if match is not None and match["name"] in names]
    if len(sections) == 1:
        error.args = (f"--{sections[0]}.{error}", *error.args[1:])


def refused_by_class(text: str) -> str | None:
    """Reason why a class refused its arguments while it was built; None for another text.

    Args:
        text: Message of the parser, which lists the errors of all types it tried.
    """
    if not text.startswith("Does not validate against any of the Union"):
        return None
    found = re.search(r"Errors:\s*- (?P<first>.+?)(?=\n\s*- Expected|\n\s*- Not a|\Z)", text, re.DOTALL)
    if found is None:
        return None
    if (inner := refused_by_class(found["first"])) is not None:  # a record within a record
        return inner
    reason = re.sub(r"^Problem with given class_path '[^']+':", "", found["first"])
    line = [line.strip() for line in reason.splitlines() if line.strip()]
    return " ".join(line)[-LONGEST:] if line else None


def _required(text: str, known: Vocabulary) -> LineFinding | None:
    match = re.search(r"arguments are required: (.+)", text)
    if match is None:
        return None
    names = [name.strip().split(".", 1)[-1] for name in match.group(1).split(",")]
    owner = [name.rsplit(".", 1)[-1] for name in re.findall(r"class_path '([^']+)'", text[: match.start()])]
    if owner:
        key = _key(text[: match.start()])
        whole = " and ".join(f"--{_joined(key, name)}" for name in names)
        return match.start(), f"{owner[-1]} needs {whole}, and nothing is given for it"
    missing = sorted(set(names), reverse=True)
    return match.start(), (
        f"nothing given for {' and '.join('--' + name for name in missing)}: name a configuration, for example "
        "-c dcal/emoji_reid ('vision-suite configs' lists them)"
    )


def _unknown_setting(text: str, known: Vocabulary) -> LineFinding | None:
    match = re.search(
        r"Option '(?P<option>[^']+)' is not accepted"
        r"|unrecognized arguments: (?P<flag>.+)"
        r"|(?:Group|Key) '(?P<group>[^']+)' does not accept (?:option|nested key) '(?P<member>[^']+)'"
        r"|Subcommand '[^']+' does not accept option '(?P<whole>[^']+)'",
        text,
    )
    if match is None:
        return None
    if match["flag"] is not None:
        word = match["flag"].strip().split()[0]
        if not word.startswith("--"):
            return match.start(), _without_dashes(word, match["flag"].strip().split()[1:], known)
        key = word.split("=", 1)[0].lstrip("-")
    elif match["whole"] is not None:
        key = match["whole"]
    elif match["member"] is not None:
        key = f"{match['group']}.{match['member']}"
    else:
        key = match["option"]
    owner = re.findall(r"class_path '([^']+)'", text[: match.start()])
    if owner:
        name = owner[-1].rsplit(".", 1)[-1]
        whole = _joined(_whole_key(text, match.start()), key)
        hint = did_you_mean(key, known.settings(owner[-1]))
        return match.start(), f"--{whole}: {name} has no setting '{key}'{hint}"
    return match.start(), f"unknown setting '{key}'{did_you_mean(key, known.flags())}"


def _without_dashes(word: str, following: list[str], known: Vocabulary) -> str:
    """A word that belongs to no flag: a setting without its dashes, or a configuration without ``-c``."""
    key, equals, value = word.lstrip("-").partition("=")
    value = value if equals else (following or ["VALUE"])[0]
    flags = known.flags()
    if key in flags or key.partition(".")[0] in ("model", "data", "trainer"):
        near = "" if key in flags or not key.startswith("trainer.") else did_you_mean(key, flags)
        return f"'{word}' stands without '--': write --{key}={value}{near.replace(': did', ', or did')}"
    if key.endswith((".yaml", ".yml", ".json")) or "/" in key:
        return f"'{word}' belongs to no flag: name a configuration with -c {word}"
    return f"'{word}' belongs to no flag, and a setting is written --name=value{did_you_mean(key, flags)}"


def _unknown_class(text: str, known: Vocabulary) -> LineFinding | None:
    match = re.search(
        r"module '[^']+' has no attribute '(?P<attribute>[^']+)'"
        r"|No module named '(?P<module>[^']+)'"
        r"|Expected a dot import path string: (?P<short>\S+)"
        r"|Import path (?:\S+ )?does not correspond to a subclass of (?P<base>\S+)",
        text,
    )
    if match is None:
        return None
    key = _key(text)
    whole = _whole_key(text, match.start())
    if "." in whole and whole != key and (record := _record(text[: match.start()])) is not None:
        tried = re.search(r"Given value: (?:NestedArg\(.*val=')?(.*?)(?:'\))?$", text[match.start() :], re.MULTILINE)
        value = match["short"] or (tried[1] if tried else "")
        return match.start(), f"--{whole} {value}: expected the settings of {record} by name, each as --{whole}.NAME"
    if match["base"] is not None:
        return match.start(), f"--{key}: this class is not a {match['base']}{_listed(known.classes(key))}"
    given = match["short"] or (re.findall(r"class_path '([^']+)'", text) or [match["attribute"] or match["module"]])[-1]
    if given.endswith((".yaml", ".yml", ".json")):
        return match.start(), f"--{key} {given}: no such file"
    names, parts = known.classes(key), known.parts(key)
    kind = "class or part" if parts and not given[:1].isupper() else "class"
    return match.start(), f"--{key} {given}: no such {kind}{did_you_mean(given, [*names, *parts]) or _listed(names)}"


def _wrong_value(text: str, known: Vocabulary) -> LineFinding | None:
    match = re.search(r"Expected an? (?P<kind>.+?)\. Got value: (?P<value>.*)", text)
    if match is None:
        return None
    key, value = _whole_key(text, match.start()), match["value"].strip()
    value = "null" if value == "None" else value
    return (
        match.start(),
        f"--{key} {value}: expected {_kind([match['kind']])}{_brackets(value, match['kind'])}",
    )


def _no_type_fits(text: str) -> str | None:
    kinds = re.findall(r"- Expected an? (?!path but)(.+)", text)
    value = re.search(r"Given value: (.*)", text)
    if value is None or not kinds or all("NoneType" in kind for kind in kinds):
        return None
    given = value.group(1).strip()
    key, form = _whole_key(text, value.start()), _brackets(given, " ".join(kinds))
    return f"--{key} {given}: expected {_kind(kinds)}{form}"


def _brackets(value: str, kinds: str) -> str:
    """Form of a list that is given in Python's round brackets, or without any."""
    if not re.search(r"tuple|list|List|Sequence|Iterable", kinds) or re.match(r"^\s*['\"]?\[", value):
        return ""
    inner = value.strip("'\"").strip()
    if inner.startswith("(") and inner.endswith(")"):
        return f", written [{inner[1:-1].strip().rstrip(',')}]"
    text = "str" in kinds.replace("string", "") and "," not in inner
    return "" if text or inner.startswith("{") else f", written [{inner}]"


def _missing_file(text: str) -> str | None:
    match = re.search(r"File does not exist: '?([^'\n]+)'?|Unable to load config '([^']+)'", text)
    if match is None:
        return None
    return f"--{_whole_key(text, match.start()) or _key(text)} {match.group(1) or match.group(2)}: no such file"


def _key(text: str) -> str:
    """The outermost setting that a message is about."""
    return ".".join(re.findall(r'Parser key "([^"]+)"', text)[:1])


def _whole_key(text: str, end: int) -> str:
    """The path down to the innermost setting that a message names before an index, with the names of records."""
    keys = []
    for match in re.finditer(
        r'Parser key "([^"]+)":?(?P<dict>\s+(?:.+\n)?(?P<indent> *)Subtypes: \[dict\[str, )?', text
    ):
        if match.start() >= end:
            break
        keys.append(match[1])
        if match["dict"] is not None and (name := _name_in_dict(text[match.end() :], match["indent"])) is not None:
            keys.append(name)
    return ".".join(keys)


def _name_in_dict(text: str, indent: str) -> str | None:
    """Name of the record of a dictionary that was refused: those before it are read, and no plain ones any more."""
    given = re.search(rf"^{indent}Given value: (.*)$", text, re.MULTILINE)
    name = given and re.search(r"^NestedArg\(key='([^'.]+)|'([^']+)': \{", given[1])
    return (name[1] or name[2]) if name else None


def _record(text: str) -> str | None:
    """Class of the record that a text tried last, inside another class; None if there is none."""
    tried = re.findall(r"Subtypes: \[(?:dict\[str, |<class ')([\w.]+)", text)
    return tried[-1].rpartition(".")[2] if len(tried) > 1 and "." in tried[-1] else None


def _joined(section: str, key: str) -> str:
    """The whole dotted key of a setting of a section."""
    return f"{section}.{key}" if section and not key.startswith(f"{section}.") else key


def _kind(kinds: Iterable[str]) -> str:
    """Types in plain words, each once."""
    words: list[str] = []
    for kind in kinds:
        literal = re.search(r"Literal\[(.+)\]", kind)
        if literal is not None:
            words += [word.strip().strip("'") for word in literal.group(1).split(",")]
        elif "NoneType" in kind:
            words.append("null")
        else:
            words.append(re.sub(r"<class '(?:[\w.]+\.)?(\w+)'>", r"\1", kind.strip()))
    unique = list(dict.fromkeys(words))
    return " or ".join([", ".join(unique[:-1]), unique[-1]] if len(unique) > 1 else unique)


def _listed(names: list[str]) -> str:
    """Names after a colon, or nothing."""
    return f": choose one of {', '.join(sorted(names))}" if names else ""
