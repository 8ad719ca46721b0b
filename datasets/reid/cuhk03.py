"""CUHK03 (Li et al., CVPR 2014): its MATLAB container, extracted pictures, and the folders of the new protocol.

``cuhk-03.mat`` holds, for each of 5 camera pairs, a table of identities x 10 pictures; the first camera of the
pair took pictures 1 to 5, the second 6 to 10. Pictures are read out of the container one by one.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal

import numpy as np

from vision_suite.datasets.pictures.containers import open_container
from vision_suite.datasets.pictures.matfile import read_mat
from vision_suite.datasets.pictures.records import Listing, Record
from vision_suite.datasets.reid.layouts import MARKET_FOLDERS, read_folders
from vision_suite.errors import DataError
from vision_suite.types import Role

BoxSource = Literal["detected", "labeled"]

CONTAINER_NAMES = ["cuhk-03.mat", "cuhk03_release/cuhk-03.mat", "cuhk03/cuhk03_release/cuhk-03.mat"]
NEW_COUNTS: dict[str, dict[str, tuple[int | None, int | None]]] = {
    "detected": {"train": (7_365, 767), "query": (1_400, 700), "gallery": (5_332, 700)},
    "labeled": {"train": (7_368, 767), "query": (1_400, 700), "gallery": (5_328, 700)},
}
CAMERAS = {0: "c1", 1: "c2"}  # of a pair, as the folders of the new protocol name them
PICTURE = re.compile(r"(\d+)_(\d+)_(\d)_(\d+)\.png")  # camera pair, identity in the pair, camera, picture


def read_cuhk03(root: Path, *, boxes: BoxSource, split: Literal["new", "classic"], trial: int) -> Listing:
    """Read CUHK03 from the folders of the new protocol, or from the container with its list of pictures.

    Args:
        root: The data set's folder or one that holds it.
        boxes: Hand-labelled or detected boxes; results on the two are reported separately.
        split: The new protocol of 767 training and 700 test identities (Zhong et al., CVPR 2017), or the classic one of
            1,367 and 100, in which every test picture is query and gallery entry.
        trial: Number of the test set of the classic protocol, 0 to 19.
    """
    if split == "classic":
        return _read_classic(root, boxes, trial)
    folder = _new_protocol_folder(root, boxes)
    if folder is not None:
        listing = read_folders(f"CUHK03 folders, {boxes}", folder, MARKET_FOLDERS)
        listing.expected = NEW_COUNTS[boxes]
        return listing
    return _read_new_container(root, boxes)


def _new_protocol_folder(root: Path, boxes: BoxSource) -> Path | None:
    spellings = ["labeled", "labelled"] if boxes == "labeled" else ["detected"]
    tops = ["", "cuhk03-np", "cuhk03/cuhk03-np", "CUHK03-NP"]
    candidates = [root / top / name for top in tops for name in spellings]
    if root.name in spellings:  # the folder of the other boxes must not be taken for this one
        candidates.insert(0, root)
    return next((c for c in candidates if all((c / name).is_dir() for name in MARKET_FOLDERS.values())), None)


def _find_container(root: Path) -> Path:
    for name in CONTAINER_NAMES:
        if (root / name).is_file():
            return root / name
    raise DataError(
        f"{str(root)!r} holds neither {' nor '.join(CONTAINER_NAMES)} nor cuhk03-np folders: "
        "point --data.root at the unpacked CUHK03"
    )


def _read_new_container(root: Path, boxes: BoxSource) -> Listing:
    container = _find_container(root)
    name = f"cuhk03_new_protocol_config_{boxes}.mat"
    candidates = [container.parent / name, container.parent.parent / name, root / name]
    config = next((candidate for candidate in candidates if candidate.is_file()), None)
    if config is None:
        raise DataError(f"list file {name!r} is missing beside {str(container)!r}: it defines the new protocol")
    indices = ["train_idx", "query_idx", "gallery_idx"]
    table = read_mat(config, ["labels", "filelist", *indices])
    files = [str(name) for name in np.atleast_1d(table["filelist"])]
    try:
        labels = np.atleast_1d(table["labels"]).astype(int)
        rows = {name: np.atleast_1d(table[name]).astype(int) - 1 for name in indices}
    except (TypeError, ValueError) as error:
        raise DataError(f"{str(config)!r} has labels or numbers of pictures that are not whole ({error})") from None
    if len(labels) != len(files) or any(((own < 0) | (own >= len(files))).any() for own in rows.values()):
        raise DataError(f"{str(config)!r} names pictures that are not among its {len(files)} files and their labels")
    extracted = container.parent.parent / f"images_{boxes}"
    listing = Listing(f"CUHK03 container, {boxes}", container.parent, {}, NEW_COUNTS[boxes], cameras=CAMERAS)
    for name in indices:
        split = name.removesuffix("_idx")
        role = Role.QUERY if split == "query" else Role.GALLERY
        listing.splits[split] = []
        for index in rows[name].tolist():
            pair, identity, camera, picture = _fields(files[index], config)
            in_container = f"{container}::{boxes}/{pair}/{identity}/{picture}"
            path = str(extracted / files[index]) if extracted.is_dir() else in_container
            listing.splits[split].append(Record(path, int(labels[index]), camera - 1, role=role))
    return listing


def _fields(name: str, source: Path) -> tuple[int, int, int, int]:
    match = PICTURE.fullmatch(name)
    if match is None:
        raise DataError(f"{str(source)!r} names {name!r}, which is not PAIR_IDENTITY_CAMERA_PICTURE.png")
    pair, identity, camera, picture = (int(field) for field in match.groups())
    return pair, identity, camera, picture


def _read_classic(root: Path, boxes: BoxSource, trial: int) -> Listing:
    container = _find_container(root)
    try:
        return _classic_listing(container, boxes, trial)
    except DataError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, OSError, RuntimeError, AttributeError) as error:
        raise DataError(f"{str(container)!r} is damaged or no container of CUHK03 ({error}): copy it again") from None


def _classic_listing(container: Path, boxes: BoxSource, trial: int) -> Listing:
    file = open_container(str(container), os.getpid())
    sets = file["testsets"][0]
    if not 0 <= trial < len(sets):
        raise DataError(f"cuhk03_trial={trial}: {str(container)!r} has test sets 0 to {len(sets) - 1}")
    test_ids = {(int(pair), int(identity)) for pair, identity in file[sets[trial]][:].T}
    train: list[Record] = []
    test: list[Record] = []
    for pair, reference in enumerate(file[boxes][0], start=1):
        table = file[reference]
        for identity in range(1, table.shape[1] + 1):
            target = test if (pair, identity) in test_ids else train
            for picture in range(1, table.shape[0] + 1):
                if file[table[picture - 1, identity - 1]].ndim == 3:  # an empty cell is two-dimensional
                    address = f"{container}::{boxes}/{pair}/{identity}/{picture}"
                    target.append(Record(address, pair * 10_000 + identity, 0 if picture <= 5 else 1))
    queries = [Record(r.path, r.label, r.camera, role=Role.QUERY) for r in test]
    listing = Listing(f"CUHK03 container, {boxes}, classic test set {trial}", container.parent, {}, cameras=CAMERAS)
    listing.splits = {"train": train, "query": queries, "gallery": test}
    listing.expected = {"train": (None, 1_367), "query": (None, 100), "gallery": (None, 100)}
    return listing
