"""Contents of a file of mining, read back: runs, pictures with their steps, rules and thresholds, pairs."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from vision_suite.errors import ConfigError
from vision_suite.mining.decide import Rules, Threshold
from vision_suite.mining.pairing import Pair
from vision_suite.mining.step import CandidateRow, MiningImage, State, StepRows, after
from vision_suite.mining.store import MINED, Store

Scores = dict[str, dict[str, float]]


@dataclass(frozen=True)
class MinedImage:
    """A picture with what was found so far.

    Attributes:
        item: Picture.
        sha256: Checksum of its file, empty before its first step.
        stop: Why it has ended; empty while it goes on.
        problem: Why it could not be read; empty otherwise.
        steps: Its steps; their scores are empty, since scores belong to the picture.
        scores: Scores of its objects, by detector and name.
    """

    item: MiningImage
    sha256: str
    stop: str
    problem: str
    steps: tuple[StepRows, ...]
    scores: Scores

    def state(self) -> State:
        """The state behind its last step."""
        state = State()
        for rows in self.steps:
            state = after(state, rows)
        return State(state.step, state.context, state.named, self.scores)


def run_of(store: Store, name: str | None) -> str:
    """Name of the run that is meant: the one given, or the only one.

    Raises:
        ConfigError: There is no such run, or several and none is named.
    """
    known = [str(row[0]) for row in store.rows("SELECT id FROM run ORDER BY id")]
    if name in known:
        return str(name)
    if name is None and len(known) == 1:
        return known[0]
    if not known:
        raise ConfigError(f"{store.path}: no run has begun in it: mine with `vision-suite bootstrap -c`")
    wanted = "give --run" if name is None else f"no run {name!r}: give --run"
    raise ConfigError(f"{store.path}: {wanted}, one of: {', '.join(known)}")


def settings_of(store: Store, run: str) -> dict[str, Any]:
    """Settings that a run began with."""
    ((text,),) = store.rows("SELECT settings FROM run WHERE id = ?", (run,))
    return dict(json.loads(text))


def derivation_of(store: Store, run: str, name: str = MINED) -> tuple[Rules, dict[str, Threshold]]:
    """Rules and thresholds of a derivation.

    Raises:
        ConfigError: There is none of that name, or a detector of it lacks scores of pictures that were mined since.
    """
    found = dict(store.rows("SELECT name, rules FROM derivation WHERE run = ? ORDER BY name", (run,)))
    if name not in found:
        raise ConfigError(f"{store.path}: run {run!r} has no pairs {name!r}: it has {', '.join(found) or 'none'}")
    limits: dict[str, dict[str, tuple[float, float]]] = defaultdict(dict)
    query = "SELECT detector, name, low, high FROM threshold WHERE run = ? AND derivation = ? ORDER BY detector, name"
    for detector, each, low, high in store.rows(query, (run, name)):
        limits[detector][each] = (low, high)
    thresholds = {detector: Threshold(*each.pop(""), names=each) for detector, each in limits.items()}
    check_scored(store, run, thresholds)
    return Rules(**json.loads(found[name])), thresholds


def check_scored(store: Store, run: str, detectors: Iterable[str]) -> None:
    """Refuse detectors that have not scored every object of a run.

    Raises:
        ConfigError: One lacks scores.
    """
    for detector in detectors:
        if lacking := len(unscored(store, run, detector)):
            raise ConfigError(
                f"{store.path}: detector {detector!r} has not scored {lacking:,} objects of run {run!r}: "
                "`vision-suite bootstrap score` does that"
            )


def unscored(store: Store, run: str, detector: str, image_id: str | None = None) -> list[str]:
    """Names of the objects of pictures that a detector has not scored, once for each different picture.

    Args:
        store: File of mining.
        run: Name of the run.
        detector: Name of the detector.
        image_id: A picture; None for all.
    """
    own, values = ("", ()) if image_id is None else ("AND mention.image_id = ?", (image_id,))
    rows = store.rows(
        "SELECT DISTINCT image.sha256, mention.name FROM mention "
        f"JOIN image ON image.run = mention.run AND image.id = mention.image_id WHERE mention.run = ? {own} "
        "AND NOT EXISTS (SELECT 1 FROM object_score WHERE image_sha = image.sha256 AND query = mention.name "
        "AND detector = ?) ORDER BY image.sha256, mention.name",
        (run, *values, detector),
    )
    return [name for _, name in rows]


def mined_images(store: Store, run: str) -> Iterator[MinedImage]:
    """Pictures of a run in their order, each with its steps."""
    for (each,) in store.rows("SELECT id FROM image WHERE run = ? ORDER BY position, id", (run,)):
        yield mined_image(store, run, each)


def mined_image(store: Store, run: str, image_id: str) -> MinedImage:
    """A picture of a run with what was found so far."""
    key = (run, image_id)
    ((path, question, sha256, stop, problem),) = store.rows(
        "SELECT path, question, sha256, stop, problem FROM image WHERE run = ? AND id = ?", key
    )
    names: dict[tuple[int, int], list[str]] = defaultdict(list)
    for step, k, name in store.rows(
        "SELECT step, k, name FROM mention WHERE run = ? AND image_id = ? ORDER BY step, k, place", key
    ):
        names[step, k].append(name)
    candidates: dict[int, list[CandidateRow]] = defaultdict(list)
    for step, k, text, n_tokens, logp, ended in store.rows(
        "SELECT step, k, text, n_tokens, logp, ended_with_eos FROM candidate WHERE run = ? AND image_id = ? "
        "ORDER BY step, k",
        key,
    ):
        candidates[step].append(CandidateRow(k, text, n_tokens, logp, bool(ended), tuple(names[step, k])))
    pairs: dict[int, list[Pair]] = defaultdict(list)
    for step, *pair in store.rows(
        "SELECT step, win_k, lose_k, kind FROM pair WHERE run = ? AND image_id = ? AND derivation = ? "
        "ORDER BY step, win_k, lose_k",
        (*key, MINED),
    ):
        pairs[step].append(Pair(*pair))
    steps = tuple(
        StepRows(image_id, step, context, seed, tuple(candidates[step]), {}, chosen, status, tuple(pairs[step]))
        for step, context, seed, chosen, status in store.rows(
            "SELECT step, context, rng_seed, chosen, status FROM step WHERE run = ? AND image_id = ? ORDER BY step", key
        )
    )
    item = MiningImage(image_id, path, question)
    return MinedImage(item, sha256 or "", stop, problem, steps, scores_of(store, sha256 or ""))


def scores_of(store: Store, sha256: str) -> Scores:
    """Scores of a picture's objects, by detector and name; NaN where a detector does not know the name."""
    found: Scores = defaultdict(dict)
    for detector, query, score in store.rows(
        "SELECT detector, query, score FROM object_score WHERE image_sha = ? ORDER BY detector, query", (sha256,)
    ):
        found[detector][query] = math.nan if score is None else score
    return dict(found)


def pairs_in(store: Store, run: str, derivation: str) -> dict[tuple[str, int], list[Pair]]:
    """Pairs of a derivation by picture and step."""
    found: dict[tuple[str, int], list[Pair]] = defaultdict(list)
    for image_id, step, *pair in store.rows(
        "SELECT image_id, step, win_k, lose_k, kind FROM pair WHERE run = ? AND derivation = ? "
        "ORDER BY image_id, step, win_k, lose_k",
        (run, derivation),
    ):
        found[image_id, step].append(Pair(*pair))
    return found
