"""Readers of the fine-grained classification data sets' folders as published.

CUB-200-2011 (Wah et al., 2011), Stanford Cars (Krause et al., 3dRR 2013), FGVC-Aircraft (Maji et al., 2013), NABirds
(Van Horn et al., CVPR 2015). Every reader returns labels 0..C-1 and the class names in that order.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from vision_suite.datasets.files import parse_json, read_lines
from vision_suite.datasets.pictures.manifest import read_manifest
from vision_suite.datasets.pictures.matfile import read_mat, read_structs
from vision_suite.datasets.pictures.records import Listing, Record, find_folder, list_pictures, note_passed_over
from vision_suite.errors import DataError
from vision_suite.listing import FolderFiles, folder_files

CUB_LISTS = ("images.txt", "image_class_labels.txt", "train_test_split.txt", "classes.txt")
CARS_TEST = "cars_test_annos_withlabels.mat"
CARS_NAMES = ["class_names"]
AIRCRAFT_BANNER = 20  # rows of pixels at the bottom of every picture with the owner's name


def read_cub200(root: Path) -> Listing:
    """CUB-200-2011: 200 birds, 5,994 training and 5,794 test pictures, some of them grey."""
    listing = _read_cub_lists("CUB-200-2011", find_folder(root, ["CUB_200_2011", "cub200"], CUB_LISTS))
    listing.expected = {"train": (5_994, 200), "test": (5_794, 200)}
    return listing


def read_cub_folder(root: Path) -> Listing:
    """Any data set in CUB's lists; a ``MANIFEST.json`` beside them gives the expected counts."""
    listing = _read_cub_lists("CUB lists", find_folder(root, [], CUB_LISTS))
    path = listing.root / "MANIFEST.json"
    if path.is_file():
        try:
            counts = parse_json(path.read_text(encoding="utf-8-sig"))["counts"]
            listing.expected = {half: (int(counts[half]["images"]), None) for half in ("train", "test")}
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise DataError(f"{str(path)!r} is not a manifest with counts ({error!r}): prepare it again") from None
    return listing


def read_nabirds(root: Path) -> Listing:
    """NABirds: 555 classes, 23,929 training and 24,633 test pictures; class numbers are nodes of a hierarchy."""
    listing = _read_cub_lists("NABirds", find_folder(root, ["nabirds", "NABirds"], CUB_LISTS))
    listing.expected = {"train": (23_929, 555), "test": (24_633, 555)}
    return listing


def _read_cub_lists(layout: str, root: Path) -> Listing:
    """Join the lists by picture number, never by line: their order may differ."""
    pictures, classes, train = (_table(root / name) for name in CUB_LISTS[:3])
    names = _table(root / "classes.txt")
    for name, table in (("image_class_labels.txt", classes), ("train_test_split.txt", train)):
        odd = sorted(pictures.keys() ^ table.keys())
        if odd:
            raise DataError(f"{str(root / name)!r} and images.txt disagree on {len(odd)} pictures, such as {odd[0]!r}")
    try:
        used = sorted({int(number) for number in classes.values()})  # not contiguous in NABirds
        label = {str(number): position for position, number in enumerate(used)}
        listing = Listing(layout, root, {"train": [], "test": []}, class_names=[names[str(n)] for n in used])
    except ValueError:
        raise DataError(f"{str(root / 'image_class_labels.txt')!r} has class numbers that are not whole") from None
    except KeyError as error:
        raise DataError(f"{str(root / 'classes.txt')!r} does not name class {error.args[0]}") from None
    if odd := sorted(number for number, half in train.items() if half not in ("0", "1")):
        raise DataError(
            f"{str(root / 'train_test_split.txt')!r} has {train[odd[0]]!r} for picture {odd[0]!r}: use 1 (train) or 0"
        )
    for number, picture in pictures.items():
        record = Record(str(root / "images" / picture), label[str(int(classes[number]))])
        listing.splits["train" if train[number] == "1" else "test"].append(record)
    for records in listing.splits.values():
        records.sort(key=lambda record: record.path)
    return listing


def _table(path: Path) -> dict[str, str]:
    """Lines ``KEY REST`` of a list file; class numbers lose leading zeros so that they can be joined."""
    table: dict[str, str] = {}
    for number, line in enumerate(read_lines(path), start=1):
        key, _, rest = line.strip().partition(" ")
        key = str(int(key)) if key.isdecimal() else key
        if not rest.strip():
            raise DataError(f"{str(path)!r} line {number}: {line!r} has one column, two are needed")
        if key in table:
            raise DataError(f"{str(path)!r} line {number} repeats {key!r}")
        table[key] = rest.strip()
    return table


def read_stanford_cars(root: Path) -> Listing:
    """Stanford Cars: 196 models, 8,144 training and 8,041 test pictures.

    Read from ``cars_train``, ``cars_test``, ``devkit`` and ``cars_test_annos_withlabels.mat``, or from the older
    ``car_ims`` with ``cars_annos.mat``.
    """
    folders = ["stanford_cars", "StanfordCars", "stanford-cars", "cars"]
    for candidate in [root, *(root / name for name in folders)]:
        if (candidate / "cars_annos.mat").is_file():
            return _read_older_cars(candidate)
    root = find_folder(root, folders, ["cars_train", "cars_test", "devkit"])
    labelled = next((d / CARS_TEST for d in (root, root / "devkit") if (d / CARS_TEST).is_file()), None)
    if labelled is None:
        raise DataError(
            f"{CARS_TEST!r} is missing in {str(root)!r}: devkit/cars_test_annos.mat has no labels, "
            "get the file with them"
        )
    names = [
        str(name) for name in np.atleast_1d(read_mat(root / "devkit" / "cars_meta.mat", CARS_NAMES)["class_names"])
    ]
    listing = Listing("Stanford Cars", root, {}, class_names=names)
    for split, path in (("train", root / "devkit" / "cars_train_annos.mat"), ("test", labelled)):
        rows = read_structs(path, "annotations", ["fname", "class"])
        folder = root / f"cars_{split}"
        listing.splits[split] = [Record(str(folder / name), _whole(label, path) - 1) for name, label in rows]
    return _finish_cars(listing)


def _read_older_cars(root: Path) -> Listing:
    path = root / "cars_annos.mat"
    names = [str(name) for name in np.atleast_1d(read_mat(path, CARS_NAMES)["class_names"])]
    listing = Listing("Stanford Cars, older", root, {"train": [], "test": []}, class_names=names)
    for name, label, test in read_structs(path, "annotations", ["relative_im_path", "class", "test"]):
        record = Record(str(root / name), _whole(label, path) - 1)
        listing.splits["test" if _whole(test, path) else "train"].append(record)
    return _finish_cars(listing)


def _whole(text: str, path: Path) -> int:
    """A class number or flag of a list as a number."""
    try:
        return int(text)
    except ValueError:
        raise DataError(f"{str(path)!r} has {text!r} where a whole number is needed: get the list again") from None


def _finish_cars(listing: Listing) -> Listing:
    listing.expected = {"train": (8_144, 196), "test": (8_041, 196)}
    for records in listing.splits.values():
        records.sort(key=lambda record: record.path)
        if any(not 0 <= record.label < len(listing.class_names) for record in records):
            raise DataError(
                f"{str(listing.root)!r}: a picture's class is not among the {len(listing.class_names)} names"
            )
    return listing


Level = Literal["variant", "family", "manufacturer"]
AIRCRAFT_CLASSES = {"variant": ("variants", 100), "family": ("families", 70), "manufacturer": ("manufacturers", 30)}


def read_aircraft(root: Path, *, level: Level, official_val: bool) -> Listing:
    """FGVC-Aircraft: 6,667 pictures to train on (3,334 and 3,333 to validate on), 3,333 to test on.

    Args:
        root: The data set's folder or one that holds it.
        level: Level of names that are the classes: 100 variants, 70 families or 30 manufacturers.
        official_val: Keep the official validation pictures apart; otherwise they are training pictures.
    """
    names = ["data", "fgvc-aircraft-2013b/data", "fgvc-aircraft-2013b"]
    root = find_folder(root, names, ["images", "variants.txt"])
    plural, number = AIRCRAFT_CLASSES[level]
    classes = [line.strip() for line in read_lines(root / f"{plural}.txt")]
    label = {name: position for position, name in enumerate(classes)}
    sources = {"train": "train", "val": "val"} if official_val else {"train": "trainval"}
    listing = Listing("FGVC-Aircraft", root, {}, class_names=classes, notes={"level": level})
    for split, source in {**sources, "test": "test"}.items():
        path = root / f"images_{level}_{source}.txt"
        listing.splits[split] = []
        for count, line in enumerate(read_lines(path), start=1):
            picture, _, name = line.strip().partition(" ")  # names hold spaces and slashes: F/A-18
            if name.strip() not in label:
                raise DataError(f"{str(path)!r} line {count}: {name!r} is not in {plural}.txt")
            listing.splits[split].append(Record(str(root / "images" / f"{picture}.jpg"), label[name.strip()]))
        listing.splits[split].sort(key=lambda record: record.path)
    listing.expected = {"train": (3_334 if official_val else 6_667, number), "test": (3_333, number)}
    if official_val:
        listing.expected["val"] = (3_333, number)
    return listing


SPLITS = ("train", "val", "test")


def read_image_folder(root: Path) -> Listing:
    """Folders ``train/CLASS/``, ``test/CLASS/`` and optionally ``val/CLASS/`` of pictures.

    Other folders beside these, files beside the class folders, and what is no picture in them are noted.
    """
    root = find_folder(root, [], ["train"])
    classes = _class_folders(root / "train")[0]
    listing = Listing("image folder", root, {}, class_names=classes)
    beside = sorted(path for path in root.iterdir() if path.is_dir() and path.name not in SPLITS)
    hidden = [path for path in beside if path.name.startswith(".")]
    others = {"folder": [path for path in beside if path not in hidden], "hidden": hidden}
    note_passed_over(listing, ".", FolderFiles([], {kind: paths for kind, paths in others.items() if paths}))
    for split in SPLITS:
        if not (root / split).is_dir():
            continue
        names, loose = _class_folders(root / split)
        note_passed_over(listing, split, loose)
        if unknown := sorted(set(names) - set(classes)):
            raise DataError(f"{str(root / split)!r} has the class {unknown[0]!r}, which train does not have")
        listing.splits[split] = []
        for label, name in enumerate(classes):
            if name in names:
                found = list_pictures(root / split / name)
                note_passed_over(listing, f"{split}/{name}", found)
                listing.splits[split] += [Record(str(path), label) for path in found.files]
    return listing


def _class_folders(folder: Path) -> tuple[list[str], FolderFiles]:
    """Names of the class folders, sorted, and what else lies beside them."""
    beside = dict(folder_files(folder, (), deep=False).passed_over)
    names = [path.name for path in beside.pop("folder", [])]
    if not names:
        raise DataError(f"{str(folder)!r} has no class folders")
    return names, FolderFiles([], beside)


def read_fgvc_manifest(path: Path) -> Listing:
    """A CSV or JSONL manifest with ``path``, ``label`` and optionally ``split`` (train, val, test; train if empty)."""
    rows = read_manifest(path, required=("label",))
    classes = _class_order({row.values["label"] for row in rows})
    label = {name: position for position, name in enumerate(classes)}
    listing = Listing("manifest", path.parent, {}, class_names=list(classes))
    for row in rows:
        split = row.values.get("split") or "train"
        if split not in ("train", "val", "test"):
            raise DataError(f"manifest {str(path)!r} line {row.line}: split={split!r} is none of train, val, test")
        listing.splits.setdefault(split, []).append(Record(row.path, label[row.values["label"]]))
    for records in listing.splits.values():
        records.sort(key=lambda record: record.path)
    return listing


def _class_order(names: set[str]) -> Sequence[str]:
    """Sorted names; whole numbers by value, so that class 10 comes after class 9."""
    return sorted(names, key=int) if all(name.isdecimal() for name in names) else sorted(names)
