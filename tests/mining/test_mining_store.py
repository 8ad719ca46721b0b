"""The file: the same table after any kill, verdicts in SQL as in Python, mistakes in one line."""

import signal
import sqlite3
import subprocess
import sys

import pytest
from folders import SUPPORT
from hypothesis import given, settings
from hypothesis import strategies as st
from mining_tiny import HashDetector, dump, mine_tiny, read_tiny, tiny_items, tiny_step

from vision_suite.errors import ConfigError, DataError, StorageError
from vision_suite.mining.decide import Rules, Threshold, rules_of, verdict
from vision_suite.mining.derive import derive
from vision_suite.mining.pairs import mined_pairs
from vision_suite.mining.reading import derivation_of, mined_image, mined_images, pairs_in, run_of
from vision_suite.mining.run import begin, mine
from vision_suite.mining.store import Store


@pytest.fixture(scope="module")
def mined(tmp_path_factory):
    """A file of an uninterrupted run."""
    path = tmp_path_factory.mktemp("mined") / "whole.sqlite"
    mine_tiny(path)
    return path


def killed(path, place, number):
    """Mine in a child process that kills itself; its exit status."""
    command = [sys.executable, str(SUPPORT / "mining_tiny.py"), str(path), place, str(number)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_killed_anywhere_and_started_again_it_leaves_the_same_table(mined, tmp_path):
    path = tmp_path / "killed.sqlite"
    for place, number in [("sampler", 0), ("sampler", 3), ("transaction", 0), ("transaction", 5), ("sampler", 9)]:
        done = killed(path, place, number)
        assert done.returncode == -signal.SIGKILL, done.stderr
        counts = {table: len(rows) for table, rows in dump(path).items()}
        assert counts["candidate"] == 6 * counts["step"], "a step is whole or not there"
    begun = dump(path)["step"]
    assert 0 < len(begun) < len(dump(mined)["step"])
    mine_tiny(path)
    assert dump(path) == dump(mined)
    mine_tiny(path)
    assert dump(path) == dump(mined), "nothing is left to do"


def test_a_finished_run_asks_nothing(mined):
    step = tiny_step(sampler=None)
    mine_tiny(mined, step)
    assert all(detector.calls == 0 for detector in step.detectors.values())


def test_what_is_read_is_what_was_written(mined):
    step = tiny_step()
    with Store(mined, new=False) as store:
        for item in tiny_items():
            image, _ = read_tiny(item.path)
            written = list(step.whole(item, image))
            known = mined_image(store, "tiny", item.id)
            assert [rows.candidates for rows in known.steps] == [rows.candidates for rows in written]
            assert [(rows.context, rows.chosen, rows.stop, rows.pairs) for rows in known.steps] == [
                (rows.context, rows.chosen, rows.stop, rows.pairs) for rows in written
            ]
            assert known.stop == written[-1].stop


def test_a_picture_that_is_there_twice_has_its_scores_once(mined):
    items = tiny_items()
    assert items[0].path == items[17].path
    rows = dump(mined)["object_score"]
    assert len(rows) == len({row[:3] for row in rows})
    assert {row[3] for row in rows if row[1] == "owl" and row[2] == "b"} == {None}, "unknown names abstain"


def test_the_same_rules_derive_the_same_pairs(mined):
    with Store(mined, new=False) as store:
        rules, thresholds = derivation_of(store, "tiny")
        assert rules == tiny_step().rules
        assert thresholds == tiny_step().thresholds
        pairs, summary = derive(mined_images(store, "tiny"), thresholds, rules)
        assert {key: each for key, each in pairs.items() if each} == pairs_in(store, "tiny", "mined")
        assert summary.pairs == sum(map(len, pairs.values())) > 10
        assert summary.candidates == 6 * summary.steps
        assert (summary.images, summary.done, summary.problems) == (20, 20, {})


def test_other_thresholds_derive_other_pairs_and_keep_the_mined_ones(mined, tmp_path):
    path = tmp_path / "copy.sqlite"
    path.write_bytes(mined.read_bytes())
    with Store(path, new=False) as store:
        before = pairs_in(store, "tiny", "mined")
        rules, thresholds = Rules(uncertain="hallucinated", positives="both"), {"a": Threshold(0.2, 0.2)}
        pairs, _ = derive(mined_images(store, "tiny"), thresholds, rules)
        store.derived("tiny", "loose", rules, thresholds, pairs)
        store.derived("tiny", "loose", rules, thresholds, pairs)
        assert pairs_in(store, "tiny", "loose") == {key: sorted(each) for key, each in pairs.items() if each} != before
        assert pairs_in(store, "tiny", "mined") == before
        assert derivation_of(store, "tiny", "loose") == (rules, thresholds)
        for pair in mined_pairs(store, "tiny", "loose"):
            scores = mined_image(store, "tiny", pair.item.id).scores["a"]
            assert all(scores[name] >= 0.2 for name in pair.win.names)
            assert pair.made_up == tuple(name for name in dict.fromkeys(pair.lose.names) if scores[name] < 0.2) != ()
            assert set(pair.win.names) <= set(pair.factual)
        with pytest.raises(ConfigError, match="it has loose, mined"):
            derivation_of(store, "tiny", "lose")


limit = st.floats(0, 1)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(limit, min_size=2, max_size=2),
    limit,
    st.sampled_from([{}, {"mode": "released"}, {"uncertain": "factual"}]),
)
def test_the_view_decides_as_the_rules_do(mined, limits, own, settings):
    rules = rules_of(settings)
    thresholds = {"a": Threshold(min(limits), max(limits)), "b": Threshold(0.5, 0.5, {"cup": (own, own)})}
    with Store(mined, new=False) as store:
        store.derived("tiny", "view", rules, thresholds)
        found = store.rows("SELECT image_sha, query, verdict FROM verdict WHERE derivation = 'view'")
        expected = {
            (image.sha256, name): verdict(
                name, {each: image.scores[each][name] for each in thresholds}, thresholds, rules
            )
            for image in mined_images(store, "tiny")
            for name in image.scores["a"]
        }
        assert {(sha256, name): each for sha256, name, each in found} == expected


def test_rows_to_train_on(mined):
    with Store(mined, new=False) as store:
        found = list(mined_pairs(store, "tiny"))
        candidates = store.rows("SELECT image_id, step, k, text, ended_with_eos FROM candidate")
    texts = {key: rest for *key_, text, ended in candidates for key, rest in [(tuple(key_), (text, bool(ended)))]}
    assert len({pair.id for pair in found}) == len(found) > 10
    for pair in found:
        row = pair.row("tiny")
        assert (row.chosen, row.chosen_ends) == texts[pair.item.id, pair.step, pair.win.k]
        assert (row.rejected, row.rejected_ends) == texts[pair.item.id, pair.step, pair.lose.k]
        assert row.context == pair.context
        assert row.messages[0].parts == (0, "\nWhat is there?")
        assert str(row.images[0].path) == pair.item.path
        assert pair.made_up
        assert not set(pair.context_hallucinated) - set(pair.context_objects)


def test_a_run_without_a_step_takes_other_settings(tmp_path):
    path, other = tmp_path / "begun.sqlite", tmp_path / "other.sqlite"
    with Store(path) as store:
        begin(store, "tiny", tiny_step(growth="natural"), tiny_items(9), {"checkpoint": "broken"}, {"a": {"seed": 9}})
    for each in (path, other):
        mine_tiny(each, items=tiny_items(3))
    assert dump(path) == dump(other), "nothing is left of the run that made no step"


def test_other_settings_need_another_run(mined, tmp_path):
    path = tmp_path / "copy.sqlite"
    path.write_bytes(mined.read_bytes())
    with pytest.raises(
        ConfigError, match=r"the run 'tiny' with rules.growth=\"non_hallucinated\" instead of \"natural\""
    ):
        mine_tiny(path, tiny_step(growth="natural"))
    with Store(path) as store:
        with pytest.raises(ConfigError, match=r"the detector 'a' with seed=1 instead of 9"):
            begin(store, "second", tiny_step(), tiny_items(), {}, {"a": {"seed": 9}})
        with pytest.raises(ConfigError, match="another question"):
            store.add("tiny", [tiny_items()[0].__class__("p0", "0", "Why?")])
        assert store.rows("SELECT id FROM run") == [("tiny",)], "nothing of it was kept"
        begin(store, "second", tiny_step(mode="released"), tiny_items(2), {}, {"a": {"seed": 1}, "b": {"seed": 2}})
        step = tiny_step(mode="released")
        mine(store, "second", step, tiny_items()[0], read_tiny)
        assert step.detectors["a"].calls < HashDetector(1).calls + 3, "known scores are used again"
        with pytest.raises(ConfigError, match="give --run, one of: second, tiny"):
            run_of(store, None)
        assert run_of(store, "second") == "second"


def test_unreadable_pictures_are_reported_and_tried_again(tmp_path):
    broken = [True]

    def read(path):
        if broken[0] and path == "1":
            raise DataError(f"picture {path!r} cannot be read: it is gone")
        return read_tiny(path)

    with Store(tmp_path / "a.sqlite") as store:
        step, items = tiny_step(), tiny_items(2)
        begin(store, "r", step, items, {}, {"a": {}, "b": {}})
        for item in items:
            mine(store, "r", step, item, read)
        _, summary = derive(mined_images(store, "r"), step.thresholds, step.rules)
        assert (summary.images, summary.done, list(summary.problems)) == (2, 1, ["p1"])
        assert "unreadable: p1: picture '1' cannot be read: it is gone" in summary.lines()
        broken[0] = False
        mine(store, "r", step, items[1], read)
        assert mined_image(store, "r", "p1").problem == ""
        assert mined_image(store, "r", "p1").stop


def test_a_changed_picture_is_no_picture_of_the_run(tmp_path):
    with Store(tmp_path / "a.sqlite") as store:
        step, (item,) = tiny_step(max_sentences=9), tiny_items(1)
        begin(store, "r", step, [item], {}, {"a": {}, "b": {}})
        image, sha256 = read_tiny(item.path)
        store.write("r", sha256, next(step.whole(item, image)))
        with pytest.raises(DataError, match="has changed since its first step"):
            mine(store, "r", step, item, lambda path: (image, "other"))


def test_files_that_are_none(tmp_path):
    with pytest.raises(DataError, match="no such file of mining"):
        Store(tmp_path / "none.sqlite", new=False)
    (tmp_path / "text").write_text("no database at all, but long enough to have a header" * 20)
    with pytest.raises(DataError, match="not a database"):
        Store(tmp_path / "text")
    with sqlite3.connect(tmp_path / "other") as other:
        other.execute("CREATE TABLE something (x)")
    with pytest.raises(DataError, match="no file of mining"):
        Store(tmp_path / "other")
    with pytest.raises(StorageError):
        Store(tmp_path)
