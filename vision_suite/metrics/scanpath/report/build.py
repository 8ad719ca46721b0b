"""Everything an evaluation of scanpath prediction says: a model beside people and simple predictors, in one report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vision_suite.errors import DataError
from vision_suite.metrics.scanpath.behaviours import behaviour_delta, delta_of_means
from vision_suite.metrics.scanpath.pairwise.multimatch import FEWEST
from vision_suite.metrics.scanpath.pairwise.scores import PairSettings, Scene, describe
from vision_suite.metrics.scanpath.paths import Floats, Scanpath
from vision_suite.metrics.scanpath.report.baselines import (
    Choices,
    OffsetHistogram,
    baseline_paths,
    fit_offsets,
    uniform_log_probabilities,
)
from vision_suite.metrics.scanpath.report.ceiling import company
from vision_suite.metrics.scanpath.report.hits import hit_curve
from vision_suite.metrics.scanpath.report.protocol import bootstrap
from vision_suite.metrics.scanpath.report.table import ScanpathScores, scanpath_scores
from vision_suite.metrics.scanpath.report.teacher_forced import Forced, Table, forced_scores, next_probabilities
from vision_suite.metrics.scanpath.report.trials import (
    SceneLike,
    TrialLike,
    check_scenes,
    human_path,
    sampled_path,
    score_scene,
    stimuli,
    without_first,
)
from vision_suite.metrics.scanpath.report.words import said, trial_record
from vision_suite.types import BACKGROUND, ScanpathReport

SCORES = ("sequence_score", "edit_distance", "scanmatch", "multimatch")
Samples = Sequence[Sequence[Scanpath]]


def scanpath_report(
    trials: Sequence[TrialLike],
    scenes: Mapping[str, SceneLike],
    samples: Samples,
    *,
    logits: Sequence[Table] | None = None,
    greedy: Sequence[Scanpath] | None = None,
    sample_log_probs: Sequence[Sequence[float]] | None = None,
    training: Sequence[TrialLike] = (),
    recordings: Sequence[TrialLike] = (),
    protocol: Mapping[str, Any] | None = None,
    scores: Sequence[str] = SCORES,
    include_given: bool = False,
    baseline_samples: int = 10,
    resamples: int = 1000,
    seed: int = 0,
) -> ScanpathReport:
    """Score a model's samples and its likelihood beside people and simple predictors.

    All predictors meet the same people under the same protocol. Trials are gathered to stimuli
    (`vision_suite.metrics.scanpath.report.trials.stimuli`); each sample meets every person of its stimulus.

    Args:
        trials: People's, of the evaluated split.
        scenes: Scenes by name.
        samples: By trial the model's samples, which begin with the given fixations; ``objects`` and ``terminated`` are
            needed, ``duration`` is used if it is there.
        logits: By trial (L + 1, N + 2) teacher-forced logits or log probabilities before each decision, given ones
            included: N objects, the background, the end; -inf for what cannot come; no column for padding.
        greedy: By trial the model's likeliest path, scored as a predictor of its own.
        sample_log_probs: By trial log probabilities of its samples, kept for the files.
        training: Whole recordings of the training part, for the offset histogram; without any it is left out. Where
            they are other people's on the same stimuli, as in a split by subject, the human ceiling takes them too.
        recordings: Whole recordings of the evaluated split; where trials are pieces, the human ceiling takes windows of
            these, since pieces of two people seldom begin alike.
        protocol: What the data module knows.
        scores: Names from `PAIR_SCORES`.
        include_given: Count the given fixations as if they had been predicted.
        baseline_samples: Paths per trial of the random and the offset predictor.
        resamples: Bootstrap draws over stimuli.
        seed: Of the baselines and of the bootstrap.

    Raises:
        ConfigError: A score or number is unknown or out of range.
        DataError: Parts differ in length, or a sample or a table does not fit its trial.
    """
    check_scenes(trials, scenes)
    parts = {"samples": samples, "greedy": greedy, "sample_log_probs": sample_log_probs, "logits": logits}
    lengths = {name: len(part) for name, part in parts.items() if part is not None and len(part) != len(trials)}
    if lengths:
        raise DataError(f"there are {len(trials)} trials, but {lengths}: give one entry for each trial")
    test = _Test(trials, scenes, recordings, training, include_given, tuple(scores), resamples, seed)
    choices = Choices.of([*trials, *training])
    histogram = fit_offsets(training, choices) if training else None
    places = [scenes[trial.scene] for trial in trials]
    predictors: dict[str, Samples] = {
        "model": [[sampled_path(path, t, s) for path in own] for own, t, s in zip(samples, trials, places, strict=True)]
    }
    if greedy is not None:
        predictors["mode"] = [[sampled_path(*part)] for part in zip(greedy, trials, places, strict=True)]
    predictors |= baseline_paths(trials, places, histogram, baseline_samples, seed)
    for name, paths in predictors.items():
        test.add(name, paths)
    forced = test.forced(logits, histogram, choices)
    hits = test.hits(predictors)
    model = predictors["model"]
    return ScanpathReport(
        metrics=test.metrics(),
        protocol={
            **(protocol or {}),
            "scores": {name: describe(name, test.settings) for name in scores},
            "predictors": sorted(test.rows),
            **said(
                trials,
                test.groups,
                include_given=include_given,
                ceiling=test.ceiling,
                histogram=histogram,
                samples=[len(own) for own in samples],
                baseline_samples=baseline_samples,
                resamples=resamples,
                seed=seed,
            ),
        },
        rows=test.rows,
        intervals=test.intervals,
        pairs=test.pairs,
        counts=test.counts,
        hits=hits,
        trials=[
            trial_record(
                trial,
                own,
                None if sample_log_probs is None else sample_log_probs[n],
                None if forced is None else forced.steps[n],
                None if greedy is None else predictors["mode"][n][0],
                include_given,
            )
            for n, (trial, own) in enumerate(zip(trials, model, strict=True))
        ],
        probabilities=[None] * len(trials) if logits is None else [next_probabilities(table) for table in logits],
        scenes=dict(scenes),
    )


@dataclass
class _Test:
    """People's trials, and one row of scores after another."""

    trials: Sequence[TrialLike]
    scenes: Mapping[str, SceneLike]
    recordings: Sequence[TrialLike]
    training: Sequence[TrialLike]
    include_given: bool
    scores: tuple[str, ...]
    resamples: int
    seed: int
    rows: dict[str, dict[str, float]] = field(default_factory=dict)
    intervals: dict[str, dict[str, tuple[float, float]]] = field(default_factory=dict)
    pairs: dict[str, dict[str, tuple[int, int]]] = field(default_factory=dict)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.settings = PairSettings()
        self.groups = stimuli(self.trials)
        self.people = [[human_path(trial, self.scenes[trial.scene])] for trial in self.trials]
        self.company, self.ceiling = company(
            self.trials, self.groups, self.scenes, self.recordings, self.training, self.include_given
        )
        self.sizes = [score_scene(self.scenes[self.trials[group[0]].scene]) for group in self.groups]
        # Where nothing counts as found, such as in free viewing, there is no correct end.
        self.searched = [group for group in self.groups if self.trials[group[0]].targets]

    def add(self, name: str, paths: Samples) -> None:
        """Score the paths of a predictor, and with the first one the people."""
        table = self._scored(self._gathered(self.people), self._gathered(paths), self.sizes)
        if "human" not in self.rows:
            self._store("human", table if self.company is None else self._against(self.company))
            self.counts["human"] = self._count(self.people)
        self._store(name, table)
        self.counts[name] = self._count(paths)
        if self.searched:
            self._behave(name, paths)

    def _scored(
        self, people: list[list[Scanpath]], paths: list[list[Scanpath]], sizes: Sequence[Scene]
    ) -> ScanpathScores:
        return scanpath_scores(
            people, paths, self.scores, scenes=sizes, settings=self.settings, resamples=self.resamples, seed=self.seed
        )

    def _against(self, others: list[list[Scanpath]]) -> ScanpathScores:
        """Each person against their company."""
        people = [
            [path if self.include_given else without_first(path, trial.given) for path in own]
            for trial, own in zip(self.trials, self.people, strict=True)
        ]
        return self._scored(people, others, [score_scene(self.scenes[trial.scene]) for trial in self.trials])

    def _store(self, name: str, table: ScanpathScores) -> None:
        person = name == "human" and self.company is None
        values = {
            score.replace("/", "_"): (row.human, row.human_pairs, row.human_nan_pairs)
            if person
            else (row.model, row.pairs, row.nan_pairs)
            for score, row in table.rows.items()
        }
        self.rows[name] = {score: interval.value for score, (interval, _, _) in values.items()}
        self.intervals[name] = {score: (interval.low, interval.high) for score, (interval, _, _) in values.items()}
        self.pairs[name] = {score: (pairs, missing) for score, (_, pairs, missing) in values.items()}

    def _behave(self, name: str, paths: Samples) -> None:
        """Delta and behaviours of whole paths, given fixations included, where something counts as found."""
        sides = [
            [
                [(p.objects, self.trials[n].targets) for n in group for p in side[n] if p.objects is not None]
                for group in self.searched
            ]
            for side in (self.people, paths)
        ]
        if not any(len(path) for group in self.searched for n in group for path in paths[n]):
            return
        found = behaviour_delta(sides[0], sides[1])

        def statistic(table: Floats) -> Floats:
            means = table.mean(axis=1)
            return delta_of_means(means[:, :5], means[:, 5:])

        both = np.column_stack([found.human_trials, found.model_trials])
        self.rows[name]["delta"] = found.delta
        self.intervals[name]["delta"] = bootstrap(both, statistic, resamples=self.resamples, seed=self.seed)
        self.rows[name] |= {f"behaviour_{key}": value for key, value in found.model.items()}
        self.rows["human"] |= {f"behaviour_{key}": value for key, value in found.human.items()}
        self.counts[name]["stimuli_without_delta"] = found.skipped_trials + len(self.groups) - len(self.searched)

    def forced(
        self, logits: Sequence[Table] | None, histogram: OffsetHistogram | None, choices: Choices
    ) -> Forced | None:
        """Add teacher-forced scores of the predictors that have probabilities; the model's are given back."""
        objects = [len(self.scenes[trial.scene].boxes) for trial in self.trials]
        paired = list(zip(self.trials, objects, strict=True))
        uniform = [uniform_log_probabilities(trial.sequence, count, choices) for trial, count in paired]
        tables: dict[str, Sequence[Table]] = {"random": uniform}
        if histogram is not None:
            tables["offsets"] = [histogram.log_probabilities(trial.sequence, count) for trial, count in paired]
        if logits is not None:
            tables["model"] = logits
        found = {
            name: forced_scores(
                self.trials, table, objects, self.groups, uniform=uniform, resamples=self.resamples, seed=self.seed
            )
            for name, table in tables.items()
        }
        for name, forced in found.items():
            self.rows[name] |= forced.metrics
            self.intervals[name]["nats_per_fixation"] = forced.interval
        return found.get("model")

    def hits(self, predictors: Mapping[str, Samples]) -> dict[str, Floats]:
        """Hit curves of people and predictors, whose ends become a score."""
        curves = {}
        for name, paths in {"human": self.people, **predictors}.items():
            curve = hit_curve(self.trials, paths, self.searched, resamples=self.resamples, seed=self.seed)
            if curve is not None:
                curves[name] = curve
                self.rows[name]["hit"] = float(curve[0, -1])
                self.intervals[name]["hit"] = (float(curve[1, -1]), float(curve[2, -1]))
        return {name: curves[name] for name in ("model", "human") if name in curves}

    def metrics(self) -> dict[str, float]:
        """Scalars by name, the model's without a prefix."""
        return {
            score if name == "model" else f"{name}/{score}": value
            for name, row in self.rows.items()
            for score, value in row.items()
        }

    def _gathered(self, paths: Samples) -> list[list[Scanpath]]:
        """Paths by stimulus, without the given fixations unless these count."""
        return [
            [
                path if self.include_given else without_first(path, self.trials[n].given)
                for n in group
                for path in paths[n]
            ]
            for group in self.groups
        ]

    def _count(self, paths: Samples) -> dict[str, int]:
        every = [(path, trial) for trial, own in zip(self.trials, paths, strict=True) for path in own]
        return {
            "paths": len(every),
            "fixations": sum(len(path) for path, _ in every),
            "background": sum(int((np.asarray(path.objects) == BACKGROUND).sum()) for path, _ in every),
            "empty": sum(not len(path) for path, _ in every),
            "short": sum(len(path) < FEWEST for path, _ in every),
            "unterminated": sum(trial.terminated and not path.terminated for path, trial in every),
            "cut": sum(not trial.terminated for _, trial in every),
        }
