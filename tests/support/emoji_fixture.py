"""A generated stand-in for the emoji archives, for unit tests only: coloured shapes in the same icons.json layout."""

import hashlib
import io
import json
import tarfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import yaml

from vision_suite.datasets.emoji.plan import Plan, load_plan

DESIGNS = [f"design{camera}" for camera in range(8)]
# 48 plain names, plus what each rule removes.
PLAIN = [f"thing-{number:02d}" for number in range(46)] + ["moon", "sun"]
SKIN = ["hand-light-skin-tone", "hand-medium-dark", "couple-dark-heart"]
GENDERED = ["man-cook", "woman-cook", "men-dancing", "women-dancing"]
TWINS = ["cat", "grinning-cat"]
GROUPS = ["animal", "tool", "rare"]


@dataclass(frozen=True)
class FakeSet:
    """Archives in a folder, the plan that pins them, and the names that must become identities."""

    archives: Path
    plan: Plan
    identities: list[str]


def bucket(name: str) -> str:
    """The split of a name, written once more from its definition."""
    number = int.from_bytes(hashlib.sha256(name.encode()).digest(), "big") % 100
    return "train" if number < 50 else "val" if number < 60 else "test"


def body(name: str, camera: int, side: float) -> str:
    """A two-colour drawing that depends on name and design; the inner markup only."""
    seed = hashlib.sha256(f"{name} {camera}".encode()).hexdigest()
    return (
        f'<rect width="{side}" height="{side / 2}" fill="#{seed[:6]}"/>'
        f'<circle cx="{side / 2}" cy="{side / 2}" r="{side / 4}" fill="#{seed[6:12]}"/>'
    )


def icon_sets() -> list[dict]:
    """Eight icons.json tables. Designs 4..7 draw every second plain name; design 3 draws both twins alike."""
    sets = []
    for camera, design in enumerate(DESIGNS):
        side = 16.0 * (camera + 1)
        names = [*PLAIN, *SKIN, *GENDERED, *TWINS] if camera < 4 else PLAIN[::2]
        icons = {name: {"body": body(name, camera, side)} for name in names}
        if camera == 3:
            icons["grinning-cat"] = icons["cat"]
            icons["moon"] |= {"height": side / 2, "left": -1, "top": 0}
        table = {"prefix": design, "width": side, "height": side, "icons": icons, "aliases": {}}
        if camera == 1:  # an alias is not an icon: the name is no identity although all four designs know it
            table["aliases"]["star"] = {"parent": "sun"}
        elif camera < 4:
            icons["star"] = {"body": body("star", camera, side)}
        sets.append(table)
    return sets


def tar_of(path: Path, members: dict[str, bytes]) -> str:
    """Write a .tgz with these members and return its sha256."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make_fake_set(folder: Path, **changes: object) -> FakeSet:
    """Write nine archives and a plan; ``changes`` override numbers of its identities table."""
    archives = folder / "archives"
    archives.mkdir(parents=True)
    identities = sorted(PLAIN)
    labels = [
        {"label": name.replace("-", " ").title(), "subgroup": number % 2 if name != "moon" else 2}
        for number, name in enumerate(identities)
        if name != "sun"
    ]
    contents: list[tuple[str, str, dict[str, bytes]]] = [
        (design, f"@fake/{design}", {"package/icons.json": json.dumps(table).encode()})
        for design, table in zip(DESIGNS, icon_sets(), strict=True)
    ]
    groups = {"subgroups": {str(number): name for number, name in enumerate(GROUPS)}}
    contents.append(
        (
            "labels",
            "fake-labels",
            {
                "package/en/data.json": json.dumps(labels).encode(),
                "package/meta/groups.json": json.dumps(groups).encode(),
            },
        )
    )
    origins = []
    for key, name, members in contents:
        file = f"{name.replace('@', '').replace('/', '-')}-1.0.0.tgz"
        sha = tar_of(archives / file, {"package/index.js": b"throw 1", **members})
        origins.append(
            {
                "key": key,
                "title": key.title(),
                "author": "Nobody",
                "author_url": "nowhere",
                "licence": "CC0-1.0" if key != "design2" else "CC-BY-SA-4.0",
                "licence_url": "nowhere",
                "archive": {
                    "client": "npm",
                    "name": name,
                    "version": "1.0.0",
                    "file": file,
                    "sha256": sha,
                    "members": {member: hashlib.sha256(content).hexdigest() for member, content in members.items()},
                },
            }
        )
    splits = Counter(bucket(name) for name in identities)
    table = {
        "rule_version": 1,
        "core_designs": 4,
        "identities": {
            "names_after_skin_tone_rule": len(PLAIN) + len(GENDERED) + len(TWINS),
            "names_after_gender_rule": len(PLAIN) + len(TWINS),
            "count": len(identities),
            "sha256": hashlib.sha256("\n".join(identities).encode()).hexdigest(),
            "train": splits["train"],
            "val": splits["val"],
            "test": splits["test"],
            **changes,
        },
        "pictures": {"core": 4 * len(PLAIN), "all": 4 * len(PLAIN) + 4 * len(PLAIN[::2])},
        "designs": origins[:-1],
        "labels": origins[-1],
    }
    plan = folder / "plan.yaml"
    plan.write_text(yaml.safe_dump(table), encoding="utf-8")
    return FakeSet(archives, load_plan(plan), identities)


def silent(stage: str, done: int, total: int) -> None:
    """A progress listener that says nothing."""
