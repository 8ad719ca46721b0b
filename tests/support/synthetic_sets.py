"""Tiny generated trees in the layouts of the data sets that aren't plain Market folders, for tests only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
from synthetic import draw, save


def write_msmt17(
    root: Path, *, folders: tuple[str, str] = ("train", "test"), train_ids: int = 4, test_ids: int = 3, cameras: int = 3
) -> Path:
    """MSMT17: identities from 0 in training and in test, one ``list_val`` picture per training identity.

    Args:
        root: Folder to write into.
        folders: Names of the picture folders, which tell the versions apart.
        train_ids: Training identities.
        test_ids: Test identities.
        cameras: Cameras; picture paths count them from 1.
    """
    lists: dict[str, list[str]] = {"train": [], "val": [], "query": [], "gallery": []}
    for folder, identities in zip(folders, (train_ids, test_ids), strict=True):
        training = folder == folders[0]
        for identity in range(identities):
            for shot in range(cameras * 2):
                camera = shot % cameras
                path = f"{identity:04d}/{identity:04d}_{shot:03d}_{camera + 1:02d}_0303morning_{shot:04d}_0.jpg"
                save(root / folder / path, identity + (0 if training else 100), camera, shot)
                if training:
                    split = "val" if shot == 0 else "train"
                else:
                    split = "query" if shot < cameras else "gallery"
                lists[split].append(f"{path} {identity}")
    for split, lines in lists.items():
        # Not in sorted order, as in the real lists of some versions.
        (root / f"list_{split}.txt").write_text("\n".join(reversed(lines)) + "\n", encoding="utf-8")
    return root


def write_veri776(root: Path, *, cameras: tuple[int, ...] = (1, 2, 12, 20), viewpoints: bool = True) -> Path:
    """VeRi-776: 3-digit cameras; viewpoint files that leave one training picture out."""
    lines: dict[str, list[str]] = {"train": [], "test": []}
    for folder, identities, shot in (
        ("image_train", (1, 4, 9), 0),
        ("image_query", (2, 5), 1),
        ("image_test", (2, 5), 2),
    ):
        for identity in identities:
            for number, camera in enumerate(cameras):
                name = f"{identity:04d}_c{camera:03d}_{shot:08d}_0.jpg"
                save(root / folder / name, identity, camera - 1, shot)
                half = "train" if folder == "image_train" else "test"
                lines[half].append(f"/somewhere/VeRi/{folder}/{name} -1 -1 12 {number % 8}")
    if viewpoints:
        for half, rows in lines.items():
            (root / f"keypoint_{half}.txt").write_text("\n".join(rows[1:]) + "\n", encoding="utf-8")
    return root


def write_vehicleid(root: Path, *, train_ids: int = 4, test_ids: int = 3, shots: int = 3) -> Path:
    """VehicleID: one folder of numbered pictures, lists of ``PICTURE IDENTITY``, no cameras."""
    lists = root / "train_test_split"
    lists.mkdir(parents=True)
    number = 0
    for name, identities in (("train_list", range(train_ids)), ("test_list_800", range(50, 50 + test_ids))):
        lines = []
        for identity in identities:
            for shot in range(shots):
                number += 1
                save(root / "image" / f"{number:07d}.jpg", identity, 0, shot)
                lines.append(f"{number:07d} {identity}")
        (lists / f"{name}.txt").write_text("\n".join(reversed(lines)) + "\n", encoding="utf-8")
    return root


def write_cuhk03(root: Path, *, ids_per_pair: int = 3, boxes: tuple[str, ...] = ("detected", "labeled")) -> Path:
    """CUHK03's MATLAB 7.3 container (2 camera pairs, empty cells for missing pictures) and new-protocol lists.

    The last identity of each pair is a test identity; the container's only classic test set holds the same ones.
    """
    from scipy.io import savemat

    release = root / "cuhk03_release"
    release.mkdir(parents=True)
    with h5py.File(release / "cuhk-03.mat", "w") as file:
        cells = file.create_group("#refs#")
        for box in boxes:
            top = file.create_dataset(box, (1, 2), dtype=h5py.ref_dtype)
            names, labels, test = [], [], []
            for pair in range(2):
                table = cells.create_dataset(f"{box}{pair}", (10, ids_per_pair), dtype=h5py.ref_dtype)
                top[0, pair] = table.ref
                for identity in range(ids_per_pair):
                    for picture in range(10):
                        missing = picture in (4, 9) and identity == 0
                        pixels = np.asarray(draw(pair * 10 + identity, picture // 5, picture, (20, 10)))
                        cell = np.zeros((2, 1), np.uint64) if missing else pixels.transpose(2, 1, 0)
                        entry = cells.create_dataset(f"{box}_{pair}_{identity}_{picture}", data=cell)
                        table[picture, identity] = entry.ref
                        if not missing:
                            camera = 1 if picture < 5 else 2
                            names.append(f"{pair + 1}_{identity + 1:03d}_{camera}_{picture + 1:02d}.png")
                            labels.append(pair * ids_per_pair + identity + 1)
                            test.append(identity == ids_per_pair - 1)
            order = np.arange(1, len(names) + 1)
            held = np.array(test)
            query = np.array([t and int(n.split("_")[3][:2]) in (1, 6) for n, t in zip(names, test, strict=True)])
            table_of_names = np.empty((len(names), 1), dtype=object)
            table_of_names[:, 0] = names
            splits = {"train_idx": order[~held], "query_idx": order[query], "gallery_idx": order[held & ~query]}
            config = {"labels": np.array(labels), "filelist": table_of_names, **splits}
            savemat(root / f"cuhk03_new_protocol_config_{box}.mat", config)
        sets = file.create_dataset("testsets", (1, 1), dtype=h5py.ref_dtype)
        chosen = np.array([[1, ids_per_pair], [2, ids_per_pair]], dtype=np.float64)
        sets[0, 0] = cells.create_dataset("set0", data=chosen.T).ref
    return root


def write_cub(root: Path, *, classes: int = 3, train: int = 4, test: int = 2, size: tuple[int, int] = (40, 48)) -> Path:
    """CUB-200-2011's lists, each in an order of its own, and a grey picture."""
    number, rows = 0, []
    for label in range(1, classes + 1):
        folder = f"{label:03d}.Bird_{label}"
        for shot in range(train + test):
            number += 1
            path = f"{folder}/Bird_{number:04d}.jpg"
            picture = draw(label, 0, shot, size)
            target = root / "images" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            (picture.convert("L") if number == 1 else picture).save(target)
            rows.append((number, path, label, int(shot < train)))
    _lines(root / "images.txt", [f"{n} {path}" for n, path, _, _ in rows])
    _lines(root / "image_class_labels.txt", [f"{n} {label}" for n, _, label, _ in reversed(rows)])
    _lines(root / "train_test_split.txt", [f"{n} {t}" for n, _, _, t in rows[1:] + rows[:1]])
    _lines(root / "classes.txt", [f"{label} {label:03d}.Bird_{label}" for label in range(1, classes + 1)])
    return root


def write_nabirds(root: Path, *, nodes: tuple[int, ...] = (817, 295, 1010)) -> Path:
    """NABirds: class numbers are nodes of a hierarchy, with leading zeros in the folder names."""
    rows = []
    for node in nodes:
        for shot in range(4):
            key = f"{node:08x}-{shot:04d}-4d0c-bfe1-4cae3c85c829"
            path = f"{node:04d}/{key.replace('-', '')}.jpg"
            save(root / "images" / path, node, 0, shot)
            rows.append((key, path, node, int(shot < 3)))
    _lines(root / "images.txt", [f"{key} {path}" for key, path, _, _ in rows])
    _lines(root / "image_class_labels.txt", [f"{key} {node}" for key, _, node, _ in rows])
    _lines(root / "train_test_split.txt", [f"{key} {train}" for key, _, _, train in rows])
    names = {0: "Birds", 295: "Common Eider (Adult male)", 817: "Oak Titmouse", 1010: "Verdin", 22: "Ducks"}
    _lines(root / "classes.txt", [f"{node} {name}" for node, name in names.items()])
    return root


def write_cars(root: Path, *, older: bool = False, test_labels: bool = True) -> Path:
    """Stanford Cars with its devkit, or in the older layout of one folder and one list."""
    from scipy.io import savemat

    names = np.array(["AM General Hummer SUV 2000", "Audi S4 Sedan 2012"], dtype=object)
    fields = ["bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname"]
    entries = {split: [(1, 1, 9, 9, 1 + n % 2, f"{n + 1:05d}.jpg") for n in range(4)] for split in ("train", "test")}
    root.mkdir(parents=True, exist_ok=True)
    if older:
        together = []
        for n in range(8):
            save(root / "car_ims" / f"{n + 1:06d}.jpg", 1 + n % 2, 0, n)
            together.append((f"car_ims/{n + 1:06d}.jpg", 1, 1, 9, 9, 1 + n % 2, int(n >= 5)))
        annotations = _struct(["relative_im_path", *fields[:5], "test"], together)
        savemat(root / "cars_annos.mat", {"annotations": annotations, "class_names": names})
        return root
    for split, rows in entries.items():
        for n, row in enumerate(rows):
            save(root / f"cars_{split}" / str(row[5]), row[4], 0, n)
    (root / "devkit").mkdir()
    savemat(root / "devkit" / "cars_meta.mat", {"class_names": names})
    savemat(root / "devkit" / "cars_train_annos.mat", {"annotations": _struct(fields, entries["train"])})
    unlabelled = _struct([*fields[:4], "fname"], [(*row[:4], row[5]) for row in entries["test"]])
    savemat(root / "devkit" / "cars_test_annos.mat", {"annotations": unlabelled})
    if test_labels:
        savemat(root / "cars_test_annos_withlabels.mat", {"annotations": _struct(fields, entries["test"])})
    return root


def write_aircraft(root: Path, *, size: tuple[int, int] = (60, 48)) -> Path:
    """FGVC-Aircraft with names that hold spaces and slashes, and a red banner below each picture."""
    data = root / "data"
    levels = {
        "variant": ["707-320", "F/A-18", "Boeing 717"],
        "family": ["Boeing 707", "F/A-18"],
        "manufacturer": ["Boeing", "McDonnell Douglas"],
    }
    plural = {"variant": "variants", "family": "families", "manufacturer": "manufacturers"}
    names = {0: ("707-320", "Boeing 707", "Boeing"), 1: ("F/A-18", "F/A-18", "McDonnell Douglas")}
    names[2] = ("Boeing 717", "Boeing 707", "Boeing")
    rows: dict[str, list[tuple[str, tuple[str, str, str]]]] = {"train": [], "val": [], "test": []}
    (data / "images").mkdir(parents=True)
    for label, of_levels in names.items():
        for shot, split in enumerate(("train", "train", "val", "test")):
            number = f"{1025794 + 10 * label + shot}"
            picture = draw(label, 0, shot, (size[0] - 20, size[1]))
            page = np.full((*size, 3), (255, 0, 0), dtype=np.uint8)
            page[: size[0] - 20] = np.asarray(picture)
            save_array(data / "images" / f"{number}.jpg", page)
            rows[split].append((number, of_levels))
    rows["trainval"] = rows["train"] + rows["val"]
    for position, (level, classes) in enumerate(levels.items()):
        _lines(data / f"{plural[level]}.txt", classes)
        for split, members in rows.items():
            _lines(data / f"images_{level}_{split}.txt", [f"{number} {n[position]}" for number, n in members])
    return root


def write_image_folder(
    root: Path, *, splits: tuple[str, ...] = ("train", "test"), classes: int = 3, shots: int = 4
) -> Path:
    """Pictures in ``SPLIT/CLASS/``."""
    for split in splits:
        for label in range(classes):
            for shot in range(shots):
                save(root / split / f"class_{label}" / f"{split}_{shot}.png", label, 0, shot)
    return root


def save_array(path: Path, pixels: np.ndarray) -> None:
    """Write (h, w, 3) uint8 pixels with little loss."""
    from PIL import Image

    Image.fromarray(pixels).save(path, quality=95, subsampling=0)


def _lines(path: Path, lines: list[str]) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _struct(fields: Sequence[str], rows: Sequence[tuple[object, ...]]) -> np.ndarray:
    """A MATLAB struct array of one row."""
    table = np.empty((1, len(rows)), dtype=[(name, object) for name in fields])
    for position, row in enumerate(rows):
        table[0, position] = row
    return table
