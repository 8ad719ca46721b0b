"""What a test of scanpath prediction leaves: the table with its protocol, files of each trial, and pictures."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
import pytorch_lightning as pl
from stub_method import LitStub

from vision_suite.callbacks.report import scanpath as view_module
from vision_suite.callbacks.report.base import Shown, view_of
from vision_suite.callbacks.report.scanpath import ScanpathView
from vision_suite.callbacks.report.writer import ReportWriter
from vision_suite.datasets.scanpath.data import ScanpathData
from vision_suite.metrics.scanpath import Scanpath
from vision_suite.metrics.scanpath.report.build import scanpath_report
from vision_suite.types import BACKGROUND, Condition


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Six scenes of four objects in a row; two people look from the left to the last one, then beside all."""
    root = tmp_path_factory.mktemp("shelf")
    boxes = [[80 * n, 20, 80 * n + 50, 70] for n in range(4)]
    scenes, trials = [], []
    for number in range(6):
        name = f"shelf/s{number}.png"
        np.save(root / f"s{number}.npy", np.zeros((4, 5), dtype=np.float32))
        np.save(root / f"t{number}.npy", np.zeros(5, dtype=np.float32))
        scenes.append({"image": name, "width": 400, "height": 100, "boxes": boxes, "features": f"s{number}.npy"})
        for person in range(2):
            path = [[80 * n + 25, 45, 0.2 + n / 10] for n in range(person, 4)] + [[390, 95, 0.2]]
            trials.append({"image": name, "subject": f"p{person}", "task": "a cup", "fixations": path, "target": 3,
                           "target_features": f"t{number}.npy"})  # fmt: skip
    for name, rows in (("scenes", scenes), ("trials", trials)):
        (root / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ScanpathData("table", str(root), folds=3, validation_share=0.0, num_workers=0)


@pytest.fixture(scope="module")
def report(data):
    trials = data.trials("test")
    generator = np.random.default_rng(0)
    samples = [[Scanpath([*trial.sequence[: trial.given], *generator.integers(0, 4, 3)]) for _ in range(2)]
               for trial in trials]  # fmt: skip
    logits = [generator.normal(size=(trial.length + 1, 6)) for trial in trials]
    return scanpath_report(
        trials, data.scenes("test"), samples, logits=logits, training=data.recordings("fit"), protocol=data.protocol,
        sample_log_probs=[[-2.0, -3.0]] * len(trials), resamples=50, baseline_samples=2,
    )  # fmt: skip


def test_the_view_is_found_by_itself(report):
    assert isinstance(view_of(report), ScanpathView)


def test_a_test_leaves_table_files_and_pictures(tmp_path, data, report, capsys):
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = pl.Trainer(
        accelerator="cpu", devices=1, default_root_dir=tmp_path, callbacks=[ReportWriter(queries=3)], **quiet
    )
    trainer.test(LitStub(made=report), data)
    printed = capsys.readouterr().out
    for words in ("Sequence Score", "people", "offsets", "never a path", "bootstrap", "first fixation"):
        assert words in " ".join(printed.split()), words
    written = {path.name for path in (tmp_path / "test").iterdir()}
    assert {
        "metrics.json",
        "scanpaths.json",
        "per_trial.csv",
        "scores.csv",
        "hit_curve.png",
        "behaviours.png",
    } <= written
    drawn = [name for name in written if name.startswith("scanpath_")]
    assert len(drawn) == 3
    assert {name[9:] for name in drawn} >= {name[9:] for name in written if name.startswith("heat_map_")}
    assert sum(name.startswith("film_") for name in written) == 2
    assert not any(name.endswith(".png.png") for name in written)
    stored = json.loads((tmp_path / "test/metrics.json").read_text())
    assert stored["task"] == "scanpath_prediction"
    assert stored["metrics"]["sequence_score"] == pytest.approx(report.metrics["sequence_score"])
    assert stored["protocol"]["ceiling"] == report.protocol["ceiling"]


def test_the_table_has_a_column_for_each_predictor(report):
    headings, rows = ScanpathView().table(report)
    assert headings == ["", "model", "people", "random", "next", "offsets"]
    cells = {row[0]: dict(zip(headings[1:], row[1:], strict=True)) for row in rows}
    assert cells["Sequence Score"]["people"] == f"{100 * report.rows['human']['sequence_score']:.1f}"
    assert cells["edit distance"]["model"] == f"{report.rows['model']['edit_distance']:.2f}"
    assert cells["nats per fixation"]["people"] == "-"
    assert cells["nats per fixation"]["random"] == f"{report.rows['random']['nats_per_fixation']:.3f}"
    assert cells["delta"]["people"] == "-"
    assert {"correct", "length, fixations", "search", "refix", "revisit", "target hit", "next one is top 5"} <= set(
        cells
    )
    assert "MultiMatch vector" in cells


def test_scores_that_nothing_has_are_in_the_note_only(report):
    names = [row[0] for row in ScanpathView().table(report)[1]]
    assert ("MultiMatch duration" in names) == np.isfinite(report.rows["human"]["multimatch_duration"])
    assert "MultiMatch duration" in ScanpathView().note(report), "samples have no durations"


def test_the_note_is_the_protocol_and_the_counts(report):
    note = ScanpathView().note(report)
    assert "fingerprint" not in note
    for part in ("split: rule image, fold 0, folds 3", "stimuli: 2 stimuli", "score Sequence Score: longest common"):
        assert part in note
    assert "model 8 paths" in note
    assert "95%: Sequence Score of model" in note


def test_files_hold_every_trial(report):
    files = ScanpathView().files(report)
    trials = json.loads(files["scanpaths.json"])["trials"]
    assert len(trials) == 4
    assert [sample["log_prob"] for sample in trials[0]["samples"]] == [-2.0, -3.0]
    assert len(trials[0]["human"]["step_log_probs"]) == len(trials[0]["human"]["objects"]) + 1 - trials[0]["given"]
    assert trials[0]["human"]["objects"][-1] == BACKGROUND
    rows = list(csv.DictReader(io.StringIO(files["per_trial.csv"])))
    nats = [float(row["nats"]) for row in rows]
    assert nats == pytest.approx([-sum(trial["human"]["step_log_probs"]) for trial in trials])
    assert sum(nats) / sum(int(row["fixations"]) - int(row["given"]) for row in rows) == pytest.approx(
        report.metrics["nats_per_fixation"]
    )
    scores = {(row["predictor"], row["score"]): row for row in csv.DictReader(io.StringIO(files["scores.csv"]))}
    assert float(scores["model", "sequence_score"]["value"]) == pytest.approx(report.metrics["sequence_score"])
    assert int(scores["model", "multimatch_duration"]["pairs_without_score"]) > 0


def test_without_likelihood_there_is_no_film(data):
    trials = data.trials("test")
    bare = scanpath_report(trials, data.scenes("test"), [[]] * len(trials), resamples=10, baseline_samples=1)
    pictures = ScanpathView().pictures(bare, data, "test", "t", Shown(2, 1, 0))
    assert not any(name.startswith("film") for name in pictures)
    assert sum(name.startswith("scanpath") for name in pictures) == 2
    row = next(csv.DictReader(io.StringIO(ScanpathView().files(bare)["per_trial.csv"])))
    assert (row["samples"], row["sequence_score"], row["nats"]) == ("0", "", "")


def test_what_the_model_held_impossible_shows(data):
    trials = data.trials("test")
    logits = [np.zeros((trial.length + 1, 6)) for trial in trials]
    logits[0][1, 4] = logits[0][-2, 4] = -np.inf  # the background, where that person looked at last
    bare = scanpath_report(
        trials, data.scenes("test"), [[]] * len(trials), logits=logits, resamples=10, baseline_samples=1
    )
    cells = {row[0]: row[1] for row in ScanpathView().table(bare)[1]}
    assert cells["nats per fixation"] == "inf"
    assert (
        json.loads(ScanpathView().files(bare)["scanpaths.json"])["trials"][0]["human"]["step_log_probs"].count(None)
        == 1
    )


def test_a_search_without_a_word_is_headed_as_a_search(data, monkeypatch):
    trials = [replace(trial, task="") for trial in data.trials("test")]
    assert {trial.condition for trial in trials} == {Condition.PRESENT}
    made = scanpath_report(trials, data.scenes("test"), [[]] * len(trials), resamples=10, baseline_samples=1)
    titles = []
    for name in ("scanpath_picture", "heat_maps"):
        monkeypatch.setattr(view_module, name, lambda *_, title, **__: titles.append(title))
    ScanpathView().pictures(made, data, "test", "t", Shown(2, 1, 0))
    assert len(titles) == 4
    assert all(title.endswith(": search for object 3") for title in titles), titles
    free = [replace(trial, condition=Condition.FREE, targets=(), target=-1) for trial in trials]
    made = scanpath_report(free, data.scenes("test"), [[]] * len(trials), resamples=10, baseline_samples=1)
    titles.clear()
    ScanpathView().pictures(made, data, "test", "t", Shown(2, 1, 0))
    assert all(title.endswith(": free viewing") for title in titles), titles


def test_heat_maps_are_of_one_search(data):
    """Two targets without a word in one scene are two stimuli."""
    trials = [replace(t, task="", targets=(n % 2,), target=n % 2) for n, t in enumerate(data.trials("test"))]
    made = scanpath_report(trials, data.scenes("test"), [[]] * len(trials), resamples=10, baseline_samples=1)
    people, _ = view_module._fixations(made, made.trials[0])
    assert len(people[2]) == trials[0].length


def test_the_note_says_over_how_many_pairs_a_mean_is(report):
    missing, pairs = report.protocol["pairs_without_score"]["model"]["multimatch_duration"].values()
    assert 0 < missing <= pairs
    assert f"MultiMatch duration over {pairs - missing} of {pairs}" in ScanpathView().note(report)


def test_examples_are_of_different_scenes(data, report):
    pictures = ScanpathView().pictures(report, data, "test", "t", Shown(2, 1, 0))
    names = [name.split("_", 2)[2] for name in pictures if name.startswith("scanpath")]
    assert len(set(names)) == 2
