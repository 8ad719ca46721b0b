"""Mining on a cluster: the same rows as in one process, whatever the order of pictures and the number of workers."""

import importlib.util
import math
import os

import pytest
from folders import SUPPORT
from mining_tiny import dump, mine_tiny, read_tiny, tiny_items, tiny_step

from vision_suite.errors import DataError, MissingDependencyError
from vision_suite.mining import cluster
from vision_suite.mining.cluster import Miner, bootstrap_on_cluster, packed, write
from vision_suite.mining.reading import mined_image
from vision_suite.mining.run import begin, bootstrap, mine
from vision_suite.mining.store import Store

ITEMS = tiny_items()
SILENT = lambda *done: None  # noqa: E731


def contents(path):
    """Rows of every table, in an order of their own."""
    return {table: sorted(map(repr, rows)) for table, rows in dump(path).items()}


@pytest.fixture
def expected(tmp_path):
    mine_tiny(tmp_path / "one.db")
    return contents(tmp_path / "one.db")


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "many.db") as opened:
        begin(opened, "tiny", tiny_step(), ITEMS, {"sampler": "tiny"}, {"a": {"seed": 1}, "b": {"seed": 2}})
        yield opened


def test_workers_find_the_same_rows_in_any_order(store, expected):
    miners = [Miner(tiny_step, read_tiny), Miner(tiny_step, read_tiny)]
    rows = [packed(mined_image(store, "tiny", item.id)) for item in ITEMS]
    for number, row in enumerate(reversed(rows)):
        write(store, "tiny", miners[number % 2](row))
    assert any("None" in row for row in expected["object_score"]), "a detector abstained"
    assert contents(store.path) == expected


def test_a_picture_goes_on_from_its_last_step(store, expected):
    step, calls = tiny_step(), []
    image, sha256 = read_tiny(ITEMS[0].path)
    first = next(iter(step.whole(ITEMS[0], image)))
    store.write("tiny", sha256, first)
    for item in ITEMS[1:]:
        mine(store, "tiny", step, item, read_tiny)

    def made():
        calls.append(1)
        return step

    row = Miner(made, read_tiny)(packed(mined_image(store, "tiny", ITEMS[0].id)))
    write(store, "tiny", row)
    assert not first.stop
    assert calls == [1]
    assert contents(store.path) == expected


def test_a_picture_that_cannot_be_read_is_recorded(store):
    def unreadable(path):
        raise DataError(f"{path}: no picture")

    write(store, "tiny", Miner(tiny_step, unreadable)(packed(mined_image(store, "tiny", "p3"))))
    assert mined_image(store, "tiny", "p3").problem == "3: no picture"


def test_a_mistake_in_a_worker_is_one_line_here(store):
    def make():
        raise MissingDependencyError("a detector", "transformers", "language")

    row = Miner(make, read_tiny)(packed(mined_image(store, "tiny", "p3")))
    with pytest.raises(DataError, match=r"picture 'p3': a detector needs the package transformers: pip"):
        write(store, "tiny", row)


def test_a_changed_picture_is_not_mixed_with_its_earlier_steps(store):
    image, sha256 = read_tiny(ITEMS[0].path)
    store.write("tiny", sha256, next(iter(tiny_step().whole(ITEMS[0], image))))
    row = Miner(tiny_step, lambda path: (image, "other"))(packed(mined_image(store, "tiny", ITEMS[0].id)))
    with pytest.raises(DataError, match="has changed since its first step"):
        write(store, "tiny", row)


def test_ray_is_asked_for_by_its_extra_and_only_if_there_is_work(store, monkeypatch, tmp_path):
    find = importlib.util.find_spec
    monkeypatch.setattr(cluster.importlib.util, "find_spec", lambda name: None if name == "ray" else find(name))
    with pytest.raises(MissingDependencyError, match=r"vision-suite\[ray\]"):
        bootstrap_on_cluster(store, "tiny", tiny_step, ITEMS, read_tiny, SILENT)
    mine_tiny(tmp_path / "one.db")
    with Store(tmp_path / "one.db") as done:
        bootstrap_on_cluster(done, "tiny", tiny_step, ITEMS, read_tiny, SILENT)


@pytest.mark.long
@pytest.mark.dist
def test_a_local_cluster_of_two_workers_makes_the_same_table(store, expected, tmp_path, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setenv("PYTHONPATH", str(SUPPORT), prepend=os.pathsep)  # the workers load `mining_tiny` themselves
    folder = tmp_path / "processes"
    folder.mkdir()

    def read(path):
        (folder / str(os.getpid())).touch()
        if path == "2":
            raise DataError("2: no picture")
        return read_tiny(path)

    seen = []
    bootstrap_on_cluster(store, "tiny", tiny_step, ITEMS, read, lambda *done: seen.append(done[1:]), workers=2)
    assert seen[-1] == (len(ITEMS), len(ITEMS))
    assert mined_image(store, "tiny", "p2").problem == "2: no picture"
    workers = {int(path.name) for path in folder.iterdir()}
    assert workers
    assert os.getpid() not in workers
    bootstrap(store, "tiny", tiny_step(), ITEMS, read_tiny, SILENT)  # one process goes on with it
    assert contents(store.path) == expected
    assert all(math.isfinite(row[6]) for row in dump(store.path)["candidate"])
