"""Checkpoint files: whole or not at all, and every damage is found before they are used."""

import errno
import fcntl
import io
import lzma
import os
import random
import resource
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import children
import pytest
import torch
from folders import SUPPORT

from vision_suite.checkpoints import files
from vision_suite.checkpoints.files import PIECE, read, verify, write
from vision_suite.drafts import draft_of, replacing, replacing_text, write_whole
from vision_suite.errors import CheckpointError, StorageError, storage_error

BEFORE = sorted((SUPPORT / "before").glob("*/last.ckpt.xz"))
OTHER_DISK = Path("/dev/shm")


def contents(rows: int = 20, value: float = 1.0) -> dict:
    """Contents of a small checkpoint."""
    return {
        "epoch": 3,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": {"weight": torch.full((rows,), value), "count": torch.tensor(2)},
        "hyper_parameters": {"width": 6},
    }


@pytest.fixture
def saved(tmp_path) -> Path:
    write(contents(), tmp_path / "last.ckpt")
    return tmp_path / "last.ckpt"


def damaged(path: Path, data: bytes) -> str:
    """Put other bytes into a file; returns the line of the error that `verify` must raise."""
    path.write_bytes(data)
    with pytest.raises(CheckpointError) as error:
        verify(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_file_is_read_by_every_other_program(saved):
    expected = contents()["state_dict"]["weight"]
    for mmap in (False, True):
        found = torch.load(saved, weights_only=True, mmap=mmap)
        assert torch.equal(found["state_dict"]["weight"], expected)
    assert torch.equal(torch.load(io.BytesIO(saved.read_bytes()), weights_only=True)["state_dict"]["weight"], expected)
    assert zipfile.ZipFile(saved).testzip() is None
    unzip = "import sys, zipfile; sys.exit(zipfile.ZipFile(sys.argv[1]).testzip() is not None)"
    assert subprocess.run([sys.executable, "-S", "-c", unzip, str(saved)], check=False).returncode == 0
    assert read(saved)["epoch"] == 3
    assert list(saved.parent.iterdir()) == [saved]


def test_the_checksum_is_that_of_its_description(tmp_path):
    """Several pieces; the digest is computed from the text of the module's docstring alone."""
    import hashlib

    path = tmp_path / "big.ckpt"
    write(contents(rows=int(2.4 * PIECE / 4)), path)
    data = path.read_bytes()
    covered, digest = data[:-64], data[-64:].decode()
    pieces = [covered[start : start + 4 * 2**20] for start in range(0, len(covered), 4 * 2**20)]
    assert len(pieces) == 3
    assert hashlib.sha256(b"".join(hashlib.sha256(piece).digest() for piece in pieces)).hexdigest() == digest
    verify(path)


# Every byte, or a sample of them in the normal suite.
STEPS = [pytest.param(1, marks=pytest.mark.long), 41]


@pytest.mark.parametrize("step", STEPS)
def test_every_flipped_byte_is_found(saved, step):
    data = saved.read_bytes()
    for position in range(0, len(data), step):
        flipped = bytearray(data)
        flipped[position] ^= 1 << position % 8
        damaged(saved, bytes(flipped))
    for position in range(len(data) - 112, len(data)):  # the record that ends the zip file, and the checksum
        for bit in range(8 if step == 1 else 1):
            damaged(saved, data[:position] + bytes([data[position] ^ 1 << bit]) + data[position + 1 :])


@pytest.mark.parametrize("step", STEPS)
def test_every_cut_is_found(saved, step):
    data = saved.read_bytes()
    assert "empty" in damaged(saved, b"")
    for size in range(1, len(data), step):
        damaged(saved, data[:size])
    assert "truncated" in damaged(saved, data[: len(data) // 2])
    damaged(saved, data + b"\0")


@pytest.mark.parametrize("path", BEFORE, ids=lambda path: path.parent.name)
def test_a_file_of_an_earlier_version_is_checked_by_its_zip_entries(path, tmp_path):
    data = lzma.decompress(path.read_bytes())
    old = tmp_path / "old.ckpt"
    old.write_bytes(data)
    assert read(old)["state_dict"]
    with zipfile.ZipFile(old) as archive:
        largest = max(archive.infolist(), key=lambda info: info.file_size)
    flipped = bytearray(data)
    flipped[largest.header_offset + 200 + largest.file_size // 2] ^= 4
    assert "damaged" in damaged(old, bytes(flipped))
    assert "truncated" in damaged(old, data[:-1])


def test_contents_changed_by_hand_are_read(saved):
    """Loaded and saved again by torch, a checkpoint has no checksum of the whole file, but those of its entries."""
    changed = torch.load(saved, weights_only=True)
    changed["epoch"] = 4
    torch.save(changed, saved)
    assert read(saved)["epoch"] == 4
    data = bytearray(saved.read_bytes())
    data[data.index(b"width")] ^= 1
    assert "damaged" in damaged(saved, bytes(data))


def test_a_verified_file_is_not_read_again_until_it_changes(saved, monkeypatch):
    hashed = []
    monkeypatch.setattr(files, "_checksum", lambda *arguments: hashed.append(1) or good)
    good = saved.read_bytes()[-64:].decode()
    verify(saved)
    verify(saved)
    assert len(hashed) == 2, "a file may change within the resolution of its times just after a change"
    monkeypatch.setattr(files, "RACY", -1.0)
    verify(saved)
    verify(saved)
    assert len(hashed) == 3
    stamp = saved.stat().st_mtime_ns
    data = bytearray(saved.read_bytes())
    data[100] ^= 1
    saved.write_bytes(data)
    os.utime(saved, ns=(stamp, stamp))  # as a copy that keeps times does
    verify(saved)
    assert len(hashed) == 4


def test_a_draft_left_behind_is_replaced_and_never_read(saved):
    draft_of(saved).write_bytes(b"left by a killed process")
    assert read(saved)["epoch"] == 3
    write({**contents(), "epoch": 5}, saved)
    assert read(saved)["epoch"] == 5
    assert list(saved.parent.iterdir()) == [saved]


class Evil:
    """Leaves a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def test_code_in_a_file_is_never_run(tmp_path):
    marker = tmp_path / "was-run"
    write({**contents(), "hyper_parameters": {"x": Evil(marker)}}, tmp_path / "evil.ckpt")
    with pytest.raises(CheckpointError, match="holds pickled code"):
        read(tmp_path / "evil.ckpt")
    assert not marker.exists()


def test_a_failed_write_leaves_the_earlier_file(saved):
    """The limit on the size of files stands for a full disk, which needs no root."""
    before = saved.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(StorageError) as error:
            write(contents(rows=5000), saved)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert error.value.errno == errno.EFBIG
    assert str(saved) in str(error.value)
    assert "20,008 bytes needed" in str(error.value)
    assert "bytes free" in str(error.value)
    assert "the earlier file is unchanged" in error.value.__notes__
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_any_step_of_a_write_may_fail(saved, monkeypatch, number, step):
    def fail(*arguments):
        raise OSError(number, os.strerror(number))

    before = saved.read_bytes()
    where = {"write": (files, "write_all"), "fsync": (os, "fsync"), "replace": (os, "replace")}[step]
    monkeypatch.setattr(*where, fail)
    with pytest.raises(StorageError) as error:
        write(contents(rows=3 * PIECE // 4), saved)
    assert error.value.errno == number
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_write_raises_what_interrupted_it(saved, monkeypatch, kind):
    """An exception inside torch.save otherwise comes out as a RuntimeError of its zip writer."""

    def interrupt(*arguments):
        raise kind

    before = saved.read_bytes()
    monkeypatch.setattr(files, "write_all", interrupt)
    with pytest.raises(kind):
        write(contents(rows=3 * PIECE // 4), saved)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_a_file_that_cannot_be_a_file(tmp_path):
    (tmp_path / "last.ckpt").mkdir()
    (tmp_path / "text").write_text("x")
    for path in (tmp_path / "last.ckpt", tmp_path / "text/last.ckpt"):
        with pytest.raises(StorageError, match=r"last\.ckpt"):
            write(contents(), path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.ckpt", "text"]


def test_two_writers_of_one_checkpoint_do_not_mix(tmp_path):
    path = tmp_path / "last.ckpt"
    with replacing(path) as file:
        file.write(b"first")
        with pytest.raises(StorageError, match=r"last\.ckpt: another process writes it at the same time"):
            write(contents(), path)
        assert draft_of(path).exists()
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_do_not_mix_where_locks_are_not_supported(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    path = tmp_path / "last.ckpt"

    def first():
        with replacing(path) as file:
            file.write(b"first")
            with replacing(path) as other:
                other.write(b"second")

    with pytest.raises(StorageError, match="at the same time"):
        first()
    assert path.read_bytes() == b"second"
    assert list(tmp_path.iterdir()) == [path]


def test_a_draft_that_is_taken_before_its_lock_is_left_to_the_other(tmp_path, monkeypatch):
    """Another process may lock a draft that has just been made, as one that was left behind."""
    path, others, flock = tmp_path / "last.ckpt", [], fcntl.flock

    def late(file, operation):
        others.append(open(draft_of(path), "rb"))
        flock(others[-1], operation)
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(StorageError, match="at the same time"):
        write(contents(), path)
    assert draft_of(path).exists(), "it belongs to the other"
    assert not path.exists()
    others[0].close()


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_that_cannot_sync(saved, monkeypatch, number):
    def refuse(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    write({**contents(), "epoch": 5}, saved)
    assert read(saved)["epoch"] == 5
    assert list(saved.parent.iterdir()) == [saved]


def test_sizes_are_told_only_where_room_is_the_reason(tmp_path):
    for number, told in ((errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EROFS, False), (errno.EACCES, False)):
        error = storage_error(OSError(number, os.strerror(number)), tmp_path / "x", 5)
        assert ("5 bytes needed, " in str(error)) is told


def test_a_small_file_may_have_several_writers(tmp_path):
    path = tmp_path / "deep/list.txt"
    with replacing_text(path) as file:
        file.write("ä\r\n")
        write_whole(path.with_name("other.txt"), "b")
        assert not path.exists()
    assert path.read_bytes() == "ä\r\n".encode()
    with pytest.raises(ZeroDivisionError), replacing_text(path) as file:
        file.write(str(1 / 0))
    assert sorted(each.name for each in path.parent.iterdir()) == ["list.txt", "other.txt"]
    with pytest.raises(StorageError, match=r"other\.txt"):
        write_whole(path.with_name("other.txt") / "x", "c")


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 3 MB in memory."""
    folder = tmp_path / "small"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], check=False, capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"a disk in memory cannot be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_the_earlier_file(small_disk):
    path = small_disk / "last.ckpt"
    write(contents(rows=400_000), path)
    before = path.read_bytes()
    with pytest.raises(StorageError, match="no space left") as error:
        write(contents(rows=400_000, value=2.0), path)
    assert "1,600,008 bytes needed" in str(error.value)
    assert path.read_bytes() == before
    assert list(small_disk.iterdir()) == [path], "the draft would keep the disk full"


def _write_for_ever(path: str) -> None:
    round = 0
    while True:
        round += 1
        write(contents(rows=3_000_000, value=float(round)), Path(path))


def _write_and_be_killed(path: str, delay: float) -> None:
    child = os.fork()
    if child == 0:
        _write_for_ever(path)
    time.sleep(delay)
    os.kill(child, 9)
    os.waitpid(child, 0)


@pytest.mark.skipif(not OTHER_DISK.is_dir(), reason="needs a second file system in memory")
@pytest.mark.long
@pytest.mark.parametrize("times", [10])
def test_a_kill_inside_a_write_leaves_a_whole_file(tmp_path, times):
    """On another file system than that of temporary files."""
    import tempfile

    seed = random.randrange(10**6)
    print(f"seed {seed}")
    generator = random.Random(seed)
    drafts = 0
    with tempfile.TemporaryDirectory(dir=OTHER_DISK) as folder:
        path = Path(folder) / "last.ckpt"
        assert os.stat(folder).st_dev != os.stat(tempfile.gettempdir()).st_dev
        write(contents(rows=3_000_000, value=0.0), path)
        for _ in range(times):
            assert children.run(_write_and_be_killed, str(path), 0.02 + 0.2 * generator.random()) == [0]
            drafts += draft_of(path).exists()
            weight = read(path)["state_dict"]["weight"]
            assert bool((weight == weight[0]).all())
            files._verified.clear()
        assert drafts or times < 10, "no kill met a write"
