"""Readers of the re-ID data sets' folders as published; layouts and counts as in the data sets' papers.

Every reader returns the identities' own numbers; cameras are 0-based. Junk detections (identity -1) are left out and
counted, because protocols ignore them for every query. Distractors (identity 0 in Market-1501's gallery) stay.
"""

from __future__ import annotations

import re
from pathlib import Path

from vision_suite.datasets.files import parse_json
from vision_suite.datasets.pictures.manifest import read_manifest
from vision_suite.datasets.pictures.records import Listing, Record, find_folder, list_pictures, note_passed_over
from vision_suite.errors import DataError
from vision_suite.types import Role

# One pattern for one, two and three digits: Market's usual one-digit pattern reads camera 0 out of VeRi's c001.
NAME = re.compile(r"^(-?\d+)_c(\d+)")


def read_folder(listing: Listing, name: str, role: Role = Role.GALLERY) -> list[Record]:
    """Pictures named ``IDENTITY_cCAMERA...`` with cameras counted from 1.

    Args:
        listing: Listing, whose notes get the numbers of what is left out.
        name: Name of the folder below the listing's root.
        role: Role of the pictures.

    Returns:
        Records in the order of their names.

    Raises:
        DataError: The folder is missing or empty, or a name doesn't fit.
    """
    folder = listing.root / name
    found = list_pictures(folder)
    note_passed_over(listing, name, found)
    records, junk = [], 0
    for path in found.files:
        match = NAME.match(path.name)
        if match is None or int(match[2]) < 1:
            raise DataError(f"{str(path)!r} is not named IDENTITY_cCAMERA... with cameras from 1: rename or remove it")
        if int(match[1]) < 0:
            junk += 1
        else:
            records.append(Record(str(path), int(match[1]), int(match[2]) - 1, role=role))
    if junk:
        listing.notes[f"{name}_junk"] = junk
    return records


def camera_name(file: str) -> str:
    """The camera as a file's name gives it, such as ``c001``; empty if it gives none."""
    match = NAME.match(file)
    return "" if match is None else f"c{match[2]}"


def read_folders(layout: str, root: Path, folders: dict[str, str]) -> Listing:
    """A listing of several such folders, by split name; what is left out is noted per folder."""
    listing = Listing(layout, root, {})
    for split, folder in folders.items():
        role = Role.QUERY if split.startswith("query") else Role.GALLERY
        listing.splits[split] = read_folder(listing, folder, role)
        for record in listing.splits[split]:
            if record.camera not in listing.cameras:
                listing.cameras[record.camera] = camera_name(Path(record.path).name)
    return listing


MARKET_FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
VALIDATION_FOLDERS = {"query_val": "query_val", "gallery_val": "bounding_box_val"}


def read_market_folder(root: Path) -> Listing:
    """Any data set in Market-1501's folders; ``query_val`` and ``bounding_box_val`` are read when there.

    ``MANIFEST.json`` of a prepared set gives the expected counts by folder name.
    """
    root = find_folder(root, [], list(MARKET_FOLDERS.values()))
    present = {split: name for split, name in VALIDATION_FOLDERS.items() if (root / name).is_dir()}
    if len(present) == 1:
        raise DataError(
            f"{str(root)!r} has only one of {', '.join(VALIDATION_FOLDERS.values())}: add the other or remove it"
        )
    folders = MARKET_FOLDERS | present
    listing = read_folders("Market folders", root, folders)
    counts = _manifest_counts(root / "MANIFEST.json")
    listing.expected = {split: counts[name] for split, name in folders.items() if name in counts}
    return listing


def _manifest_counts(path: Path) -> dict[str, tuple[int | None, int | None]]:
    if not path.is_file():
        return {}
    try:
        counts = parse_json(path.read_text(encoding="utf-8-sig"))["counts"]
        return {str(name): (int(c["images"]), int(c["identities"])) for name, c in counts.items()}
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise DataError(
            f"{str(path)!r} is not a manifest with counts ({error!r}): prepare the data set again"
        ) from None


MARKET_COUNTS = {"train": (12_936, 751), "query": (3_368, 750), "gallery": (15_913, 751)}
DUKE_COUNTS = {"train": (16_522, 702), "query": (2_228, 702), "gallery": (17_661, 1_110)}
OCCLUDED_DUKE_COUNTS = {"train": (15_618, 702), "query": (2_210, 519), "gallery": (17_661, 1_110)}


def read_market1501(root: Path, *, multi_query: bool) -> Listing:
    """Market-1501 (Zheng et al., ICCV 2015): 6 cameras; gallery of 15,913 without the 3,819 junk detections.

    Args:
        root: The data set's folder or one that holds it.
        multi_query: Also read the ``gt_bbox`` pictures that share identity and camera with a query, as support.
    """
    names = ["Market-1501-v15.09.15", "market1501/Market-1501-v15.09.15", "market1501", "Market-1501"]
    listing = _read_published("Market-1501", root, names, MARKET_COUNTS)
    if multi_query:
        support = read_folder(listing, "gt_bbox", Role.SUPPORT)
        wanted = {(record.label, record.camera) for record in listing.splits["query"]}
        listing.splits["support"] = [record for record in support if (record.label, record.camera) in wanted]
    return listing


def read_dukemtmc(root: Path) -> Listing:
    """DukeMTMC-reID (Zheng et al., ICCV 2017): 8 cameras."""
    names = ["DukeMTMC-reID", "dukemtmc-reid/DukeMTMC-reID", "dukemtmcreid", "dukemtmc-reid"]
    return _read_published("DukeMTMC-reID", root, names, DUKE_COUNTS)


def read_occluded_duke(root: Path) -> Listing:
    """Occluded-Duke (Miao et al., ICCV 2019): DukeMTMC-reID's pictures with occluded queries."""
    names = ["Occluded_Duke", "occluded_duke", "Occluded-DukeMTMC-reID", "Occluded-Duke"]
    return _read_published("Occluded-Duke", root, names, OCCLUDED_DUKE_COUNTS)


def _read_published(layout: str, root: Path, names: list[str], counts: dict[str, tuple[int, int]]) -> Listing:
    """A published data set in Market-1501's folders, with its official (pictures, identities) by split."""
    listing = read_folders(layout, find_folder(root, names, list(MARKET_FOLDERS.values())), MARKET_FOLDERS)
    listing.expected = {**counts}
    return listing


MANIFEST_SPLITS = {
    "train": Role.GALLERY,
    "query": Role.QUERY,
    "gallery": Role.GALLERY,
    "query_val": Role.QUERY,
    "gallery_val": Role.GALLERY,
}


def read_reid_manifest(path: Path) -> Listing:
    """A CSV or JSONL manifest with ``path``, ``id`` and optionally ``camera``, ``view`` and ``split``.

    Rows without a split are training pictures. Identities that aren't all whole numbers are numbered in sorted order;
    cameras and views are taken as they are (0-based or not), an empty one is unknown.
    """
    rows = read_manifest(path, required=("id",))
    names = {row.values["id"] for row in rows}
    numeric = all(re.fullmatch(r"-?\d{1,18}", name) for name in names)  # longer ones are names: 64 bits hold no more
    number = {name: int(name) if numeric else position for position, name in enumerate(sorted(names))}
    listing = Listing("manifest", path.parent, {})
    listing.identities = {} if numeric else {position: name for name, position in number.items()}
    junk = 0
    for row in rows:
        split = row.values.get("split") or "train"
        if split not in MANIFEST_SPLITS:
            allowed = ", ".join(MANIFEST_SPLITS)
            raise DataError(f"manifest {str(path)!r} line {row.line}: split={split!r} is none of {allowed}")
        identity = number[row.values["id"]]
        if identity < 0:
            junk += 1
            continue
        camera, view = row.integer("camera", path), row.integer("view", path)
        record = Record(row.path, identity, max(camera, -1), max(view, -1), MANIFEST_SPLITS[split])
        listing.splits.setdefault(split, []).append(record)
    for records in listing.splits.values():
        records.sort(key=lambda record: record.path)
    if junk:
        listing.notes["manifest_junk"] = junk
    return listing
