"""DCAL's branches, one by one, on Emoji-ReID: same network, schedule and budget, several seeds.

Every run is a `fit` of the packaged configuration `dcal/emoji_reid` in a process of its own, and one look at the last
checkpoint. The experiment `branches` looks at the test identities, once per run. The experiment `choices`, which is
where settings are compared, looks at the validation identities only. Runs that the results file already holds are not
repeated, so a killed ablation goes on where it stopped.

Run: python benchmarks/dcal_ablation.py [--experiment branches] [--protocols A C] [--seeds 1 2 3] [--jobs 2]
Writes docs/results/dcal.md and docs/results/dcal.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

from results import command_line, describe_run, git_commit, write_results
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
STEM = ROOT / "docs" / "results" / "dcal"
CONFIG = "dcal/emoji_reid"
METRICS = {"mAP": "mAP", "rank1": "rank1", "rank5": "rank5", "mINP": "mINP", "sa/mAP": "mAP, SA half alone"}
BRANCHES = {
    "sa": ["--model.glca.enabled=false", "--model.pwca.enabled=false"],
    "sa+glca": ["--model.pwca.enabled=false"],
    "sa+pwca": ["--model.glca.enabled=false"],
    "dcal": [],
    "dcal-cls": ["--model.glca.readout=cls"],
}
NO_BRANCHES = BRANCHES["sa"]
SOFT = ["--model.triplet.margin=null", "--model.triplet.normalize=false", "--model.triplet.weight=1.0"]
BEFORE = ["--model.triplet.feature=before", "--model.fusion.neck_feature=before"]
WIDE = ['--model.backbone_args={"embed_dim": 192, "num_heads": 6}']
LONG = ["--trainer.max_epochs=140"]
# What else was tried on protocol A. `x, change` is compared with `sa, change` where that is there, else with `sa`.
CHOICES = {
    "sa": NO_BRANCHES,
    "dcal": [],
    "sa, triplets before the neck": [*NO_BRANCHES, *BEFORE],
    "dcal, triplets before the neck": BEFORE,
    "sa, soft margin": [*NO_BRANCHES, *SOFT],
    "dcal, soft margin": SOFT,
    "dcal, partners of another identity": ["--model.pwca.partner=inter"],
    "dcal, partners of the same identity": ["--model.pwca.partner=intra"],
    "dcal, newest block pair-wise": ["--model.pwca.blocks=1"],
    "dcal, 30 % of the batch pair-wise": ["--model.pwca.share=0.3"],
    "dcal, 10 % local queries": ["--model.glca.ratio=0.1"],
    "dcal, 60 % local queries": ["--model.glca.ratio=0.6"],
    "dcal, GLCA beside the last block": ["--model.glca.input=parallel"],
    "dcal, GLCA from random weights": ["--model.glca.copy=false"],
    "dcal, equal loss weights": ["--model.loss.weighting=equal"],
    "dcal, raw halves side by side": ["--model.fusion.reid=concat"],
    "sa, width 192": [*NO_BRANCHES, *WIDE],
    "dcal, width 192": WIDE,
    "sa, twice the schedule": [*NO_BRANCHES, *LONG],
    "dcal, twice the schedule": LONG,
    "dcal-cls, twice the schedule": ["--model.glca.readout=cls", *LONG],
}
EXPERIMENTS = {"branches": BRANCHES, "choices": CHOICES}
SPLITS = {"branches": ("test", "test"), "choices": ("validate", "validation")}  # command, name of the identities


@dataclass(frozen=True)
class Run:
    """One training: ``camera`` is the held-out camera of protocol C, -1 for protocol A."""

    experiment: str
    variant: str
    protocol: str
    camera: int
    seed: int

    @property
    def key(self) -> tuple[str, str, str, int, int]:
        """What tells this run from the others in the results file."""
        return self.experiment, self.variant, self.protocol, self.camera, self.seed


def execute(run: Run, extra: list[str], threads: int, origin: dict[str, str]) -> list[dict[str, object]]:
    """Train and score; the records of the run.

    Raises:
        RuntimeError: A command failed; its last lines are in the message.
    """
    data = "a" if run.protocol == "A" else f"c{run.camera}"
    with tempfile.TemporaryDirectory() as folder:
        common = [
            "-c", CONFIG, f"--data.root=emoji-reid-64/{data}", f"--seed_everything={run.seed}",
            f"--trainer.default_root_dir={folder}", "--trainer.enable_progress_bar=false", *extra,
        ]  # fmt: skip
        fit = [*common, "--trainer.limit_val_batches=0"]
        call(["fit", *fit, *EXPERIMENTS[run.experiment][run.variant]], threads)
        checkpoint = next(Path(folder).rglob("last.ckpt"))
        command, split = SPLITS[run.experiment]
        call([command, *common, f"--ckpt_path={checkpoint}"], threads)
        scored = json.loads(next(Path(folder).rglob(f"{command}/metrics.json")).read_text(encoding="utf-8"))
    return [
        {
            "experiment": run.experiment, "variant": run.variant, "protocol": run.protocol, "camera": run.camera,
            "seed": run.seed, "split": split, "metric": metric, "value": round(100 * scored["metrics"][metric], 3),
            **origin,
        }
        for metric in METRICS
        if metric in scored["metrics"]
    ]  # fmt: skip


def call(arguments: list[str], threads: int) -> None:
    """One command of the suite in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "vision_suite", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed: {done.stderr.strip()[-600:]}")


def planned(options: argparse.Namespace) -> Iterator[Run]:
    """All runs, seeds outermost, so that an interrupted ablation still compares like with like."""
    for seed in options.seeds:
        for protocol in options.protocols:
            for camera in options.cameras if protocol == "C" else [-1]:
                for variant in EXPERIMENTS[options.experiment]:
                    if not options.variants or variant in options.variants:
                        yield Run(options.experiment, variant, protocol, camera, seed)


def load() -> list[dict[str, object]]:
    """Records of earlier calls."""
    path = STEM.with_suffix(".json")
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def table(records: list[dict[str, object]]) -> str:
    """Mean and spread over seeds; on protocol C each seed counts with its mean over the held-out cameras."""
    lines = []
    for experiment, variants in EXPERIMENTS.items():
        for protocol in ("A", "C"):
            rows = [r for r in records if r["experiment"] == experiment and r["protocol"] == protocol]
            if not rows:
                continue
            cameras = sorted({int(str(r["camera"])) for r in rows} - {-1})
            held = f", held-out cameras {', '.join(map(str, cameras))}" if cameras else ""
            lines += [f"## {experiment}, protocol {protocol}{held}: {SPLITS[experiment][1]} identities", ""]
            lines += sorted({f"- `{r['command']}`, commit {r['commit']}" for r in rows})
            lines += ["", "| variant | seeds | " + " | ".join(METRICS.values()) + " | mAP over SA |"]
            lines += ["|---|---|" + "---|" * (len(METRICS) + 1)]
            for variant in variants:
                columns = [by_seed(rows, variant, metric) for metric in METRICS]
                if columns[0]:
                    reference = by_seed(rows, baseline(variant, variants), "mAP")
                    gains = [v - reference[s] for s, v in columns[0].items() if s in reference]
                    cells = [*map(show, (list(c.values()) for c in columns)), show(gains, "+")]
                    lines.append(f"| {variant} | {len(columns[0])} | " + " | ".join(cells) + " |")
            lines.append("")
    return "\n".join(lines)


def baseline(variant: str, variants: Mapping[str, list[str]]) -> str:
    """The self-attention network with the same change, where there is one."""
    same = ", ".join(["sa", *variant.split(", ")[1:]])
    return same if same in variants else "sa"


def by_seed(rows: list[dict[str, object]], variant: str, metric: str) -> dict[int, float]:
    """Value of each seed."""
    values: dict[int, list[float]] = defaultdict(list)
    for r in rows:
        if (r["variant"], r["metric"]) == (variant, metric):
            values[int(str(r["seed"]))].append(float(str(r["value"])))
    return {seed: mean(found) for seed, found in sorted(values.items())}


def show(values: list[float], sign: str = "") -> str:
    """Mean and standard deviation over seeds."""
    if not values:
        return "-"
    spread = f" ± {stdev(values):.2f}" if len(values) > 1 else ""
    return f"{mean(values):{sign}.2f}{spread}"


def main() -> None:
    """Run what is missing and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", choices=EXPERIMENTS, default="branches")
    parser.add_argument("--variants", nargs="+", default=[])
    parser.add_argument("--protocols", nargs="+", choices=["A", "C"], default=["A", "C"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--cameras", type=int, nargs="+", default=list(range(8)), help="held out, protocol C")
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 1)), help="runs at a time, a core each")
    parser.add_argument("--extra", nargs=argparse.REMAINDER, default=[], help="further flags of fit and test, last")
    options = parser.parse_args()
    records = load()
    done = {tuple(r[k] for k in ("experiment", "variant", "protocol", "camera", "seed")) for r in records}
    runs = [run for run in planned(options) if run.key not in done]
    origin = {"command": command_line(), "commit": git_commit()}
    note = (
        f"Configuration `{CONFIG}`, trained from scratch, the last checkpoint scored once; mean and standard deviation "
        "over seeds, in percent. Emoji-ReID is a proxy: the same emoji drawn by several designs, identity = emoji, "
        "camera = design, unseen identities in testing. These figures say nothing about photographs. Read-out: the "
        "mean of the class row and the local rows, except `dcal-cls`."
    )
    with ThreadPoolExecutor(options.jobs) as pool:
        futures = [pool.submit(execute, run, options.extra, 1, origin) for run in runs]
        for future in tqdm(as_completed(futures), total=len(futures), desc="runs"):
            records.extend(future.result())
            write_results(STEM, "DCAL on Emoji-ReID", note, table(records), records, describe_run())
    if not runs:
        write_results(STEM, "DCAL on Emoji-ReID", note, table(records), records, describe_run())
    print(table(records))


if __name__ == "__main__":
    main()
