"""Readers of the re-ID data sets with lists of pictures, or with other camera numbers than Market-1501's.

MSMT17 (Wei et al., CVPR 2018), VeRi-776 (Liu et al., ECCV 2016), VehicleID (Liu et al., CVPR 2016).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from vision_suite.datasets.files import read_lines
from vision_suite.datasets.pictures.records import Listing, Record, find_folder
from vision_suite.datasets.reid.layouts import MARKET_FOLDERS, read_folders
from vision_suite.errors import DataError
from vision_suite.types import Role

MSMT17_NAMES = ["MSMT17_V1", "MSMT17_V2", "MSMT17", "msmt17/MSMT17_V1", "msmt17/MSMT17_V2", "msmt17"]
MSMT17_FOLDERS = [("train", "test"), ("mask_train_v2", "mask_test_v2")]


def read_msmt17(root: Path, *, use_val: bool) -> Listing:
    """MSMT17 version 1, version 2, or bare: 15 cameras, lists of ``PATH IDENTITY``.

    The camera is the third field of the path (``0000/0000_000_01_0303morning_0015_0.jpg`` is camera 1), the identity
    the last column. Training and test identities are both numbered from 0 but are different identities.

    Args:
        root: The data set's folder or one that holds it.
        use_val: Add ``list_val.txt`` (2,373 pictures of the training identities) to the training pictures, as TransReID
            and hence DCAL do; without it 30,248 are left.
    """
    try:
        root = find_folder(root, MSMT17_NAMES, ["list_train.txt"])
    except DataError as error:
        try:
            repacked = find_folder(root, MSMT17_NAMES, list(MARKET_FOLDERS.values()))
        except DataError:
            raise error from None
        raise DataError(
            f"{str(repacked)!r} is MSMT17 repacked in Market-1501's folders: use dataset market_folder"
        ) from None
    for train_folder, test_folder in MSMT17_FOLDERS:
        if (root / train_folder).is_dir() and (root / test_folder).is_dir():
            break
    else:
        pairs = " or ".join(" and ".join(pair) for pair in MSMT17_FOLDERS)
        raise DataError(f"{str(root)!r} has neither the folders {pairs}: unpack MSMT17 completely")
    listing = Listing("MSMT17" if train_folder == "train" else "MSMT17 version 2", root, {})
    train = _msmt17_list(root / "list_train.txt", root / train_folder, Role.GALLERY)
    if use_val:
        train += _msmt17_list(root / "list_val.txt", root / train_folder, Role.GALLERY)
    listing.splits = {
        "train": train,
        "query": _msmt17_list(root / "list_query.txt", root / test_folder, Role.QUERY),
        "gallery": _msmt17_list(root / "list_gallery.txt", root / test_folder, Role.GALLERY),
    }
    # Pictures are named ``0000_000_01_...``.
    listing.cameras = {
        record.camera: Path(record.path).name.split("_")[2] for part in listing.splits.values() for record in part
    }
    listing.notes["msmt17_use_val"] = use_val
    listing.expected = {
        "train": (32_621 if use_val else 30_248, 1_041),
        "query": (11_659, 3_060),
        "gallery": (82_161, 3_060),
    }
    return listing


def _msmt17_list(path: Path, folder: Path, role: Role) -> list[Record]:
    records = []
    for number, line in enumerate(read_lines(path), start=1):
        try:
            picture, identity = line.rsplit(maxsplit=1)
            records.append(Record(str(folder / picture), int(identity), int(picture.split("_")[2]) - 1, role=role))
        except (ValueError, IndexError):
            raise DataError(f"{str(path)!r} line {number}: {line!r} is not PATH_WITH_CAMERA IDENTITY") from None
    return sorted(records, key=lambda record: record.path)


VERI_FOLDERS = {"train": "image_train", "query": "image_query", "gallery": "image_test"}


def read_veri776(root: Path) -> Listing:
    """VeRi-776: 20 cameras with three digits in the name (``0001_c001_00016450_0.jpg``).

    Viewpoints 0..7 are read from ``keypoint_train.txt`` and ``keypoint_test.txt`` (Wang et al., ICCV 2017: a path, key
    points, and the viewpoint in the last column) if they lie beside the folders. Pictures without one are kept.
    """
    names = ["VeRi", "VeRi-776", "VeRi776", "veri776", "veri", "VeRi_with_plate"]
    root = find_folder(root, names, list(VERI_FOLDERS.values()))
    listing = read_folders("VeRi-776", root, VERI_FOLDERS)
    views = {**_viewpoints(root / "keypoint_train.txt"), **_viewpoints(root / "keypoint_test.txt")}
    if views:
        for split, records in listing.splits.items():
            listing.splits[split] = [replace(r, view=views.get(Path(r.path).name, -1)) for r in records]
            unknown = sum(record.view < 0 for record in listing.splits[split])
            listing.notes[f"{split}_without_viewpoint"] = unknown
    # Sources differ by one on the number of training identities, so it isn't checked.
    listing.expected = {"train": (37_778, None), "query": (1_678, 200), "gallery": (11_579, 200)}
    return listing


def _viewpoints(path: Path) -> dict[str, int]:
    if not path.is_file():
        return {}
    views = {}
    for number, line in enumerate(read_lines(path), start=1):
        fields = line.split()
        try:
            views[fields[0].replace("\\", "/").rsplit("/", 1)[-1]] = int(fields[-1])
        except ValueError:
            raise DataError(f"{str(path)!r} line {number} does not end in a viewpoint number") from None
    return views


def read_vehicleid(root: Path, *, test_identities: int) -> Listing:
    """VehicleID: lists of ``PICTURE IDENTITY``, no cameras.

    All pictures of the test list are read as gallery: the protocol itself draws one picture of each identity as
    gallery, several times, and takes all others as queries.

    Args:
        root: The data set's folder or one that holds it.
        test_identities: Number of identities of the test list: 800, 1600 or 2400.
    """
    root = find_folder(root, ["VehicleID_V1.0", "VehicleID", "vehicleid"], ["image", "train_test_split"])
    lists = root / "train_test_split"
    listing = Listing("VehicleID", root, {}, draws_gallery=True)
    listing.splits = {
        "train": _vehicleid_list(lists / "train_list.txt", root / "image"),
        "gallery": _vehicleid_list(lists / f"test_list_{test_identities}.txt", root / "image"),
    }
    listing.notes["vehicleid_test_identities"] = test_identities
    listing.expected = {"train": (113_346, 13_164), "gallery": (None, test_identities)}
    return listing


def _vehicleid_list(path: Path, folder: Path) -> list[Record]:
    records = []
    for number, line in enumerate(read_lines(path), start=1):
        fields = line.split()
        if len(fields) != 2 or not fields[1].isdecimal():
            raise DataError(f"{str(path)!r} line {number}: {line!r} is not PICTURE IDENTITY")
        name = fields[0] if fields[0].lower().endswith(".jpg") else f"{fields[0]}.jpg"
        records.append(Record(str(folder / name), int(fields[1])))
    return sorted(records, key=lambda record: record.path)
