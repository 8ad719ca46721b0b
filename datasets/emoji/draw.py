"""Drawings to pictures: icon sets as published (SVG markup in JSON), rasterised on white, letterboxed to a square."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import resvg_py
from PIL import Image

from vision_suite.errors import DataError

RULE_SIZE = 64  # the identity rule compares rasters of this size, whatever size is written
CHUNK = 64


@dataclass(frozen=True)
class Drawing:
    """One icon: SVG inner markup and its view box in SVG units."""

    design: str
    name: str
    body: str
    left: float
    top: float
    width: float
    height: float

    def svg(self) -> str:
        """The complete document; both namespaces, since bodies use ``xlink:href`` without declaring it."""
        return (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'width="{self.width}" height="{self.height}" '
            f'viewBox="{self.left} {self.top} {self.width} {self.height}">{self.body}</svg>'
        )


@dataclass(frozen=True)
class Drawn:
    """Outcome of a drawing: the file that was written, the file's sha256 and its 64 x 64 raster's."""

    design: str
    name: str
    path: Path
    sha256: str
    raster: str


def drawings(design: str, icons: Mapping[str, object], names: Sequence[str]) -> list[Drawing]:
    """The named icons of one ``icons.json`` table; names it does not draw are left out.

    Per-icon ``width``, ``height``, ``left`` and ``top`` override the set's.

    Raises:
        DataError: The table is not an icon set.
    """
    table = icons.get("icons")
    if not isinstance(table, dict):
        raise DataError(f"{design}: icons.json has no table 'icons': this is not an icon set")
    result = []
    for name in names:
        icon = table.get(name)
        if icon is None:
            continue
        left, top, width, height = (
            float(icon.get(key, icons.get(key, default)))
            for key, default in (("left", 0), ("top", 0), ("width", 16), ("height", 16))
        )
        result.append(Drawing(design, name, str(icon["body"]), left, top, width, height))
    return result


def rasterise(drawing: Drawing, size: int, *, transparent: bool = False) -> Image.Image:
    """A drawing as a ``size`` x ``size`` picture; a drawing that is not square gets bars.

    Args:
        drawing: The drawing.
        size: Side in pixels.
        transparent: RGBA without a background instead of RGB on white.

    Raises:
        DataError: The markup cannot be rendered.
    """
    longest = max(drawing.width, drawing.height)
    width = max(1, round(size * drawing.width / longest))
    height = max(1, round(size * drawing.height / longest))
    mode, paper, colour = ("RGBA", None, (0, 0, 0, 0)) if transparent else ("RGB", "#ffffff", (255, 255, 255))
    try:
        png = resvg_py.svg_to_bytes(
            svg_string=drawing.svg(), width=width, height=height, background=paper, skip_system_fonts=True
        )
    except ValueError as error:
        raise DataError(f"{drawing.design}: icon {drawing.name!r} cannot be rendered ({error})") from None
    drawn = Image.open(io.BytesIO(png)).convert(mode)
    if drawn.size == (size, size):
        return drawn
    canvas = Image.new(mode, (size, size), colour)
    canvas.paste(drawn, ((size - drawn.width) // 2, (size - drawn.height) // 2))
    return canvas


def draw_all(
    jobs: Sequence[Drawing], folder: Path, size: int, workers: int, progress: Callable[[int, int], None]
) -> list[Drawn]:
    """Write ``folder/<design>/<name>.png`` for every drawing, on ``workers`` processes.

    Args:
        jobs: Drawings to make.
        folder: Folder to write into.
        size: Side of the pictures in pixels.
        workers: Number of processes; 1 works in this one.
        progress: Listener, called with (done, total) now and then.

    Returns:
        One entry per drawing, in the order of ``jobs``.

    Raises:
        DataError: A drawing cannot be rendered, or a process was killed, as for want of memory.
    """
    for design in {job.design for job in jobs}:
        (folder / design).mkdir(parents=True, exist_ok=True)
    chunks = [jobs[start : start + CHUNK] for start in range(0, len(jobs), CHUNK)]
    drawn: list[list[Drawn]] = [[] for _ in chunks]
    done = 0
    with _runner(workers) as run:
        try:
            for position, result in run(chunks, folder, size):
                drawn[position] = result
                done += len(result)
                progress(done, len(jobs))
        except BrokenProcessPool:
            raise DataError(
                f"a drawing process ended before its time ({workers} at once, {size} pixels): "
                f"free some memory or use --workers 1"
            ) from None
    return [entry for chunk in drawn for entry in chunk]


ChunkRunner = Callable[[Sequence[Sequence[Drawing]], Path, int], Iterator[tuple[int, list[Drawn]]]]


@contextmanager
def _runner(workers: int) -> Iterator[ChunkRunner]:
    """Something that draws chunks in any order: this process, or a pool that dies with it."""
    if workers <= 1:
        yield lambda chunks, folder, size: ((i, _draw_chunk(chunk, folder, size)) for i, chunk in enumerate(chunks))
        return
    # Spawned, not forked: the caller may hold threads (progress bars, torch), and forked ones may hang on their locks.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_follow_parent)

    def run(chunks: Sequence[Sequence[Drawing]], folder: Path, size: int) -> Iterator[tuple[int, list[Drawn]]]:
        futures = {pool.submit(_draw_chunk, chunk, folder, size): i for i, chunk in enumerate(chunks)}
        for future in as_completed(futures):
            yield futures[future], future.result()

    try:
        yield run
    finally:
        pool.shutdown(cancel_futures=True)


def _follow_parent() -> None:
    """Leave Ctrl-C to the parent, and end when the parent is gone: a worker would wait for work for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:

        def watch() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()


def _draw_chunk(chunk: Sequence[Drawing], folder: Path, size: int) -> list[Drawn]:
    result = []
    for drawing in chunk:
        picture = rasterise(drawing, size)
        small = picture if size == RULE_SIZE else rasterise(drawing, RULE_SIZE)
        buffer = io.BytesIO()
        picture.save(buffer, format="PNG")
        path = folder / drawing.design / f"{drawing.name}.png"
        path.write_bytes(buffer.getvalue())
        raster = hashlib.sha256(np.asarray(small).tobytes()).hexdigest()
        result.append(Drawn(drawing.design, drawing.name, path, hashlib.sha256(buffer.getvalue()).hexdigest(), raster))
    return result
