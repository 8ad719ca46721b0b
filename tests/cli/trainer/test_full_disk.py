"""Full and read-only disks: one line with path and bytes, status 2, and what was there before stays whole."""

import shutil
import subprocess

import pytest
from test_signals import words

from vision_suite.cli import main
from vision_suite.datasets.prepare.fetch import building
from vision_suite.errors import StorageError


@pytest.fixture
def disk(tmp_path):
    """A disk of 400 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def toy(endless):
    return endless


def fill(folder):
    """Leave no free byte."""
    with (folder / "fill").open("wb", buffering=0) as file:
        while shutil.disk_usage(folder).free:
            file.write(bytes(4096))


def test_commands_on_a_full_or_read_only_disk(toy, disk, capsys):
    short = ["-c", "toy.yaml", "--trainer.max_epochs=1"]
    assert main(["fit", *short]) == 0
    checkpoint = ["--ckpt_path", str(toy / "runs/toy/version_0/checkpoints/last.ckpt")]
    fill(disk)
    capsys.readouterr()
    for command, flags in (("fit", []), ("test", checkpoint)):
        given = short if command == "fit" else short[:2]
        assert main([command, *given, *flags, f"--trainer.default_root_dir={disk}"]) == 2, command
        line = words(capsys)
        assert line.startswith(f"error: {disk}"), line
        assert "no space left on the disk" in line
        assert " bytes free)" in line
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    assert main(["fit", *short, f"--trainer.default_root_dir={disk}"]) == 2
    assert "read-only" in words(capsys)


@pytest.mark.long
def test_predict_on_a_full_disk(toy, disk, capsys):
    assert main(["fit", "-c", "toy.yaml", "--trainer.max_epochs=1"]) == 0
    fill(disk)
    capsys.readouterr()
    last = "runs/toy/version_0/checkpoints/last.ckpt"
    assert main(["predict", "-c", "toy.yaml", "--ckpt_path", last, f"--trainer.default_root_dir={disk}"]) == 2
    assert words(capsys).startswith(f"error: {disk}")


def test_a_file_that_was_there_stays_whole(disk, tmp_path):
    new = tmp_path / "new.npz"
    new.write_bytes(bytes(50_000))
    (disk / "good.npz").write_bytes(b"good")
    from vision_suite.drafts import drafted

    fill(disk)
    with pytest.raises(StorageError), drafted(disk / "good.npz") as draft:
        shutil.copyfile(new, draft)
    assert sorted(path.name for path in disk.iterdir()) == ["fill", "good.npz"]
    assert (disk / "good.npz").read_bytes() == b"good"


def test_a_prepared_set_is_complete_or_absent(disk):
    def prepare():
        with building(disk / "set") as part:
            part.mkdir()
            (part / "a").write_bytes(bytes(1000))
            fill(part)
            (part / "b").write_bytes(bytes(5000))

    with pytest.raises(StorageError, match="set: no space left"):
        prepare()
    assert list(disk.iterdir()) == []
