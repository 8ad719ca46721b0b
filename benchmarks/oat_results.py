"""OAT, simple predictors and the human ceiling on observers' scanpaths: Amazon book covers and OneStop-mini.

Amazon covers: the test part holds collages, targets or subjects without training trials; seed s tests part s of the
split, so that the seeds cover five parts. The public annotations come without the pictures, so all covers have the same
appearance, on a uniform 6 x 14 grid, and a network knows positions only. OneStop-mini: three folds of pages and two
readers, for each seed. OAT is tested there with an addition, a learned part of the logits by displacement, and without
it. Position codes are compared on unseen collages.

Training takes everything outside the tested part, for a fixed number of epochs, and the last checkpoint is tested once.
With `--split validate`, for the comparison of settings, a quarter of the training images (subjects) is scored instead.
Runs that the results file holds are not repeated, so a killed benchmark resumes where it stopped.

Run: python benchmarks/oat_results.py --amazon <folder> [--split test] [--seeds 1 2 3 4 5] [--jobs 2]
Writes docs/results/oat.md and docs/results/oat.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import yaml
from oat_tables import NOTE, PUBLISHED_FOLD, table
from results import command_line, describe_run, git_commit, write_results
from tqdm import tqdm

from vision_suite.datasets.base import Stage
from vision_suite.datasets.scanpath.data import ScanpathData
from vision_suite.metrics.scanpath.report.baselines import Choices
from vision_suite.metrics.scanpath.report.build import scanpath_report
from vision_suite.metrics.scanpath.report.pixel_baseline import fit_pixels

ROOT = Path(__file__).resolve().parents[1]
STEM = ROOT / "docs" / "results" / "oat"
SCORES = (
    "sequence_score", "edit_distance", "scanmatch", "multimatch_position", "delta", "nats_per_fixation", "top1", "top5",
)  # fmt: skip
PREDICTORS = ("model", "mode", "human", "random", "next_object", "offsets")
POSITIONS = ("additive_gaussian", "cholesky", "gauss_hermite", "sinusoid2d", "learned_fourier")
PIXELS = "pixels"
PIXEL_SAMPLES = 10  # as many as the other baselines draw
CONFIGS = {"amazon": "oat/amazon_covers_small", "onestop": "oat/onestop_mini"}
AMAZON_SPLITS = ("image", "target", "subject")
PAGES, READERS = 3, 2
RELATIVE = 24
# The best of four settings on the pages of the other folds, without the part by displacement.
ALONE = ("embed_dim=192", "ff_dim=384", "encoder_layers=2", "decoder_layers=2")
ALONE_HIDE = 0.3


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        split: Part that is scored: test or validate.
        data: Data set.
        by: Kind of the split: image, target or subject.
        fold: Tested part.
        position: Position code.
        relative: Hidden width of the part by displacement; 0 is OAT alone.
        seed: Seed of training and sampling.
        schedule: Further flags.
    """

    split: str
    data: str
    by: str
    fold: int
    position: str
    relative: int
    seed: int
    schedule: str

    @property
    def key(self) -> tuple[object, ...]:
        """Identity of the run in the results file."""
        return tuple(asdict(self).values())


def planned(options: argparse.Namespace) -> Iterator[Run]:
    """All runs, seeds outermost."""
    schedule = " ".join(options.extra) or "as configured"
    for seed in options.seeds:
        if "onestop" in options.data:
            for by, parts in (("image", PAGES), ("subject", READERS)):
                for fold in range(parts):
                    yield Run(options.split, "onestop", by, fold, "gauss_hermite", RELATIVE, seed, schedule)
            yield Run(options.split, "onestop", "image", PUBLISHED_FOLD, "gauss_hermite", 0, seed, schedule)
        if "amazon" in options.data:
            for by in AMAZON_SPLITS:
                yield Run(options.split, "amazon", by, seed - 1, POSITIONS[0], 0, seed, schedule)
            for position in POSITIONS[1:]:
                yield Run(options.split, "amazon", "image", seed - 1, position, 0, seed, schedule)


def execute(
    run: Run, root: str | None, appearance: Path, extra: list[str], origin: dict[str, str]
) -> list[dict[str, object]]:
    """Train and score a network once, and the pixel-based baseline on the same trials."""
    share = 0.0 if run.split == "test" else 0.25
    flags = [
        "-c", CONFIGS[run.data], f"--seed_everything={run.seed}", f"--data.split={run.by}", f"--data.fold={run.fold}",
        f"--model.relative={run.relative}",
        f"--data.validation_share={share}", f"--model.position={run.position}", "--trainer.enable_progress_bar=false",
    ]  # fmt: skip
    if run.data == "onestop" and not run.relative:
        flags += [*(f"--model.{setting}" for setting in ALONE), f"--data.hide={ALONE_HIDE}"]
    if run.data == "amazon":
        flags += [f"--data.root={root}", "--data.objects=features", f"--data.features={appearance}"]
        flags += ["--model.appearance=table"]
    flags += extra
    with tempfile.TemporaryDirectory() as folder:
        flags.append(f"--trainer.default_root_dir={folder}")
        call(["fit", *flags, "--trainer.limit_val_batches=0"])
        checkpoint = next(Path(folder).rglob("last.ckpt"))
        call([run.split, *flags, "--trainer.limit_val_batches=1.0", f"--ckpt_path={checkpoint}"])
        scored = next(Path(folder).rglob(f"{run.split}/metrics.json"))
        metrics = json.loads(scored.read_text(encoding="utf-8"))["metrics"]
        settings = yaml.safe_load((scored.parents[1] / "config.yaml").read_text(encoding="utf-8"))
    metrics |= pixel_scores(settings["data"]["init_args"], run)
    return records_of(run, metrics, origin)


def pixel_scores(settings: dict[str, object], run: Run) -> dict[str, float]:
    """Scores of the pixel-based baseline under the network's protocol; their names begin with ``pixels/``."""
    data = ScanpathData(**settings)  # type: ignore[arg-type]
    stage: Stage = "test" if run.split == "test" else "validate"
    trials, scenes, training = data.trials(stage), data.scenes(stage), data.recordings("fit")
    baseline = fit_pixels(training, data.scenes("fit"), Choices.of([*trials, *training]))
    chains = {name: baseline.transitions(scene) for name, scene in scenes.items()}
    generator = np.random.default_rng(run.seed)
    report = scanpath_report(
        trials,
        scenes,
        [baseline.paths(trial, chains[trial.scene], PIXEL_SAMPLES, generator) for trial in trials],
        logits=[baseline.log_probabilities(trial, scenes[trial.scene]) for trial in trials],
        recordings=data.recordings(stage) if any(trial.recording >= 0 for trial in trials) else (),
        resamples=1,
        seed=run.seed,
    )
    return {f"{PIXELS}/{name}": value for name, value in report.rows["model"].items()}


def records_of(run: Run, metrics: dict[str, float | None], origin: dict[str, str]) -> list[dict[str, object]]:
    """One record per predictor and score; scores that a predictor lacks are left out."""
    names = {p: "" if p == "model" else f"{p}/" for p in (*PREDICTORS, PIXELS)}
    found = {(p, score): metrics.get(f"{prefix}{score}") for p, prefix in names.items() for score in SCORES}
    return [
        {**asdict(run), "predictor": predictor, "metric": score, "value": round(value, 5), **origin}
        for (predictor, score), value in found.items()
        if value is not None and np.isfinite(value)
    ]


def write_appearance(root: str, folder: Path) -> None:
    """Write one constant vector per cover, since without pictures all have the same appearance."""
    data = ScanpathData(dataset="amazon_covers", root=root, validation_share=0.0)
    for stage in ("fit", "test"):
        for name, scene in data.scenes(stage).items():
            np.save(folder / f"{Path(name).stem}.npy", np.ones((len(scene.boxes), 1), dtype=np.float32))


def call(arguments: list[str]) -> None:
    """One command of the suite in a process of its own, on one core.

    Raises:
        RuntimeError: The command failed.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "vision_suite", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed: {done.stderr.strip()[-600:]}")


def stored(path: Path) -> list[dict[str, object]]:
    """Records of earlier runs."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def finished(records: Iterable[dict[str, object]]) -> set[tuple[object, ...]]:
    """Keys of the runs that have records."""
    names = tuple(Run.__dataclass_fields__)
    return {tuple(record[name] for name in names) for record in records}


def main() -> None:
    """Run what is missing and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--amazon", help="folder of the Amazon book covers' annotations; needed for them")
    parser.add_argument("--data", nargs="+", choices=CONFIGS, default=list(CONFIGS))
    parser.add_argument("--split", choices=("test", "validate"), default="test")
    parser.add_argument("--seeds", type=int, nargs="+", choices=range(1, 6), default=[1, 2, 3, 4, 5])
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 1)), help="runs at a time, a core each")
    parser.add_argument("--output", type=Path, default=STEM, help="results without their ending")
    parser.add_argument("--extra", nargs=argparse.REMAINDER, default=[], help="further flags of fit and test, last")
    options = parser.parse_args()
    if "amazon" in options.data and options.amazon is None:
        parser.error("the Amazon covers need --amazon <folder>; pass --data onestop to leave them out")
    root = None if options.amazon is None else str(Path(options.amazon).resolve())
    records = stored(options.output.with_suffix(".json"))
    done = finished(records)
    # A folder of this machine has no place in a command that others should repeat.
    command = command_line() if options.amazon is None else command_line().replace(options.amazon, "AmazonCovers")
    origin = {"command": command, "commit": git_commit()}

    def write() -> None:
        run = describe_run().replace(command_line(), command)
        write_results(options.output, "OAT on scanpaths of observers", NOTE, table(records), records, run)

    with tempfile.TemporaryDirectory() as appearance, ThreadPoolExecutor(options.jobs) as pool:
        if "amazon" in options.data and root is not None:
            write_appearance(root, Path(appearance))
        runs = [run for run in planned(options) if run.key not in done]
        futures = [pool.submit(execute, run, root, Path(appearance), options.extra, origin) for run in runs]
        try:
            for future in tqdm(as_completed(futures), total=len(futures), desc="runs"):
                records.extend(future.result())
                write()
        except BaseException:
            # Else the pool would first work through everything that is left.
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    write()
    print(table(records))


if __name__ == "__main__":
    main()
