"""Files that are no checkpoints, told apart by their first bytes for a message that helps."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

HEAD = 512
STARTS = {
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"GIF8": "a picture",
    b"BM": "a picture",
    b"RIFF": "a picture or a video",
    b"\x93NUMPY": "a NumPy array",
    b"\x89HDF": "an HDF5 file",
    b"\x1f\x8b": "a compressed file; unpack it first",
    b"\xfd7zXZ": "a compressed file; unpack it first",
    b"BZh": "a compressed file; unpack it first",
    b"\x28\xb5\x2f\xfd": "a compressed file; unpack it first",
    b"version https://git-lfs": "a pointer of Git LFS; fetch the file with 'git lfs pull'",
    b"<": "a web page or XML; the download may have failed",
    b"\x80": "a pickle, which is never executed",
}


def describe(path: Path, error: Exception | None = None) -> str:
    """Say what a file is that cannot be read as a checkpoint, and what to do.

    Args:
        path: The file.
        error: Error of ``torch.load``, None if it was not tried.
    """
    with open(path, "rb") as file:
        head = file.read(HEAD)
    if zipfile.is_zipfile(path):
        return _zip(path, error)
    if head.startswith(b"PK\x03\x04"):
        size = path.stat().st_size
        return f"truncated (its end is missing after {size} bytes): use another checkpoint, or copy it again"
    if error is not None:
        return _reason(error)
    if not head.strip(b"\0"):
        return "damaged (it begins with zeros): use another checkpoint, or copy it again"
    if head[8:10] == b'{"' and int.from_bytes(head[:8], "little") < path.stat().st_size:
        return (
            f"weights in safetensors, not a checkpoint of a run: start a training from them with fit --init_from {path}"
        )
    for start, kind in STARTS.items():
        if head.startswith(start):
            return f"not a checkpoint ({kind})"
    text = head.decode("utf-8", errors="ignore")
    if len(text) > 0.9 * len(head) and all(letter.isprintable() or letter.isspace() for letter in text):
        return "not a checkpoint (a text file)"
    return "not a checkpoint, or damaged at its beginning: use another file"


def _zip(path: Path, error: Exception | None) -> str:
    """Say what is wrong with a whole zip file."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if any(name.endswith(("constants.pkl", "/archive_format", "models/model.json")) for name in names):
        return "an exported network (TorchScript or torch.export), not a checkpoint of a run"
    if not any(name.endswith("data.pkl") for name in names):
        return "not a checkpoint (a zip file of something else)"
    return "cannot be read: use another checkpoint" if error is None else _reason(error)


def _reason(error: Exception) -> str:
    """Reason of ``torch.load`` in one line."""
    text = " ".join(str(error).split())
    if type(error).__name__ == "UnpicklingError":
        named = re.search(r"GLOBAL ([\w.]+)", text)
        what = f" of {named[1]}" if named else ""
        return f"holds pickled code{what}, which is never executed: save its weights as plain tensors"
    return f"cannot be read ({type(error).__name__}: {text[:120]}): use another checkpoint"
