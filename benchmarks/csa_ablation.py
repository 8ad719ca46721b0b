"""CSA on Watch-TAD: each host alone, with SE, with CSA, with both, and CSA with its semantics shuffled across videos.

For each seed a recogniser is trained first (`csa/watch_tad_recognizer`). All detectors read its features and logits
(`csa/watch_tad_semantics`, one schedule and one post-processing). With `--split test` training takes the subjects 1 to
7 and every run tests subjects 8 to 10 once. `--split validate`, for the comparison of settings, trains on 1 to 6 and
tests subject 7. Runs that the results file holds are not repeated, so a killed ablation resumes where it stopped.
The flags of ``--extra`` are part of a run's name.

Run: python benchmarks/csa_ablation.py [--split test] [--features semantics] [--seeds 1 2 3 4 5] [--jobs 2]
Writes docs/results/csa.md and docs/results/csa.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

from results import command_line, describe_run, git_commit, write_results
from tqdm import tqdm

from vision_suite.datasets.prepare.fetch import data_dir

ROOT = Path(__file__).resolve().parents[1]
STEM = ROOT / "docs" / "results" / "csa"
SET = data_dir() / "watch-tad"
METRICS = {
    "average_mAP": "mean mAP",
    "mAP@0.5": "mAP@0.5",
    "mAP@0.75": "mAP@0.75",
    "mAP@0.95": "mAP@0.95",
    "AR@10": "AR@10",
    "AR@100": "AR@100",
}
VARIANTS = {
    "host": ["--model.self_attention=none"],
    "+SE": ["--model.self_attention=se"],
    "+CSA": ["--model.self_attention=csa"],
    "+SE+CSA": ["--model.self_attention=csa_se"],
    "+CSA, shuffled semantics": ["--model.self_attention=csa", "--model.semantics=shuffled"],
    "+CSA, identity start": ["--model.self_attention=csa", "--model.csa.init=identity"],
    "+CSA, channel branch alone": ["--model.self_attention=csa", "--model.csa.branches=channel"],
    "+CSA, temporal branch alone": ["--model.self_attention=csa", "--model.csa.branches=temporal"],
    "+CSA, learnt from the features": ["--model.self_attention=csa", "--model.csa.source=features"],
    "+CSA, temporal convolution": ["--model.self_attention=csa", "--model.csa.temporal_fc=conv"],
    "+CSA, identity start, temporal convolution": [
        "--model.self_attention=csa",
        "--model.csa.init=identity",
        "--model.csa.temporal_fc=conv",
    ],
    "+CSA, projection over 3 steps": ["--model.self_attention=csa", "--model.csa.proj_kernel=3"],
}
MAIN = ["host", "+SE", "+CSA", "+SE+CSA", "+CSA, shuffled semantics"]
HOSTS = ("bmn", "gtad")
RECOGNIZER = "recogniser, runs of one class"
# Training subsets, scored subset.
SPLITS = {"test": (["training", "validation"], "test"), "validate": (["training"], "validate")}
FEATURES = {"semantics": "csa/watch_tad_semantics", "snippets": "csa/watch_tad"}


@dataclass(frozen=True)
class Run:
    """One training."""

    split: str
    features: str
    host: str
    variant: str
    seed: int
    schedule: str

    @property
    def key(self) -> tuple[object, ...]:
        """Identity of the run in the results file."""
        return self.split, self.features, self.host, self.variant, self.seed, self.schedule


def semantics_folder(split: str, seed: int, schedule: str) -> Path:
    """Features of the recogniser of a split, seed and schedule."""
    tag = hashlib.sha256(schedule.encode()).hexdigest()[:8]
    return SET / "features" / f"ablation_{split}_{seed}_{tag}"


def prepare(
    split: str, seed: int, extra: list[str], schedule: str, origin: dict[str, str], done: set[tuple[object, ...]]
) -> list[dict[str, object]]:
    """Train the recogniser of a seed and write its features; its own scores as records."""
    run = Run(split, "raw", "", RECOGNIZER, seed, schedule)
    target = semantics_folder(split, seed, schedule)
    if run.key in done and (target / "features.json").is_file():
        return []
    # Features of an extraction that was cut off are those of a network that is gone.
    shutil.rmtree(target, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        scored, checkpoint = fit_and_score("csa/watch_tad_recognizer", split, seed, folder, extra)
        source = str(SET / "features/raw")
        call([
            "features", "--sequences", source, "--checkpoint", str(checkpoint), "--stride=15", "--output", str(target),
            "--quiet",
        ])  # fmt: skip
    return [] if run.key in done else records_of(run, scored, origin)


def execute(run: Run, extra: list[str], origin: dict[str, str]) -> list[dict[str, object]]:
    """Train a detector and score it once."""
    flags = [f"--model.host={run.host}", *VARIANTS[run.variant], *extra]
    if run.features == "semantics":
        flags.append(f"--data.features=[features/{semantics_folder(run.split, run.seed, run.schedule).name}]")
    with tempfile.TemporaryDirectory() as folder:
        scored, _ = fit_and_score(FEATURES[run.features], run.split, run.seed, folder, flags)
    return records_of(run, scored, origin)


def fit_and_score(config: str, split: str, seed: int, folder: str, flags: list[str]) -> tuple[dict[str, float], Path]:
    """Metrics and checkpoint of one training; no other split is read."""
    train_on, command = SPLITS[split]
    common = [
        "-c", config, f"--seed_everything={seed}", f"--trainer.default_root_dir={folder}",
        "--trainer.enable_progress_bar=false", f"--data.train_on=[{','.join(train_on)}]", *flags,
    ]  # fmt: skip
    call(["fit", *common, "--trainer.limit_val_batches=0"])
    checkpoint = next(Path(folder).rglob("last.ckpt"))
    call([command, *common, f"--ckpt_path={checkpoint}"])
    found = json.loads(next(Path(folder).rglob(f"{command}/metrics.json")).read_text(encoding="utf-8"))
    return found["metrics"], checkpoint


def records_of(run: Run, metrics: dict[str, float], origin: dict[str, str]) -> list[dict[str, object]]:
    """One record a metric."""
    return [
        {**run.__dict__, "metric": name, "value": round(100 * metrics[name], 3), **origin}
        for name in METRICS
        if name in metrics
    ]


def call(arguments: list[str]) -> None:
    """One command of the suite in a process of its own, on one core."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "vision_suite", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed: {done.stderr.strip()[-600:]}")


def schedule_of(extra: list[str]) -> str:
    """Name of the further flags, by which runs differ in the results file."""
    return " ".join(extra) or "as configured"


def planned(options: argparse.Namespace) -> Iterator[Run]:
    """All runs, seeds outermost."""
    for seed in options.seeds:
        for host in options.hosts:
            for variant in options.variants:
                yield Run(options.split, options.features, host, variant, seed, schedule_of(options.extra))


def table(records: list[dict[str, object]]) -> str:
    """Mean and spread over seeds, and the gain over the same host of the same seeds."""
    lines = []
    groups = sorted({(str(r["split"]), str(r["schedule"]), str(r["features"])) for r in records if r["host"]})
    for split, schedule, features in groups:
        rows = [r for r in records if (r["split"], r["schedule"]) == (split, schedule)]
        subjects = "subjects 8 to 10 (test)" if split == "test" else "subject 7 (validation)"
        lines += [f"## {subjects}, features: {features}, schedule: {schedule}", ""]
        lines += sorted({f"- `{r['command']}`, commit {r['commit']}" for r in rows})
        lines += ["", "| network | seeds | " + " | ".join(METRICS.values()) + " | mean mAP over host |"]
        lines += ["|---|---|" + "---|" * (len(METRICS) + 1)]
        for host in ("", *HOSTS):
            for variant in [RECOGNIZER] if not host else VARIANTS:
                mine = [r for r in rows if (r["host"], r["variant"]) == (host, variant)]
                mine = [r for r in mine if not host or r["features"] == features]
                if mine:
                    base = [r for r in rows if (r["host"], r["variant"], r["features"]) == (host, "host", features)]
                    lines.append(row(f"{host.upper()} {variant}".strip(), mine, base))
        lines.append("")
    return "\n".join(lines)


def row(name: str, mine: list[dict[str, object]], base: list[dict[str, object]]) -> str:
    """One line of the table."""
    columns = [by_seed(mine, metric) for metric in METRICS]
    reference = by_seed(base, "average_mAP")
    gains = [value - reference[seed] for seed, value in columns[0].items() if seed in reference]
    cells = [*map(show, (list(column.values()) for column in columns)), show(gains, "+") if base is not mine else "-"]
    return f"| {name} | {len(columns[0])} | " + " | ".join(cells) + " |"


def by_seed(rows: list[dict[str, object]], metric: str) -> dict[int, float]:
    """Value of each seed."""
    return {int(str(r["seed"])): float(str(r["value"])) for r in rows if r["metric"] == metric}


def show(values: list[float], sign: str = "") -> str:
    """Mean and standard deviation over seeds."""
    if not values:
        return "-"
    spread = f" ± {stdev(values):.2f}" if len(values) > 1 else ""
    return f"{mean(values):{sign}.2f}{spread}"


def main() -> None:
    """Run what is missing and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--features", choices=FEATURES, default="semantics")
    parser.add_argument("--hosts", nargs="+", choices=HOSTS, default=list(HOSTS))
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=MAIN)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 1)), help="runs at a time, a core each")
    parser.add_argument("--extra", nargs=argparse.REMAINDER, default=[], help="further flags of fit and test, last")
    options = parser.parse_args()
    path = STEM.with_suffix(".json")
    records: list[dict[str, object]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    names = ("split", "features", "host", "variant", "seed", "schedule")
    done = {tuple(r[k] for k in names) for r in records}
    origin = {"command": command_line(), "commit": git_commit()}
    note = (
        "Mean and standard deviation over seeds, in percent; each seed has its own recogniser, features and "
        "detectors. Mean mAP is over tIoU 0.50:0.05:0.95, ActivityNet's evaluation. Watch-TAD is a stand-in "
        "assembled from smartwatch recordings of 10 subjects: these figures say nothing about any published table. All "
        "networks share one schedule and one post-processing; the last checkpoint is scored, once."
    )

    def write() -> None:
        write_results(STEM, "CSA on Watch-TAD", note, table(records), records, describe_run())

    with ThreadPoolExecutor(options.jobs) as pool:
        if options.features == "semantics":
            schedule = schedule_of(options.extra)
            starts = [
                pool.submit(prepare, options.split, s, options.extra, schedule, origin, done) for s in options.seeds
            ]
            for future in tqdm(as_completed(starts), total=len(starts), desc="recognisers"):
                records.extend(future.result())
                write()
        futures = [pool.submit(execute, run, options.extra, origin) for run in planned(options) if run.key not in done]
        for future in tqdm(as_completed(futures), total=len(futures), desc="runs"):
            records.extend(future.result())
            write()
    write()
    print(table(records))


if __name__ == "__main__":
    main()
