"""Pictures of COCO's instances files as a listing, with the names that each of them shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vision_suite.datasets.pictures.records import Listing, Record
from vision_suite.detectors.instances import InstancePicture, Instances, read_instances
from vision_suite.errors import ConfigError, DataError
from vision_suite.types.arrays import Bools

Only = Mapping[str, Sequence[str]]


@dataclass
class PresenceListing(Listing):
    """A listing whose records have as their label the row of `present` that tells their names.

    Attributes:
        present: (N, K) names of each picture.
    """

    present: Bools = field(default_factory=lambda: np.zeros((0, 0), dtype=np.bool_))

    def counts(self) -> dict[str, dict[str, int]]:
        """Numbers of ``images`` and ``objects`` (different names in a picture count), by split."""
        return {
            split: {
                "images": len(records),
                "objects": int(self.present[[record.label for record in records]].sum()),
            }
            for split, records in self.splits.items()
        }


def read_presence(files: Mapping[str, Path], image_root: Path | None, only: Mapping[str, Only]) -> PresenceListing:
    """Read the instances files of splits.

    Names are the categories of the first file in the order of their ids; the others may have fewer of them.

    Args:
        files: Instances file of each split.
        image_root: Folder of their file names; by default each file's own.
        only: Values, by split, that an entry of an image must have to be kept, such as ``{"design": ["noto"]}``.

    Raises:
        DataError: A file cannot be read, has other names than the first one, or no picture is left.
        ConfigError: No picture of a file has such an entry.
    """
    tables = {split: read_instances(path, image_root) for split, path in files.items()}
    names = next(iter(tables.values())).names
    index = {name: number for number, name in enumerate(names)}
    listing = PresenceListing("COCO instances", next(iter(files.values())).parent, {}, class_names=list(names))
    rows: list[Bools] = []
    left_out: dict[str, dict[str, int]] = {}
    for split, table in tables.items():
        if unknown := sorted(set(table.names) - set(names)):
            raise DataError(f"{str(table.path)!r} has the category {unknown[0]!r}, which the first file does not have")
        kept = [picture for picture in table.pictures if _kept(picture, only.get(split, {}), table)]
        if not kept:
            raise DataError(f"{str(table.path)!r} has no picture for {split}: choose another file or other values")
        listing.splits[split] = [Record(str(each.path), len(rows) + place) for place, each in enumerate(kept)]
        for picture in kept:
            row = np.zeros(len(names), dtype=np.bool_)
            row[[index[table.names[each.name]] for each in picture.objects]] = True
            rows.append(row)
        if len(kept) < len(table.pictures):
            left_out[split] = {"images": len(table.pictures) - len(kept)}
    listing.present = np.stack(rows)
    if left_out:
        listing.notes["left_out"] = left_out
    return listing


def _kept(picture: InstancePicture, only: Only, table: Instances) -> bool:
    for entry, values in only.items():
        if entry not in picture.facts:
            known = ", ".join(sorted(picture.facts)) or "none"
            raise ConfigError(f"{str(table.path)!r} tells no {entry!r} of its images: choose one of {known}")
        if str(picture.facts[entry]) not in values:
            return False
    return True
