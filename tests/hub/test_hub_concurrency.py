"""Several commands on one hub at a time: writers wait for each other; readers take no lock, and see whole changes."""

import json
import os
import shutil
import threading

import pytest
from hub_tiny import NAME, local

from vision_suite.errors import CheckpointError, ConfigError, StorageError
from vision_suite.hub import changes, trust, writing
from vision_suite.hub.changes import LOCK, changing, placed
from vision_suite.hub.files import read_files
from vision_suite.hub.index import read_index
from vision_suite.hub.loading import open_entry
from vision_suite.hub.signature import config_folder, make_key
from vision_suite.hub.sums import SUMS, write_sums
from vision_suite.hub.writing import put_entry, write_index

ONE, TWO = "dcal_one.market", "dcal_two.market"


def contents_of(folder, name=NAME, **more):
    """Configuration and files of an entry like another, under a name of its own."""
    files = {**read_files(folder).contents, **{path: text.encode() for path, text in more.items()}}
    config = {**json.loads(files["config.json"]), "name": name}
    files["config.json"] = json.dumps(config).encode()
    return config, {**files, SUMS: write_sums(files)}


def at_once(*works):
    """Run functions in threads, and hand on what they raise."""
    raised = []

    def run(work):
        try:
            work()
        except Exception as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return raised


def test_no_writer_forgets_the_entry_of_another(hub, folder, monkeypatch):
    """Each holds its index for a while before it writes it, so that without a lock the last one wins."""
    read, turns = writing.read_index, threading.Barrier(2, timeout=0.5)

    def slowly(place):
        found = read(place)
        try:
            turns.wait()  # for the other one, if it may come
        except threading.BrokenBarrierError:
            turns.reset()
        return found

    monkeypatch.setattr(writing, "read_index", slowly)
    one, two = contents_of(folder, ONE), contents_of(folder, TWO)
    assert at_once(lambda: put_entry(hub, *one), lambda: put_entry(hub, *two)) == []
    index = read_index(hub)
    assert sorted(index["entries"]) == sorted([NAME, ONE, TWO])
    assert index["serial"] == 3
    shutil.copytree(hub / ONE, hub / "dcal_three.market")
    assert at_once(lambda: write_index(hub), lambda: put_entry(hub, *two, replace=True)) != []
    assert read_index(hub) == index, "an entry of a wrong name is in the way of both"
    assert sorted(path.name for path in hub.iterdir() if path.name.startswith(".")) == [LOCK]


def test_of_two_that_push_one_name_the_second_is_refused(hub, folder, monkeypatch):
    first, second = contents_of(folder, ONE, LICENSE="first"), contents_of(folder, ONE, LICENSE="second")
    free, turns = writing.check_free, threading.Barrier(2, timeout=10)
    asked = threading.local()

    def both_first(place, *, replace):
        free(place, replace=replace)
        if not hasattr(asked, "once"):
            asked.once = True
            turns.wait()

    monkeypatch.setattr(writing, "check_free", both_first)
    (error,) = at_once(lambda: put_entry(hub, *first), lambda: put_entry(hub, *second))
    assert isinstance(error, ConfigError)
    assert "--replace" in str(error)
    read_files(hub / ONE).check()


def test_a_writer_waits_and_says_so(hub, folder, caplog):
    started, done = threading.Event(), []

    def writer():
        started.set()
        write_index(hub, name="ours")
        done.append(True)

    thread = threading.Thread(target=writer)
    with changing(hub):
        thread.start()
        started.wait(10)
        thread.join(0.3)
        assert done == []
        assert open_entry(local(folder)).config["name"] == NAME, "a reader does not wait"
    thread.join(10)
    assert done == [True]
    assert "another command changes this hub" in caplog.text


def test_loading_takes_no_lock(hub, folder):
    (hub / LOCK).unlink(missing_ok=True)
    open_entry(NAME, allow_unsigned=True)
    assert not (hub / LOCK).exists()


def test_a_hub_that_cannot_be_locked(hub, monkeypatch, tmp_path):
    with pytest.raises(StorageError, match=r"no_hub"), changing(tmp_path / "no_hub"):
        pytest.fail("it was locked")
    if changes.fcntl is not None:
        monkeypatch.setattr(changes.fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(95, "not supported")))
    assert write_index(hub, name="ours")["serial"] == 2


@pytest.mark.parametrize("in_one_step", [True, False])
def test_an_entry_is_replaced_or_stays(hub, folder, monkeypatch, in_one_step):
    if not in_one_step:
        monkeypatch.setattr(changes, "_exchanged", lambda *_: False)
    before, index = (folder / SUMS).read_bytes(), (hub / "index.json").read_bytes()
    new = contents_of(folder, LICENSE="another")

    def no_room(*_):
        raise StorageError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(writing, "_save", no_room)
        for name in (NAME, ONE):
            with pytest.raises(StorageError, match="full"):
                put_entry(hub, *contents_of(folder, name, LICENSE="another"), replace=True)
    assert (folder / SUMS).read_bytes() == before
    assert (hub / "index.json").read_bytes() == index
    assert sorted(path.name for path in hub.iterdir() if path.is_dir()) == [NAME], "no draft, and no entry unlisted"
    put_entry(hub, *new, replace=True)
    assert (folder / "LICENSE").read_text() == "another"
    open_entry(NAME, allow_unsigned=True)
    for stray in (hub / ONE, hub / TWO):
        stray.write_text("a file") if stray.name == ONE else stray.symlink_to(hub / NAME)
        put_entry(hub, *contents_of(folder, stray.name), replace=True)
        assert stray.is_dir()
        assert not stray.is_symlink()
    assert (folder / "LICENSE").read_text() == "another", "the link was replaced, not what it means"


def test_a_rename_that_fails_half_way(tmp_path, monkeypatch):
    """Without an exchange in one step, the earlier folder comes back."""
    monkeypatch.setattr(changes, "_exchanged", lambda *_: False)
    made, folder, replace = tmp_path / "draft/new", tmp_path / "entry", os.replace
    for path in (made, folder):
        path.mkdir(parents=True)
        (path / "name").write_text(path.name)

    def failing(source, target):
        if source == made:
            raise OSError(39, "Directory not empty")
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(OSError, match="not empty"), placed(made, folder):
        pytest.fail("it was put there")
    assert (folder / "name").read_text() == "entry"


def test_an_entry_that_is_replaced_is_never_away(hub, folder):
    versions = [contents_of(folder, LICENSE=text) for text in ("one", "two")]
    away, over = [], threading.Event()

    def look():
        while not over.is_set():
            if not os.path.isfile(folder / SUMS):
                away.append(True)

    def write():
        try:
            for turn in range(20):
                put_entry(hub, *versions[turn % 2], replace=True)
        finally:
            over.set()

    if not changes._exchanged(*_two_folders(hub.parent)):
        pytest.skip("this file system exchanges nothing in one step")
    assert at_once(look, write) == []
    assert away == []


def _two_folders(folder):
    for name in ("left", "right"):
        (folder / name).mkdir()
    return folder / "left", folder / "right"


def test_a_reader_between_the_index_and_its_signature(hub, tmp_path, monkeypatch):
    line = make_key(tmp_path / "key.pem")
    config_folder().mkdir(parents=True)
    (config_folder() / "trusted_keys").write_text(line)
    write_index(hub, key=tmp_path / "key.pem")
    before = (hub / "index.json.sig").read_bytes()
    write_index(hub, key=tmp_path / "key.pem", name="ours")
    after = (hub / "index.json.sig").read_bytes()
    (hub / "index.json.sig").write_bytes(before)
    with pytest.raises(CheckpointError, match="the signature is wrong"):
        open_entry(NAME)
    monkeypatch.setattr(trust.time, "sleep", lambda _: (hub / "index.json.sig").write_bytes(after))
    assert open_entry(NAME).notes == ()


def test_a_signature_that_cannot_be_written(hub, tmp_path, monkeypatch):
    make_key(tmp_path / "key.pem")
    write_index(hub, key=tmp_path / "key.pem")
    before = {name: (hub / name).read_bytes() for name in ("index.json", "index.json.sig")}
    write = writing.write_whole

    def failing(path, contents):
        if path.name == "index.json.sig":
            raise StorageError("the disk is full")
        write(path, contents)

    monkeypatch.setattr(writing, "write_whole", failing)
    with pytest.raises(StorageError, match="full"):
        write_index(hub, key=tmp_path / "key.pem", name="ours")
    assert {name: (hub / name).read_bytes() for name in before} == before


def test_a_reader_between_an_entry_and_its_index(hub, folder, monkeypatch):
    before = (hub / "index.json").read_bytes()
    new = contents_of(folder, LICENSE="another")
    old = read_files(folder)
    place = open_entry(NAME, allow_unsigned=True).place
    put_entry(hub, *new, replace=True)
    with pytest.raises(CheckpointError, match="took its place while it was read: load it again"):
        trust.vouch(place, old, allow_unsigned=True)
    after = (hub / "index.json").read_bytes()
    (hub / "index.json").write_bytes(before)
    monkeypatch.setattr(trust.time, "sleep", lambda _: (hub / "index.json").write_bytes(after))
    monkeypatch.setattr(trust, "_seen", dict)
    assert open_entry(NAME, allow_unsigned=True).config["name"] == NAME
