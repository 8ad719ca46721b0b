import hashlib
import shutil
import subprocess
import sys
import tarfile
import textwrap
from pathlib import Path

import pytest
from emoji_fixture import tar_of

from vision_suite.datasets.prepare import fetch
from vision_suite.datasets.prepare.fetch import Archive, building, data_dir, fetch_members, locked
from vision_suite.errors import DataError

ICONS = b'{"icons": {}}'


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("VISION_SUITE_DATA", str(folder))
    return folder


@pytest.fixture
def archive(tmp_path):
    """The pin of an archive that lies in tmp_path/shelf."""
    (tmp_path / "shelf").mkdir()
    sha = tar_of(tmp_path / "shelf" / "scope-pkg-1.0.0.tgz", {"package/icons.json": ICONS, "package/index.js": b""})
    members = {"package/icons.json": hashlib.sha256(ICONS).hexdigest()}
    return Archive("npm", "@scope/pkg", "1.0.0", "scope-pkg-1.0.0.tgz", sha, members)


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """An npm that hands out the archives of tmp_path/shelf and notes each call."""
    program = tmp_path / "bin" / "npm"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho $2 >> {tmp_path}/calls\ncp {tmp_path}/shelf/*.tgz .\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return tmp_path / "calls"


@pytest.fixture
def no_registry(monkeypatch):
    def refuse(*_):
        raise AssertionError("the registry was asked")

    monkeypatch.setattr(fetch, "download_npm", refuse)
    monkeypatch.setattr(fetch, "download_pip", refuse)
    monkeypatch.setattr(fetch, "download_apt", refuse)


def test_the_cache_folder_comes_from_the_environment(cache, monkeypatch, tmp_path):
    assert data_dir() == cache
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VISION_SUITE_DATA", "here")
    assert data_dir() == tmp_path / "here"
    monkeypatch.delenv("VISION_SUITE_DATA")
    assert data_dir().name == "vision_suite"


def test_an_archive_is_fetched_once_and_then_read_from_the_cache(archive, registry, cache):
    for _ in range(2):
        assert fetch_members(archive) == {"package/icons.json": ICONS}
    assert registry.read_text() == "@scope/pkg@1.0.0\n"
    assert [path.name for path in (cache / "archives").iterdir()] == ["scope-pkg-1.0.0.tgz"]


def test_a_registry_that_serves_other_bytes_is_an_error_and_leaves_nothing(archive, registry, cache, tmp_path):
    wrong = tar_of(tmp_path / "shelf" / "scope-pkg-1.0.0.tgz", {"package/icons.json": b"{}"})
    with pytest.raises(DataError, match=f"sha256 is {wrong} but @scope/pkg 1.0.0 has {archive.sha256}.*--source"):
        fetch_members(archive)
    assert list((cache / "archives").iterdir()) == []


def test_a_client_that_leaves_two_files_is_an_error(archive, registry, cache, tmp_path):
    (tmp_path / "shelf" / "other.tgz").write_bytes(b"")
    with pytest.raises(DataError, match="left 2 files instead of one"):
        fetch_members(archive)
    assert list((cache / "archives").iterdir()) == []


def test_a_changed_file_in_the_cache_is_an_error(archive, registry, cache):
    fetch_members(archive)
    (cache / "archives" / archive.file).write_bytes(b"x")
    with pytest.raises(DataError, match=r"sha256 is .* delete the file and fetch it again"):
        fetch_members(archive)


@pytest.mark.parametrize("source", ["shelf", "shelf/scope-pkg-1.0.0.tgz", "renamed.bin"])
def test_a_local_archive_replaces_the_registry_and_is_kept(archive, no_registry, cache, tmp_path, source):
    shutil.copy(tmp_path / "shelf" / archive.file, tmp_path / "renamed.bin")
    assert fetch_members(archive, tmp_path / source) == {"package/icons.json": ICONS}
    assert fetch_members(archive) == {"package/icons.json": ICONS}


@pytest.mark.parametrize("place", ["", "package", "pkg/package", "pkg", "@scope/pkg", "scope-pkg-1.0.0/package"])
def test_an_unpacked_package_is_taken_as_it_is(archive, no_registry, cache, tmp_path, place):
    folder = tmp_path / "unpacked" / place
    folder.mkdir(parents=True)
    (folder / "icons.json").write_bytes(ICONS)
    assert fetch_members(archive, tmp_path / "unpacked") == {"package/icons.json": ICONS}


def test_wrong_bytes_in_an_unpacked_package_are_an_error(archive, no_registry, tmp_path):
    folder = tmp_path / "unpacked" / "pkg" / "package"
    folder.mkdir(parents=True)
    (folder / "icons.json").write_bytes(b"{}")
    with pytest.raises(DataError, match=r"icons.json: the sha256 differs from that of @scope/pkg 1.0.0"):
        fetch_members(archive, tmp_path / "unpacked")


def test_a_source_without_the_archive_names_what_to_put_there(archive, no_registry, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"scope-pkg-1.0.0.tgz is not there"):
        fetch_members(archive, tmp_path / "empty")
    with pytest.raises(DataError, match="no such file or folder"):
        fetch_members(archive, tmp_path / "nowhere")


def test_a_wrong_archive_given_as_source_is_an_error_even_when_the_cache_is_right(archive, registry, tmp_path):
    fetch_members(archive)
    (tmp_path / "other").mkdir()
    tar_of(tmp_path / "other" / archive.file, {"package/icons.json": b"{}"})
    with pytest.raises(DataError, match="sha256 is"):
        fetch_members(archive, tmp_path / "other")


def test_a_truncated_source_is_a_checksum_error(archive, no_registry, cache, tmp_path):
    whole = (tmp_path / "shelf" / archive.file).read_bytes()
    (tmp_path / "shelf" / archive.file).write_bytes(whole[:-20])
    with pytest.raises(DataError, match="sha256 is"):
        fetch_members(archive, tmp_path / "shelf")
    assert not (cache / "archives").exists()


def test_an_unsafe_archive_with_the_right_checksum_is_still_refused(no_registry, tmp_path):
    path = tmp_path / "evil-1.tgz"
    with tarfile.open(path, "w:gz") as tape:
        link = tarfile.TarInfo("package/icons.json")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tape.addfile(link)
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(DataError, match="which is refused"):
        fetch_members(Archive("npm", "evil", "1", path.name, sha, {"package/icons.json": "0"}), path)


def test_a_build_appears_whole_or_not_at_all(cache):
    target = cache / "set"

    def interrupted():
        with building(target) as part:
            part.mkdir()
            (part / "a").write_text("half")
            assert not target.exists()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(cache.iterdir()) == []
    for content in ("first", "second"):  # the second replaces the first
        with building(target) as part:
            part.mkdir()
            (part / content).write_text(content)
        assert [path.name for path in target.iterdir()] == [content]
    assert list(cache.iterdir()) == [target]


def test_what_a_killed_build_left_is_removed_by_the_next(cache):
    (cache / ".set.part-1").mkdir(parents=True)
    (cache / ".set.part-1" / "a").write_text("half")
    (cache / ".set-2.part-1").mkdir()
    with building(cache / "set") as part:
        part.mkdir()
    assert sorted(path.name for path in cache.iterdir()) == [".set-2.part-1", "set"]


@pytest.mark.dist
def test_a_second_process_waits_for_the_lock(cache, tmp_path):
    script = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from vision_suite.datasets.prepare.fetch import data_dir, locked
        target = data_dir() / "set"
        print("asking", flush=True)
        with locked(target):
            print(target.exists(), flush=True)
        """
    )
    with locked(cache / "set"):
        child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        assert child.stdout.readline() == "asking\n"
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(1.5)
        Path(cache / "set").mkdir()
    assert child.communicate(timeout=30)[0] == "True\n"
