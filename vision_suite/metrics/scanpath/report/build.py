"""Report of an evaluation of scanpath prediction: a model beside observers and simple predictors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vision_suite.errors import ConfigError, DataError
from vision_suite.metrics.scanpath.pairwise.scores import describe
from vision_suite.metrics.scanpath.paths import Scanpath
from vision_suite.metrics.scanpath.report.baselines import (
    Choices,
    OffsetHistogram,
    baseline_paths,
    fit_offsets,
    uniform_log_probabilities,
)
from vision_suite.metrics.scanpath.report.cautions import report_warnings
from vision_suite.metrics.scanpath.report.ceiling import human_ceiling
from vision_suite.metrics.scanpath.report.compare import GroupedPaths
from vision_suite.metrics.scanpath.report.evaluation import SETTINGS, Evaluation
from vision_suite.metrics.scanpath.report.rows import human_row, predictor_row
from vision_suite.metrics.scanpath.report.teacher_forced import ForcedScores, Logits, forced_scores, next_probabilities
from vision_suite.metrics.scanpath.report.trials import check_scenes, sampled_path
from vision_suite.metrics.scanpath.report.words import protocol_words, trial_record
from vision_suite.types import ScanpathReport, Scene, Trial

SCORES = ("sequence_score", "edit_distance", "scanmatch", "multimatch")


def scanpath_report(
    trials: Sequence[Trial],
    scenes: Mapping[str, Scene],
    samples: GroupedPaths,
    *,
    logits: Sequence[Logits] | None = None,
    greedy: Sequence[Scanpath] | None = None,
    sample_log_probs: Sequence[Sequence[float]] | None = None,
    training: Sequence[Trial] = (),
    recordings: Sequence[Trial] = (),
    protocol: Mapping[str, Any] | None = None,
    scores: Sequence[str] = SCORES,
    include_given: bool = False,
    baseline_samples: int = 10,
    resamples: int = 1000,
    seed: int = 0,
) -> ScanpathReport:
    """Score a model's samples and its likelihood beside observers and simple predictors.

    All predictors are compared with the same observers under the same protocol. Trials are gathered to stimuli
    (`vision_suite.metrics.scanpath.report.trials.stimuli`); each sample is compared with every observer of its
    stimulus.

    Args:
        trials: Recorded trials of the evaluated split.
        scenes: Scenes by name.
        samples: The model's samples by trial, which begin with the given fixations; ``objects`` and ``terminated`` are
            needed, ``duration`` is used if it is there.
        logits: (L + 1, N + 2) teacher-forced logits or log probabilities before each decision by trial, given ones
            included: N objects, the background, the end; -inf for what cannot come; no column for padding.
        greedy: The model's likeliest path by trial, scored as a predictor of its own.
        sample_log_probs: Log probabilities of the samples by trial, kept for the files.
        training: Whole recordings of the training part, for the offset histogram; without any it is left out. Where
            they are other observers' on the same stimuli, as in a split by subject, the human ceiling takes them too.
        recordings: Whole recordings of the evaluated split; where trials are windows, the human ceiling takes windows
            of these, since windows of two observers seldom begin alike.
        protocol: Facts of the data module.
        scores: Names of scores in `PAIR_SCORES`.
        include_given: Count the given fixations as if they had been predicted.
        baseline_samples: Number of paths per trial of the random and the offset predictor.
        resamples: Number of bootstrap draws over stimuli.
        seed: Seed of the baselines and of the bootstrap.

    Raises:
        ConfigError: A score or number is unknown or out of range.
        DataError: Parts differ in length, or a sample or a table does not fit its trial.

    Example:
        >>> import numpy as np
        >>> from vision_suite.types import Condition, Scene, Trial
        >>> scene = Scene("page", (90, 30), np.array([(0, 0, 30, 30), (30, 0, 60, 30), (60, 0, 90, 30)]), ())
        >>> sequence, xy, seconds = np.array([0, 2]), np.zeros((2, 2)), np.ones(2)
        >>> trial = Trial("page", "ann", "", Condition.FREE, (), -1, sequence, xy, seconds, given=1)
        >>> samples = [[Scanpath([0, 2]), Scanpath([0, 1])]]
        >>> report = scanpath_report([trial], {"page": scene}, samples, scores=["sequence_score"])
        >>> report.metrics["sequence_score"], report.metrics["next_object/sequence_score"]
        (0.5, 0.0)
    """
    check_scenes(trials, scenes)
    parts = {"samples": samples, "greedy": greedy, "sample_log_probs": sample_log_probs, "logits": logits}
    lengths = {name: len(part) for name, part in parts.items() if part is not None and len(part) != len(trials)}
    if lengths:
        raise DataError(f"there are {len(trials)} trials, but {lengths}: give one entry for each trial")
    if not scores:
        raise ConfigError("scores=[]: give a score of PAIR_SCORES at least")
    test = Evaluation(trials, scenes, include_given, scores, resamples, seed)
    choices = Choices.of([*trials, *training])
    histogram = fit_offsets(training, choices) if training else None
    predictors = {"model": _placed(samples, test)}
    if greedy is not None:
        predictors["mode"] = _placed([[path] for path in greedy], test)
    predictors |= baseline_paths(trials, [scenes[trial.scene] for trial in trials], histogram, baseline_samples, seed)
    forced = _forced(test, logits, histogram, choices)
    ceiling, ceiling_words = human_ceiling(test, recordings, training)
    rows = {"human": human_row(test, ceiling)}
    rows |= {name: predictor_row(test, paths, forced.get(name)) for name, paths in predictors.items()}
    return ScanpathReport(
        metrics={
            score if name == "model" else f"{name}/{score}": value
            for name, row in rows.items()
            for score, value in row.values.items()
        },
        protocol={
            **(protocol or {}),
            "scores": {name: describe(name, SETTINGS) for name in scores},
            "predictors": sorted(rows),
            "pairs_without_score": {
                name: {score: {"without": without, "pairs": count} for score, (count, without) in row.pairs.items()}
                for name, row in rows.items()
            },
            "warnings": [
                *(protocol or {}).get("warnings", ()),
                *report_warnings(test, predictors.get("mode", predictors["model"]), rows["model"].pairs),
            ],
            **protocol_words(test, ceiling_words, histogram, [len(own) for own in samples], baseline_samples),
        },
        rows={name: row.values for name, row in rows.items()},
        intervals={name: row.intervals for name, row in rows.items()},
        pairs={name: row.pairs for name, row in rows.items()},
        counts={name: row.counts for name, row in rows.items()},
        hits={name: hits for name in ("model", "human") if (hits := rows[name].hits) is not None},
        trials=[
            trial_record(
                trial,
                own,
                None if sample_log_probs is None else sample_log_probs[n],
                forced["model"].steps[n] if "model" in forced else None,
                None if greedy is None else predictors["mode"][n][0],
                include_given,
            )
            for n, (trial, own) in enumerate(zip(trials, predictors["model"], strict=True))
        ],
        probabilities=[None] * len(trials) if logits is None else [next_probabilities(table) for table in logits],
        scenes=dict(scenes),
    )


def _placed(samples: GroupedPaths, test: Evaluation) -> list[list[Scanpath]]:
    """Samples on the centres of objects, cut like their trials."""
    return [
        [sampled_path(path, trial, scene) for path in own]
        for own, (trial, scene) in zip(samples, test.paired(), strict=True)
    ]


def _forced(
    test: Evaluation, logits: Sequence[Logits] | None, histogram: OffsetHistogram | None, choices: Choices
) -> dict[str, ForcedScores]:
    """Teacher-forced scores of the predictors that have probabilities."""
    sized = [(trial.sequence, len(scene.boxes)) for trial, scene in test.paired()]
    uniform = [uniform_log_probabilities(sequence, objects, choices) for sequence, objects in sized]
    tables: dict[str, Sequence[Logits]] = {"random": uniform}
    if histogram is not None:
        tables["offsets"] = [histogram.log_probabilities(sequence, objects) for sequence, objects in sized]
    if logits is not None:
        tables["model"] = logits
    return {
        name: forced_scores(
            test.trials,
            table,
            [objects for _, objects in sized],
            test.groups,
            uniform=uniform,
            resamples=test.resamples,
            seed=test.seed,
        )
        for name, table in tables.items()
    }
