"""Emoji-ReID on paper: which names are identities, which split each is in, which pictures each protocol uses.

An identity is an emoji, a camera is a design that draws it. Pure rules without pictures or files, so that each can be
tested by hand; the numbers they must give for the pinned archives are in ``emoji_reid.yaml``.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Split = Literal["train", "val", "test"]

PROTOCOLS_C = tuple(f"c{camera}" for camera in range(8))
PROTOCOLS = ("a", "b", *PROTOCOLS_C)
CLOSED_TEST_CAMERA = 3
MIN_TRAIN_IDENTITIES, MIN_TEST_IDENTITIES = 4, 2

_SKIN_TONE = re.compile(
    r"(-(light|medium-light|medium|medium-dark|dark)(-skin-tone)?)$|skin-tone|-(light|medium-light|medium|medium-dark|dark)(-|$)"
)
_GENDERED = ("man-", "woman-", "men-", "women-")


@dataclass(frozen=True)
class Picture:
    """One drawing of one identity. ``identity`` counts from 1: Market layouts keep 0000 for distractors."""

    name: str
    identity: int
    camera: int

    @property
    def market_name(self) -> str:
        """Its file name in a Market folder, where cameras count from 1."""
        return f"{self.identity:04d}_c{self.camera + 1}s1_000000_00.png"


def shared_names(core: Sequence[Iterable[str]]) -> list[str]:
    """Rules 1 and 2: names that are icons (not aliases) in every core design and no skin-tone variants, sorted."""
    common = set.intersection(*(set(names) for names in core))
    return sorted(name for name in common if not _SKIN_TONE.search(name))


def without_gendered(names: Iterable[str]) -> list[str]:
    """Rule 3: drop ``man-``, ``woman-``, ``men-``, ``women-`` names, which some designs draw like the neutral one."""
    return [name for name in names if not name.startswith(_GENDERED)]


def without_twins(names: Iterable[str], rasters: Iterable[Mapping[str, str]]) -> list[str]:
    """Rule 4: drop every name whose 64 x 64 raster equals another name's in the same design.

    Args:
        names: The names kept so far.
        rasters: Per core design the digest of each name's 64 x 64 raster.
    """
    names = list(names)
    twins: set[str] = set()
    for design in rasters:
        by_raster = defaultdict(list)
        for name in names:
            by_raster[design[name]].append(name)
        twins.update(name for group in by_raster.values() if len(group) > 1 for name in group)
    return [name for name in names if name not in twins]


def names_digest(names: Iterable[str]) -> str:
    """The sha256 of the sorted names joined by newlines."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()


def split_of(name: str) -> Split:
    """The split of an identity: its name's sha256 modulo 100, below 50 train, 50 to 59 validation, else test."""
    bucket = int(hashlib.sha256(name.encode()).hexdigest(), 16) % 100
    return "train" if bucket < 50 else "val" if bucket < 60 else "test"


def market_splits(protocol: str, pictures: Sequence[Picture], core_cameras: int = 4) -> dict[str, list[Picture]]:
    """The pictures of each Market folder of a protocol.

    ``a``: the core designs; ``b``: all designs; every test picture is query and gallery at once. ``c<q>``: training
    never sees camera q; its test pictures are the queries, those of the other cameras the gallery. The validation
    identities get the same treatment in ``query_val`` and ``bounding_box_val``.
    """
    if protocol == "a":
        pictures = [picture for picture in pictures if picture.camera < core_cameras]
    held_out = int(protocol[1:]) if protocol in PROTOCOLS_C else None
    by_split: dict[Split, list[Picture]] = {"train": [], "val": [], "test": []}
    for picture in pictures:
        by_split[split_of(picture.name)].append(picture)

    def query(split: Split) -> list[Picture]:
        return [picture for picture in by_split[split] if held_out is None or picture.camera == held_out]

    def gallery(split: Split) -> list[Picture]:
        return [picture for picture in by_split[split] if picture.camera != held_out]

    return {
        "bounding_box_train": gallery("train"),
        "query": query("test"),
        "bounding_box_test": gallery("test"),
        "query_val": query("val"),
        "bounding_box_val": gallery("val"),
    }


@dataclass(frozen=True)
class ClassifiedPicture:
    """A picture of a classification task: its class (0-based, by position in the class list) and its half."""

    picture: Picture
    label: int
    train: bool


def subgroup_task(
    pictures: Sequence[Picture], subgroups: Mapping[str, str]
) -> tuple[list[str], list[ClassifiedPicture], list[str]]:
    """The fine-grained task: tell the CLDR subgroup of an emoji never seen in training.

    Subgroups with fewer than 4 training or 2 test identities are left out, and so are the validation identities,
    since the CUB layout has two halves only.

    Returns:
        The class names in alphabetic order, the pictures, and the names of the identities that have no subgroup.
    """
    names = sorted({picture.name for picture in pictures})
    unlabelled = [name for name in names if name not in subgroups]
    counts = Counter((subgroups[name], split_of(name)) for name in names if name in subgroups)
    classes = sorted(
        group
        for group in {group for group, _ in counts}
        if counts[group, "train"] >= MIN_TRAIN_IDENTITIES and counts[group, "test"] >= MIN_TEST_IDENTITIES
    )
    label = {group: position for position, group in enumerate(classes)}
    members = [
        ClassifiedPicture(picture, label[subgroups[picture.name]], split_of(picture.name) == "train")
        for picture in pictures
        if subgroups.get(picture.name) in label and split_of(picture.name) != "val"
    ]
    return classes, members, unlabelled


def closed_task(pictures: Sequence[Picture]) -> tuple[list[str], list[ClassifiedPicture]]:
    """The closed-set task: every identity is a class, tested on the design that training never saw.

    Returns:
        The class names in alphabetic order and the pictures.
    """
    classes = sorted({picture.name for picture in pictures})
    label = {name: position for position, name in enumerate(classes)}
    members = [ClassifiedPicture(p, label[p.name], p.camera != CLOSED_TEST_CAMERA) for p in pictures]
    return classes, members


def slug(text: str) -> str:
    """A label as a design's icon name: lower case, no apostrophes, anything else to single hyphens."""
    bare = re.sub(r"['\u2018\u2019]", "", text.lower())
    return re.sub(r"[^a-z0-9]+", "-", bare).strip("-")


def subgroups_by_name(emoji: Iterable[Mapping[str, object]], subgroup_names: Mapping[str, str]) -> dict[str, str]:
    """The subgroup of each emoji by its name, from Emojibase's ``data.json`` and ``meta/groups.json`` tables."""
    return {
        slug(str(entry["label"])): subgroup_names[str(entry["subgroup"])]
        for entry in emoji
        if entry.get("subgroup") is not None
    }
