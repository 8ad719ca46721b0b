"""The plan of Emoji-ReID as data: pinned archives, authors, licences, and the numbers that the rules must give."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vision_suite.datasets.prepare.fetch import Archive
from vision_suite.yaml_text import read_yaml

DEFAULT_PLAN = Path(__file__).with_name("emoji_reid.yaml")


@dataclass(frozen=True)
class Origin:
    """A published work: a design (icon set) or the table of labels."""

    key: str
    title: str
    author: str
    author_url: str
    licence: str
    licence_url: str
    archive: Archive


@dataclass(frozen=True)
class Expected:
    """Numbers that the identity rule and the split must give for the pinned archives."""

    names_after_skin_tone_rule: int
    names_after_gender_rule: int
    count: int
    sha256: str
    train: int
    val: int
    test: int
    core_pictures: int
    all_pictures: int


@dataclass(frozen=True)
class Plan:
    """Sources of the drawings. A camera's number is the index of its design; the core designs come first."""

    rule_version: int
    core_designs: int
    designs: tuple[Origin, ...]
    labels: Origin
    expected: Expected

    @property
    def origins(self) -> tuple[Origin, ...]:
        """All archives: the designs, then the labels."""
        return (*self.designs, self.labels)

    def sources(self) -> list[dict[str, str]]:
        """The entry of each archive in the manifest."""
        return [
            {
                "key": origin.key,
                "client": origin.archive.client,
                "package": origin.archive.name,
                "version": origin.archive.version,
                "sha256": origin.archive.sha256,
                "licence": origin.licence,
            }
            for origin in self.origins
        ]

    def licence(self) -> str:
        """The licences of the pictures, in one line."""
        kinds = sorted({design.licence for design in self.designs})
        return f"each design under its own licence ({', '.join(kinds)}); see attribution"

    def attribution(self) -> str:
        """The credits that go with the pictures and with anything published from them."""
        lines = [
            f"{origin.title} by {origin.author} ({origin.author_url}), {origin.licence} ({origin.licence_url})"
            for origin in self.origins
        ]
        changes = "Changes: drawings rasterised on white, padded to a square and renamed; labels joined by name."
        share = [d.title for d in self.designs if "SA" in d.licence.split("-")]
        note = (
            f"Share-alike: {', '.join(share)}; name that licence on anything published from their pictures."
            if share
            else ""
        )
        return "\n".join([*lines, changes, *([note] if note else [])]) + "\n"


def load_plan(path: Path = DEFAULT_PLAN) -> Plan:
    """Read the plan of this package (or that of a test, in the same form)."""
    table = read_yaml(path)
    pictures = table["pictures"]
    return Plan(
        rule_version=table["rule_version"],
        core_designs=table["core_designs"],
        designs=tuple(_origin(entry) for entry in table["designs"]),
        labels=_origin(table["labels"]),
        expected=Expected(**table["identities"], core_pictures=pictures["core"], all_pictures=pictures["all"]),
    )


def _origin(entry: dict[str, Any]) -> Origin:
    return Origin(**{**entry, "archive": Archive(**{**entry["archive"], "version": str(entry["archive"]["version"])})})
