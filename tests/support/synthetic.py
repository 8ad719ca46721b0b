"""Tiny generated data sets in the real on-disk layouts, for tests only.

Each identity or class is a coloured shape of its own; each camera tints the background. Never a stand-in for real data.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def draw(identity: int, camera: int, shot: int, size: tuple[int, int]) -> Image.Image:
    """A shape whose colour and outline tell the identity, on a background tinted by the camera, moved by the shot.

    Args:
        identity: Number of the identity or class.
        camera: 0-based camera.
        shot: Number of the picture of this identity and camera.
        size: Height and width in pixels.
    """
    height, width = size
    rng = np.random.default_rng([identity, 17])
    colour, angle, squash = rng.integers(0, 200, 3), rng.uniform(0, np.pi), rng.uniform(0.4, 1.0)
    noise = np.random.default_rng([identity, camera, shot])
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float64)
    y = (ys - height / 2 + noise.uniform(-1, 1)) / (height / 2)
    x = (xs - width / 2 + noise.uniform(-1, 1)) / (width / 2)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    inside = np.abs(u) ** (1 + identity % 3) + np.abs(v / squash) ** (1 + identity % 3) < 0.6
    pixels = np.full((height, width, 3), 215.0) + noise.normal(0, 4, (height, width, 3))
    pixels[..., camera % 3] += 25
    pixels[inside] = colour + noise.normal(0, 4, (int(inside.sum()), 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def save(path: Path, identity: int, camera: int = 0, shot: int = 0, size: tuple[int, int] = (32, 16)) -> None:
    """Draw one picture and write it in the format of the file name, making folders as needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draw(identity, camera, shot, size).save(path)


def write_market(
    root: Path,
    *,
    train_ids: int = 6,
    test_ids: int = 4,
    val_ids: int = 0,
    cameras: int = 3,
    shots: int = 2,
    size: tuple[int, int] = (32, 16),
    suffix: str = ".jpg",
    manifest: bool = False,
) -> Path:
    """Market-1501's folders: ``bounding_box_train``, ``query`` (one picture per id and camera), ``bounding_box_test``.

    Args:
        root: Folder to write into.
        train_ids: Training identities, numbered 1, 3, 5, ... so that labels differ from numbers.
        test_ids: Test identities, numbered 2, 4, 6, ...
        val_ids: Identities of ``query_val`` and ``bounding_box_val``; none leaves these folders out.
        cameras: Cameras; each sees every identity.
        shots: Pictures per identity and camera in training and gallery.
        size: Height and width.
        suffix: File name suffix, which decides the format.
        manifest: Also write ``MANIFEST.json`` with the counts, as a prepared set has it.

    Returns:
        `root`.
    """
    splits = {"bounding_box_train": (range(1, 2 * train_ids, 2), shots)}
    splits["query"] = (range(2, 2 * test_ids + 1, 2), 1)
    splits["bounding_box_test"] = (range(2, 2 * test_ids + 1, 2), shots)
    if val_ids:
        numbers = range(1001, 1001 + val_ids)
        splits |= {"query_val": (numbers, 1), "bounding_box_val": (numbers, shots)}
    counts = {}
    for folder, (numbers, per_camera) in splits.items():
        offset = 100 if folder.startswith("query") else 0
        write_market_folder(Path(root) / folder, numbers, cameras, range(offset, offset + per_camera), size, suffix)
        counts[folder] = {"images": len(numbers) * cameras * per_camera, "identities": len(numbers)}
    if manifest:
        (Path(root) / "MANIFEST.json").write_text(json.dumps({"name": "synthetic", "counts": counts}))
    return Path(root)


def write_market_folder(
    folder: Path, identities: Sequence[int], cameras: int, shots: Sequence[int], size: tuple[int, int], suffix: str
) -> None:
    """One folder of pictures named ``0002_c1s1_000003_00`` (identity, 1-based camera, sequence, frame, box)."""
    for identity in identities:
        for camera in range(cameras):
            for shot in shots:
                name = f"{identity:04d}_c{camera + 1}s1_{shot:06d}_00{suffix}"
                save(folder / name, identity, camera, shot, size)
