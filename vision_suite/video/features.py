"""Features of video files, row by row as they are decoded, or whole folders of them into files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from vision_suite.drafts import write_whole
from vision_suite.errors import SuiteError
from vision_suite.types import Progress
from vision_suite.types.arrays import Floats32
from vision_suite.video.backbones import ClipNetwork, Extractor
from vision_suite.video.decode import clips
from vision_suite.video.files import refuse_same_names
from vision_suite.video.lanes import Died, spread
from vision_suite.video.store import Extracted, Store

FACTS = "videos"


@dataclass(frozen=True)
class Chunk:
    """Rows of a video that came together: (n, C) float32, and whether the last one saw the video's end repeated."""

    rows: Floats32
    partial: bool


def stream_rows(
    path: Path, network: ClipNetwork, extractor: Extractor, batch_size: int, device: torch.device
) -> Iterator[Chunk]:
    """Feature rows of a video while it is decoded; holds ``batch_size`` clips at a time.

    Raises:
        DataError: The video cannot be decoded to its end.
    """
    held: list[torch.Tensor] = []
    partial = False
    for clip in clips(path, extractor.fps, extractor.clip, extractor.stride, network.resize):
        held.append(torch.from_numpy(clip.frames))
        partial = clip.partial
        if len(held) == batch_size:
            yield Chunk(network(torch.stack(held).to(device)).cpu().numpy(), partial)
            held = []
    if held:
        yield Chunk(network(torch.stack(held).to(device)).cpu().numpy(), partial)


def _sampling(extractor: Extractor) -> dict[str, object]:
    """Times of the rows, which stand in the middle of their clips."""
    return {
        "fps": extractor.fps,
        "stride": extractor.stride,
        "clip": extractor.clip,
        "offset": (extractor.clip - extractor.stride) / 2,
    }


def extract_videos(
    videos: Sequence[Path],
    target: Path,
    extractor: Extractor,
    progress: Progress,
    *,
    batch_size: int = 8,
    workers: int = 1,
    device: str = "cpu",
) -> Extracted:
    """Write ``<name>.npy`` (L, C) float32 for each video, and ``features.json`` with their times.

    Files that the folder holds already are kept, so a killed run goes on; every file appears whole or not at all. A
    video that cannot be decoded, or whose process dies, is left out and reported.

    Args:
        videos: Files with different names.
        target: Folder to write.
        extractor: The network and the sampling.
        progress: Function that is told the progress.
        batch_size: Clips at a time.
        workers: Processes, each with its share of the cores; more than one on a GPU share it.
        device: Device of the network.

    Raises:
        DataError: Two videos have one name, or the folder holds other features.
    """
    refuse_same_names(videos)
    network = ClipNetwork(extractor)
    identity = network.plain()
    store = Store(target, identity)
    todo = [path for path in videos if not store.has(path.stem)]
    out = Extracted(present=len(videos) - len(todo))
    done = out.present
    progress("extracting", done, len(videos))
    for name, reason, facts in _results(todo, store, network, batch_size, workers, device):
        done += 1
        progress("extracting", done, len(videos))
        if reason:
            out.failed[name] = reason
            continue
        out.written += 1
        write_whole(target / f".{name}.json", json.dumps(facts))
    stored = [path for path in videos if store.has(path.stem)]
    if stored:
        out.channels = int(np.load(store.path(stored[0].stem), mmap_mode="r").shape[1])
    facts = {path.stem: json.loads((target / f".{path.stem}.json").read_text("utf-8")) for path in stored
             if (target / f".{path.stem}.json").is_file()}  # fmt: skip
    contents = {**_sampling(extractor), "channels": out.channels, "resized": False, "extractor": identity, FACTS: facts}
    write_whole(target / "features.json", json.dumps(contents, indent=1) + "\n")
    return out


def _results(
    todo: Sequence[Path], store: Store, network: ClipNetwork, batch_size: int, workers: int, device: str
) -> Iterator[tuple[str, str, dict[str, object]]]:
    """Name, reason of failure ("" for none) and facts of each video, as they are done."""
    workers = max(1, min(workers, len(todo)))
    if workers == 1:
        yield from map(_Worker(store, network, batch_size, device), todo)
        return
    threads = max(1, (os.cpu_count() or 1) // workers)
    for path, found in spread(todo, workers, _start, (store, network.extractor, batch_size, device, threads)):
        if isinstance(found, Died):
            store.forget_draft(path.stem, found.pid)
            yield path.stem, str(found), {}
        else:
            yield found


class _Worker:
    """Extracts one video after another with one network."""

    def __init__(self, store: Store, network: ClipNetwork, batch_size: int, device: str) -> None:
        self.device = torch.device(device)
        self.store, self.network, self.batch_size = store, network.to(self.device), batch_size

    def __call__(self, path: Path) -> tuple[str, str, dict[str, object]]:
        try:
            chunks = list(stream_rows(path, self.network, self.network.extractor, self.batch_size, self.device))
        except SuiteError as error:
            return path.stem, str(error), {}
        rows = np.concatenate([chunk.rows for chunk in chunks])
        if not np.isfinite(rows).all():
            return path.stem, "the network gives values that are not finite: check --weights", {}
        self.store.write(path.stem, rows)
        return path.stem, "", {"file": path.name, "rows": len(rows), "last_row_padded": chunks[-1].partial}


def _start(store: Store, extractor: Extractor, batch_size: int, device: str, threads: int) -> _Worker:
    torch.set_num_threads(threads)
    return _Worker(store, ClipNetwork(extractor), batch_size, device)
