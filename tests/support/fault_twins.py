"""Twins of mutated files: what an independent reader makes of the bytes, written afresh.

A command that reads a mutated file without a word is right if it gives the figures of the twin: then the file holds
other contents, and nothing in its bytes could tell so.
"""

import contextlib
import csv
import io
import json
import tempfile
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
import yaml
from PIL import Image, ImageFile

MOST_PIXELS = 10**7  # the seeds have 512


class NoTwin(Exception):
    """No independent reader takes the bytes for a file of this kind."""


def twin(kind: str, path: Path) -> None:
    """Replace a file by its twin.

    Raises:
        NoTwin: There is none, so a command has to say something about the file.
    """
    make = TWINS[kind if kind in TWINS else path.suffix.lower()]
    try:
        contents = make(path)
    except Exception as error:  # damaged bytes make readers fail in any way
        raise NoTwin(f"{type(error).__name__}: {error}") from error
    path.write_bytes(contents)


def _picture(path: Path) -> bytes:
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    with Image.open(path) as image:
        if image.width * image.height > MOST_PIXELS:
            raise NoTwin("far more pixels than bytes")
        image.load()
        out = io.BytesIO()
        image.save(out, "TIFF" if image.mode in ("CMYK", "YCbCr") else "PNG")
    return out.getvalue()


def _video(path: Path) -> bytes:
    """Every frame as it is decoded, stored without loss; a complaint of the decoder is a refusal."""
    import av
    import av.logging

    av.logging.set_level(av.logging.ERROR)
    frames = []
    with av.logging.Capture() as said, av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        base = stream.time_base
        for frame in container.decode(stream):
            if frame.is_corrupt:
                raise NoTwin("a damaged frame")
            frames.append(frame)
    if worst := [text for level, _, text in said if level <= av.logging.ERROR]:
        raise NoTwin(worst[0])
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "twin.nut"
        with av.open(str(target), "w") as container:
            out = container.add_stream("ffv1", rate=8)
            out.width, out.height, out.pix_fmt = frames[0].width, frames[0].height, frames[0].format.name
            out.time_base = out.codec_context.time_base = base
            for frame in frames:
                frame.pict_type = 0
                container.mux(out.encode(frame))
            container.mux(out.encode())
        return target.read_bytes()


def _unique(pairs: list) -> dict:
    if len({key for key, _ in pairs}) < len(pairs):
        raise NoTwin("a key twice")
    return dict(pairs)


def _json(path: Path) -> bytes:
    text = path.read_bytes().decode("utf-8-sig")
    if path.suffix == ".jsonl":
        rows = [json.loads(line, object_pairs_hook=_unique) for line in text.split("\n") if line.strip()]
        return "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows).encode()
    return json.dumps(json.loads(text, object_pairs_hook=_unique), indent=3).encode()


def _csv(path: Path) -> bytes:
    csv.field_size_limit(10**7)
    text = path.read_bytes().decode("utf-8-sig")
    rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    if len({len(row) for row in rows}) != 1 or len(set(rows[0])) < len(rows[0]) or len(rows) < 2:
        raise NoTwin("rows of different lengths, a column twice, or no row")
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n").writerows(rows)
    return out.getvalue().encode()


def _yaml(path: Path) -> bytes:
    class Unique(yaml.SafeLoader):
        def construct_mapping(self, node, deep=False):
            return _unique([(self.construct_object(k, True), self.construct_object(v, True)) for k, v in node.value])

    Unique.add_constructor("tag:yaml.org,2002:map", Unique.construct_mapping)
    return yaml.safe_dump(yaml.load(path.read_bytes().decode("utf-8-sig"), Unique), default_flow_style=True).encode()


def _finite(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values)
    if values.size > MOST_PIXELS or not np.isfinite(values.astype(np.float32)).all() or values.ndim != 2:
        raise NoTwin("no matrix of finite numbers")
    return values


def _npy(path: Path) -> bytes:
    out = io.BytesIO()
    np.save(out, _finite(np.load(path, mmap_mode="r", allow_pickle=False)), allow_pickle=False)
    return out.getvalue()


def _npz(path: Path) -> bytes:
    out = io.BytesIO()
    with np.load(path, allow_pickle=False) as archive:
        np.savez_compressed(out, feats=_finite(archive["feats"]))
    return out.getvalue()


def _pt(path: Path) -> bytes:
    out = io.BytesIO()
    torch.save(torch.from_numpy(_finite(torch.load(path, weights_only=True).float().numpy()).copy()), out)
    return out.getvalue()


def _h5(path: Path) -> bytes:
    import h5py

    out = io.BytesIO()
    with h5py.File(path, "r") as file, h5py.File(out, "w") as new:
        for name in file:
            try:
                if file[name].size > MOST_PIXELS:
                    raise NoTwin("far more numbers than bytes")
                new[name] = _finite(file[name][()])
            except (KeyError, OSError, RuntimeError):
                new[name] = np.zeros((1, 1))  # of a video that the command passes over, or it would have failed
    return out.getvalue()


def _mat(path: Path) -> bytes:
    from scipy.io import loadmat, savemat

    out = io.BytesIO()
    with contextlib.closing(io.BytesIO(path.read_bytes())) as stream:
        table = loadmat(stream)
    savemat(out, {name: value for name, value in table.items() if not name.startswith("_")}, do_compression=True)
    return out.getvalue()


def _rows(path: Path) -> bytes:
    rows = list(csv.reader(io.StringIO(path.read_bytes().decode("utf-8-sig")), strict=True))
    values = _finite(np.array([[float(cell) for cell in row] for row in rows[1:]]))
    return "\n".join(" , ".join(map(repr, row)) for row in values.tolist()).encode()


def _safetensors(path: Path) -> bytes:
    return safetensors.torch.save(safetensors.torch.load(path.read_bytes()))


def _none(path: Path) -> bytes:
    """No twin: every change of these files shows, or is one of contents that nothing but a checksum can tell."""
    raise NoTwin("a checkpoint that was changed")


TWINS = {
    ".jpg": _picture, ".png": _picture, ".tiff": _picture, ".mp4": _video, ".mkv": _video, ".json": _json,
    ".jsonl": _json, ".csv": _csv, ".yaml": _yaml, ".npy": _npy, ".npz": _npz, ".pt": _pt, ".h5": _h5, ".mat": _mat,
    ".ckpt": _none, ".safetensors": _safetensors, "rows_csv": _rows,
}  # fmt: skip
