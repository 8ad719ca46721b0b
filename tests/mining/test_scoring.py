"""Further detectors for what was mined: the scores are those of a run that had them from the beginning."""

import multiprocessing
import os
import signal
from dataclasses import replace

import pytest
from mining_tiny import HashDetector, dump, mine_tiny, read_tiny, tiny_items, tiny_step

from vision_suite.errors import ConfigError, DataError
from vision_suite.mining.decide import Threshold
from vision_suite.mining.derive import derive
from vision_suite.mining.reading import check_scored, derivation_of, mined_images, unscored
from vision_suite.mining.run import begin, bootstrap
from vision_suite.mining.scoring import score_stored
from vision_suite.mining.store import Store

LIMITS = {"a": Threshold(0.5, 0.5), "c": Threshold(0.4, 0.4)}


def further():
    return {"c": HashDetector(3, ("bus",)), "a": HashDetector(1)}


def score(path, detectors=None, read=read_tiny):
    with Store(path, new=False) as store:
        store.add_detectors({"c": {"seed": 3}, "a": {"seed": 1}})
        return score_stored(store, "tiny", detectors or further(), read, lambda *done: None)


@pytest.fixture(scope="module")
def mined(tmp_path_factory):
    """A file of a run with two detectors."""
    path = tmp_path_factory.mktemp("mined") / "two.sqlite"
    mine_tiny(path)
    return path


@pytest.fixture
def copy(mined, tmp_path):
    path = tmp_path / "copy.sqlite"
    path.write_bytes(mined.read_bytes())
    return path


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """A file of a run that had the third detector from the beginning, without a vote."""
    path = tmp_path_factory.mktemp("mined") / "three.sqlite"
    step = tiny_step()
    mine_tiny(path, replace(step, detectors={**step.detectors, "c": further()["c"]}))
    return path


def test_scores_and_pairs_are_those_of_a_run_that_had_the_detector(mined, copy, three):
    before, detectors = dump(mined), further()
    added = score(copy, detectors)
    after = dump(copy)
    assert after["object_score"] == dump(three)["object_score"] != before["object_score"]
    same = set(after) - {"object_score", "detector"}
    assert {table: after[table] for table in same} == {table: before[table] for table in same}
    own = [row for row in after["object_score"] if row[2] == "c"]
    assert added.scores == {"c": len(own)}
    assert added.abstentions == {"c": sum(row[3] is None for row in own)}
    assert 0 < added.abstentions["c"] < len(own)
    assert added.lines() == [f"c: {len(own):,} objects scored, {added.abstentions['c']} of them abstentions"]
    assert detectors["a"].calls == 0, "known scores are not asked for"
    found = []
    for path in (copy, three):
        with Store(path, new=False) as store:
            check_scored(store, "tiny", LIMITS)
            found.append(derive(mined_images(store, "tiny"), LIMITS, tiny_step().rules))
    assert found[0] == found[1]
    again = further()
    assert score(copy, again).lines() == []
    assert again["c"].calls == 0


def killed(path, place, number):
    """Score in a child that kills itself, in a call of the detector or amid a transaction; its exit status."""

    def target():
        left = [number]

        def count(call):
            def counting(*args):
                found = call(*args) if place == "transaction" else None
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)
                left[0] -= 1
                return found if place == "transaction" else call(*args)

            return counting

        detectors = further()
        if place == "transaction":
            Store._write_scores = count(Store._write_scores)
        else:
            detectors["c"].score = count(detectors["c"].score)
        score(path, detectors)

    process = multiprocessing.get_context("fork").Process(target=target)
    process.start()
    process.join(60)
    return process.exitcode


def test_killed_anywhere_and_started_again_it_leaves_the_same_table(mined, copy, three):
    whole, begun = dump(three)["object_score"], len(dump(mined)["object_score"])
    counts = []
    for place, number in [("detector", 0), ("transaction", 0), ("detector", 4), ("transaction", 3), ("detector", 2)]:
        assert killed(copy, place, number) == -signal.SIGKILL
        counts.append(len(dump(copy)["object_score"]))
    assert counts[0] == counts[1] == begun < counts[2] < counts[3] < counts[4] < len(whole)
    score(copy)
    assert dump(copy)["object_score"] == whole


def test_pictures_that_are_gone_or_changed_are_told_and_left_for_later(copy, three):
    def read(path):
        if path == "1":
            raise DataError("it is gone")
        image, sha256 = read_tiny(path)
        return image, "other" if path == "2" else sha256

    added = score(copy, read=read)
    gone, changed = ("p1", "p18"), ("p2", "p19")
    assert sorted(added.problems) == sorted([*gone, *changed])
    assert "unreadable: p1: it is gone" in added.lines()
    assert "unreadable: p2: picture '2' has changed since it was mined" in added.lines()
    with Store(copy, new=False) as store:
        lacking = {item.id: bool(unscored(store, "tiny", "c", item.id)) for item in tiny_items()}
        assert {name for name, lacks in lacking.items() if lacks} == {*gone, *changed}
        number = len(unscored(store, "tiny", "c"))
        with pytest.raises(ConfigError, match=rf"detector 'c' has not scored {number} objects of run 'tiny': .*score`"):
            check_scored(store, "tiny", LIMITS)
    score(copy)
    assert dump(copy)["object_score"] == dump(three)["object_score"]


def test_pairs_of_a_detector_wait_for_its_scores_of_new_pictures(tmp_path):
    path = tmp_path / "a.sqlite"
    mine_tiny(path, items=tiny_items(3))
    score(path)
    with Store(path, new=False) as store:
        store.derived("tiny", "c", tiny_step().rules, LIMITS)
        assert derivation_of(store, "tiny", "c")[1] == LIMITS
        step, items = tiny_step(), tiny_items(6)
        begin(store, "tiny", step, items, {"sampler": "tiny"}, {"a": {"seed": 1}, "b": {"seed": 2}})
        bootstrap(store, "tiny", step, items, read_tiny, lambda *done: None)
        with pytest.raises(ConfigError, match="detector 'c' has not scored"):
            derivation_of(store, "tiny", "c")
        derivation_of(store, "tiny")
    score(path)
    with Store(path, new=False) as store:
        assert derivation_of(store, "tiny", "c")[1] == LIMITS


def test_a_name_belongs_to_one_detector(copy):
    with Store(copy, new=False) as store:
        with pytest.raises(ConfigError, match=r"the detector 'b' with seed=2 instead of 5"):
            store.add_detectors({"c": {"seed": 3}, "b": {"seed": 5}})
        assert store.rows("SELECT name FROM detector") == [("a",), ("b",)], "nothing of it was kept"
