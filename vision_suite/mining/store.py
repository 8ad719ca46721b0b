"""Everything that mining found, in one SQLite file: a step is there as a whole or not at all."""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from vision_suite.errors import ConfigError, DataError, StorageError
from vision_suite.mining.decide import Rules, Threshold
from vision_suite.mining.pairing import Pair
from vision_suite.mining.schema import APPLICATION, SCHEMA, VERSION
from vision_suite.mining.step import MiningImage, StepRows

MINED = "mined"  # derivation by the rules and thresholds of the run itself
WAIT = 60.0  # seconds for another process that writes


class Store:
    """SQLite file of candidates, scores and pairs of one or several runs.

    It is in WAL mode, and each step is one transaction: a process that is killed loses at most the step it is in.

    Args:
        path: The file; it is made if it is missing.
        new: Make a missing file; otherwise it is an error.

    Raises:
        DataError: It is missing, or no file of mining.
        StorageError: It cannot be written.
    """

    def __init__(self, path: Path, *, new: bool = True) -> None:
        self.path = path
        if not new and not path.is_file():
            raise DataError(f"{path}: no such file of mining: `vision-suite bootstrap` makes one")
        with self._told():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._base = sqlite3.connect(path, timeout=WAIT, isolation_level=None)
            try:
                self._base.execute("PRAGMA journal_mode = WAL")
                self._base.execute("PRAGMA synchronous = NORMAL")
                self._make()
            except BaseException:
                self._base.close()
                raise

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._base.close()

    def _make(self) -> None:
        """Make the tables of a new file, or check those of an older one."""
        with self._writing():
            if not self._base.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                for statement in SCHEMA.split(";\n"):  # `executescript` would commit
                    self._base.execute(statement)
        found = [self._base.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
        if found != [APPLICATION, VERSION]:
            raise DataError(f"{self.path}: no file of mining, or of another version: give another --output")

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Explain errors of SQLite in one line."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise StorageError(f"{self.path}: {error}: free some space, or choose a file on another disk") from error
        except sqlite3.DatabaseError as error:
            raise DataError(f"{self.path}: {error}: give a file that `vision-suite bootstrap` made") from error

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction, which is written as a whole or not at all."""
        with self._told():
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._base.execute("COMMIT")
            except BaseException:
                if self._base.in_transaction:
                    self._base.execute("ROLLBACK")
                raise

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of a query."""
        with self._told():
            return self._base.execute(query, values).fetchall()

    def begin(self, run: str, settings: Mapping[str, Any], detectors: Mapping[str, Any]) -> None:
        """Record a run, or check that it goes on with the settings that it began with.

        A run without a step, as one whose model could not be loaded, holds nothing and begins anew; so does a detector
        without a score.

        Args:
            run: Name of the run.
            settings: Everything that its rows depend on, but for the pictures, as JSON values.
            detectors: Settings of each detector, by which its scores are known again in other runs.

        Raises:
            ConfigError: The file has the run, or a detector of that name, with other settings.
        """
        with self._writing():
            query = "SELECT 1 FROM run WHERE id = ? AND settings <> ? AND NOT EXISTS (SELECT 1 FROM step WHERE run = ?)"
            if self._base.execute(query, (run, json.dumps(settings, sort_keys=True), run)).fetchone():
                for table, key in (("run", "id"), *((each, "run") for each in ("image", "derivation", "threshold"))):
                    self._base.execute(f"DELETE FROM {table} WHERE {key} = ?", (run,))
            self._settle("run", "id", {run: settings})
            self._settle("detector", "name", detectors)

    def add_detectors(self, detectors: Mapping[str, Any]) -> None:
        """Record detectors that score what was mined before, or check that they are those of their names.

        Args:
            detectors: Settings of each detector, as JSON values.

        Raises:
            ConfigError: The file has a detector of that name with other settings.
        """
        with self._writing():
            self._settle("detector", "name", detectors)

    def _settle(self, table: str, key: str, settings: Mapping[str, Any]) -> None:
        """Write settings by name, or refuse them where others are known."""
        for name, new in settings.items():
            text = json.dumps(new, sort_keys=True)
            if table == "detector":
                unused = "name = ? AND NOT EXISTS (SELECT 1 FROM object_score WHERE detector = ?)"
                self._base.execute(f"DELETE FROM detector WHERE {unused}", (name, name))
            self._base.execute(f"INSERT OR IGNORE INTO {table} VALUES (?, ?)", (name, text))
            (old,) = self._base.execute(f"SELECT settings FROM {table} WHERE {key} = ?", (name,)).fetchone()
            if old != text:
                changed = _changed(json.loads(old), json.loads(text))
                raise ConfigError(
                    f"{self.path} holds the {table} {name!r} with {changed}: keep that setting, or give the "
                    f"{table} another name"
                )

    def add(self, run: str, items: Sequence[MiningImage]) -> None:
        """Record the pictures of a run; known ones are kept, wherever their files lie now.

        Raises:
            ConfigError: A known picture has another question now.
        """
        with self._writing():
            known = dict(self._base.execute("SELECT id, question FROM image WHERE run = ?", (run,)))
            for position, item in enumerate(items):
                if known.get(item.id, item.question) != item.question:
                    raise ConfigError(
                        f"{self.path} holds picture {item.id!r} of run {run!r} with another question: give the run "
                        "another name"
                    )
                self._base.execute(
                    "INSERT INTO image (run, id, position, path, question) VALUES (?, ?, ?, ?, ?) "
                    "ON CONFLICT DO UPDATE SET path = excluded.path",
                    (run, item.id, position, item.path, item.question),
                )

    def write(self, run: str, sha256: str, rows: StepRows) -> None:
        """Write a step of a picture in one transaction; one that is there already is kept as it is.

        Raises:
            DataError: The picture's file has changed since an earlier step.
        """
        key = (run, rows.image_id, rows.step)
        with self._writing():
            found = self._base.execute("SELECT sha256 FROM image WHERE run = ? AND id = ?", key[:2]).fetchone()
            if found is None or found[0] not in (None, sha256):
                raise DataError(
                    f"picture {rows.image_id!r} of run {run!r} is not the file of its earlier steps: give the run "
                    "another name"
                )
            step = (*key, rows.context, rows.seed, rows.chosen, rows.stop)
            if not self._base.execute("INSERT OR IGNORE INTO step VALUES (?, ?, ?, ?, ?, ?, ?)", step).rowcount:
                return
            self._base.execute(
                "UPDATE image SET sha256 = ?, stop = ?, problem = '' WHERE run = ? AND id = ?",
                (sha256, rows.stop, *key[:2]),
            )
            self._base.executemany(
                "INSERT INTO candidate VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [(*key, each.k, each.text, each.n_tokens, each.logp, each.ended_with_eos) for each in rows.candidates],
            )
            self._base.executemany(
                "INSERT INTO mention VALUES (?, ?, ?, ?, ?, ?)",
                [(*key, each.k, *named) for each in rows.candidates for named in enumerate(each.names)],
            )
            self._write_scores(sha256, rows.scores)
            self._write_pairs(run, MINED, rows.image_id, rows.step, rows.pairs)

    def write_scores(self, sha256: str, scores: Mapping[str, Mapping[str, float]]) -> None:
        """Write scores of a picture in one transaction; known ones are kept.

        Args:
            sha256: Checksum of the picture's file.
            scores: Scores by detector and name, NaN for an abstention.
        """
        with self._writing():
            self._write_scores(sha256, scores)

    def give_up(self, run: str, image_id: str, problem: str) -> None:
        """Record why a picture could not be read; the next start tries it again."""
        with self._writing():
            self._base.execute("UPDATE image SET problem = ? WHERE run = ? AND id = ?", (problem, run, image_id))

    def derived(
        self,
        run: str,
        name: str,
        rules: Rules,
        thresholds: Mapping[str, Threshold],
        pairs: Mapping[tuple[str, int], Sequence[Pair]] | None = None,
    ) -> None:
        """Record a derivation, and replace its pairs by those given, in one transaction.

        Args:
            run: Name of the run.
            name: Name of the derivation.
            rules: Its rules.
            thresholds: Its thresholds.
            pairs: Pairs by picture and step; None leaves those that are there.
        """
        abstained = 1.0 if rules.out_of_vocabulary == "recognised" else 0.5
        key = (run, name)
        with self._writing():
            self._base.execute(
                "INSERT OR REPLACE INTO derivation VALUES (?, ?, ?, ?, ?)",
                (*key, json.dumps(asdict(rules), sort_keys=True), rules.uncertain, abstained),
            )
            self._base.execute("DELETE FROM threshold WHERE run = ? AND derivation = ?", key)
            for detector, limits in thresholds.items():
                every = {"": (limits.low, limits.high), **limits.names}
                self._base.executemany(
                    "INSERT INTO threshold VALUES (?, ?, ?, ?, ?, ?)",
                    [(*key, detector, each, *values) for each, values in every.items()],
                )
            if pairs is not None:
                self._base.execute("DELETE FROM pair WHERE run = ? AND derivation = ?", key)
                for (image_id, step), found in pairs.items():
                    self._write_pairs(run, name, image_id, step, found)

    def _write_scores(self, sha256: str, scores: Mapping[str, Mapping[str, float]]) -> None:
        self._base.executemany(
            "INSERT OR IGNORE INTO object_score VALUES (?, ?, ?, ?)",
            [
                (sha256, name, detector, None if math.isnan(score) else score)
                for detector, found in scores.items()
                for name, score in found.items()
            ],
        )

    def _write_pairs(self, run: str, derivation: str, image_id: str, step: int, pairs: Sequence[Pair]) -> None:
        self._base.executemany(
            "INSERT INTO pair VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(run, derivation, image_id, step, *pair) for pair in pairs],
        )


def _changed(old: Mapping[str, Any], new: Mapping[str, Any], above: str = "") -> str:
    """The first setting that differs, with its old value."""
    for name in {**old, **new}:
        before, now = old.get(name), new.get(name)
        if before == now:
            continue
        if isinstance(before, dict) and isinstance(now, dict):
            return _changed(before, now, f"{above}{name}.")
        return f"{above}{name}={json.dumps(before)} instead of {json.dumps(now)}"
    return "the same settings"
