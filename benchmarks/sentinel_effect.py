"""How far SENTINEL cures a small model of objects that it makes up, against DPO and controls at equal updates.

For each seed a tower and a small language model learn to describe Emoji-Scenes in which things of one kind come
together (chance 0.8). The model's own sentences about fresh scenes of two kinds (chances 0.4 and 0.6, never the tests')
are mined for pairs, with true labels and with those of two small detectors and of one. Then each method tunes it for
the same number of steps, and it is tested once on fresh scenes of the usual designs: with the prior (0.8), and against
it (0).

Controls: supervised steps on the true captions of the mined scenes, supervised steps on the preferred sentences alone,
and C-DPO with the order of each pair drawn at random.

Rates are compared with ``--search`` on validation scenes of both kinds, and nothing is tested then. A run that the
results file holds is not repeated, and steps that left their files in the work folder are not either.

Run: python benchmarks/sentinel_effect.py [--seeds 1 2 3] [--methods ...] [--jobs 2]
Writes docs/results/sentinel_effect.md, .json and .png.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml
from results import command_line, describe_run, git_commit
from sentinel_effect_page import write_page
from sentinel_effect_tables import BEFORE, Record
from suite_calls import ROOT, Run, call, results

from vision_suite.prepared import data_dir

STEM = ROOT / "docs" / "results" / "sentinel_effect"
SET = "emoji-scenes-closed"
MINED = ("mining", "mining_prior")  # scenes in which things of a kind come together with chance 0.4, and 0.6
LABELS = {"truth": ("truth",), "two detectors": ("a", "b"), "one detector": ("a",)}
BATCH = 128  # rows of a step, in all methods
THRESHOLD = 0.1  # of both detectors, from which a name counts as present; chosen on validation scenes
# Labels, and flags beside those of sentinel/scenes_cdpo; the supervised captions have a configuration of their own.
CAPTIONS = "supervised, true captions"
METHODS: dict[str, tuple[str, list[str]]] = {
    "C-DPO": ("truth", []),
    "C-DPO, beta 0.1": ("truth", ["--model.loss.beta=0.1"]),
    "C-DPO, beta 2": ("truth", ["--model.loss.beta=2"]),
    "DPO on whole captions": ("truth", ["--data.unit=caption"]),
    CAPTIONS: ("", []),
    "supervised, preferred sentences": ("truth", ["--model.loss.kind=supervised"]),
    "C-DPO, order at random": ("truth", ["--data.shuffle_labels=true"]),
    "C-DPO, two detectors": ("two detectors", []),
    "C-DPO, one detector": ("one detector", []),
}
Page = Callable[[Path, list[Record], str], None]
TESTED = [method for method in METHODS if ", beta" not in method]  # the others are for the search


class Bench:
    """The steps of the benchmark, each of which leaves its files in the work folder.

    Args:
        options: Arguments of the command line.
    """

    tuning = "sentinel/scenes_cdpo"
    batch = BATCH

    def __init__(self, options: argparse.Namespace) -> None:
        self.work: Path = options.work.resolve()
        self.scenes: int = options.scenes
        self.origin = {"command": command_line(), "commit": git_commit()}
        self.set = data_dir() / SET

    def fit(self, folder: str, config: str, flags: list[str]) -> Path:
        """Train, unless it was done, and return the last checkpoint."""
        place = self.work / folder
        if not (place / "done").exists():
            shutil.rmtree(place, ignore_errors=True)
            call(["fit", "-c", config, *self.common(place), *flags])
            (place / "done").touch()
        return next(place.rglob("last.ckpt"))

    def common(self, place: Path) -> list[str]:
        """Flags of every command of a model."""
        return [
            f"--trainer.default_root_dir={place}", "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu",
        ]  # fmt: skip

    def model(self, seed: int) -> list[str]:
        """Flags of every command of a seed's model that describes scenes."""
        return [f"--model.tower.checkpoint={self.tower(seed)}"]

    def detector(self, name: str) -> Path:
        """Checkpoint of a detector, of one seed for all seeds of the models."""
        return self.fit(f"detector_{name}", f"sentinel/detector_{name}", [])

    def tower(self, seed: int) -> Path:
        """Tower of a seed's model, which no detector shares."""
        return self.fit(f"tower_{seed}", "sentinel/tower", [f"--seed_everything={10 + seed}"])

    def before(self, seed: int) -> Path:
        """Model of a seed before tuning."""
        flags = [f"--seed_everything={seed}", *self.model(seed)]
        return self.fit(f"before_{seed}", "sentinel/scenes_sft", flags)

    def pairs(self, seed: int, labels: str, split: str) -> Path:
        """File of the pairs that were mined from a seed's model on the scenes of a split."""
        stem = self.work / f"pairs_{seed}_{labels.replace(' ', '-')}_{split}"
        target, store = stem.with_suffix(".jsonl"), stem.with_suffix(".sqlite")
        if target.exists():
            return target
        instances = f"{SET}/instances_{split}.json"
        detectors: dict[str, dict[str, object]] = {"truth": {"kind": "truth", "path": instances}}
        if labels != "truth":
            detectors |= {name: {"kind": "small", "checkpoint": str(self.detector(name))} for name in LABELS[labels]}
        for name in LABELS[labels]:
            detectors[name]["threshold"] = 0.5 if name == "truth" else THRESHOLD
        config = yaml.safe_load((ROOT / "configs" / "sentinel" / "mine_scenes.yaml").read_text(encoding="utf-8"))
        config |= {"output": str(store), "detectors": detectors}
        config["images"] |= {"path": instances, "limit": self.scenes}
        config["sampling"]["seed"] = seed
        stem.with_suffix(".yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        call(["bootstrap", "-c", str(stem.with_suffix(".yaml")), "--ckpt_path", str(self.before(seed)), "--quiet"])
        call(["bootstrap", "export", str(store), "--output", str(target)])
        return target

    def true_captions(self, split: str) -> Path:
        """True captions of the scenes of a split that are mined, to train on."""
        target = self.work / f"captions_{split}.json"
        rows = json.loads((self.set / f"{split}_plain_caption.json").read_text(encoding="utf-8"))[: self.scenes]
        target.write_text(json.dumps(rows), encoding="utf-8")
        return target

    def tuned(self, run: Run) -> Path:
        """Model after tuning."""
        labels, flags = METHODS[run.method]
        start = self.before(run.seed)
        common = [
            f"--seed_everything={run.seed}", f"--init_from={start}", f"--trainer.max_steps={run.steps}",
            *self.model(run.seed), f"--model.optim.lr={run.rate}",
            f"--data.batch_size={self.batch}", f"--trainer.val_check_interval={run.steps}",
        ]  # fmt: skip
        if run.method == CAPTIONS:
            files = {split: self.true_captions(split) for split in MINED}
            schedule = ["--model.optim.weight_decay=0", "--data.validate_on=null"]
            return self.fit(run.folder, "sentinel/scenes_sft", [*common, *schedule, self.sources(files)])
        files = {split: self.pairs(run.seed, labels, split) for split in MINED}
        return self.fit(run.folder, self.tuning, [*common, *flags, self.sources(files)])

    def sources(self, files: dict[str, Path]) -> str:
        """Flag that names files to train on."""
        sources = {name: {"path": str(path), "image_root": str(self.set)} for name, path in files.items()}
        return f"--data.sources={json.dumps(sources)}"

    def records(self, run: Run, command: str) -> list[Record]:
        """Records of a run: of its one ``test``, or of its ``validate`` in a search."""
        checkpoint = self.before(run.seed) if run.method == BEFORE else self.tuned(run)
        folder = self.work / f"{run.folder}_{command}"
        shutil.rmtree(folder, ignore_errors=True)
        call([
            command, "-c", self.tuning, *self.common(folder), f"--init_from={checkpoint}", *self.model(run.seed),
            "--trainer.callbacks=null",
        ])  # fmt: skip
        stored = json.loads(next(folder.rglob("metrics.json")).read_text(encoding="utf-8"))
        found = {**stored["metrics"], "by_length": stored["protocol"]["by_length"]}
        if run.method != BEFORE and METHODS[run.method][0]:
            found["pairs"] = self.counts(run.seed, METHODS[run.method][0])
        stage = "val" if command == "validate" else "test"
        return [
            {**run.__dict__, "metric": f"{stage}/{name}", "value": value, **self.origin}
            for name, value in found.items()
        ]

    def counts(self, seed: int, labels: str) -> dict[str, object]:
        """What mining found, and what the truth says of the pairs."""
        found: Counter[str] = Counter()
        for split in MINED:
            pairs = self.pairs(seed, labels, split)
            report = json.loads(next(self.work.glob(f"{pairs.stem}.*.mined.json")).read_text(encoding="utf-8"))
            found.update({name: value for name, value in report["counts"].items() if isinstance(value, int)})
            table = json.loads((self.set / f"instances_{split}.json").read_text(encoding="utf-8"))
            names = {each["id"]: each["name"] for each in table["categories"]}
            shown: dict[str, set[str]] = {str(image["id"]): set() for image in table["images"]}
            for each in table["annotations"]:
                shown[str(each["image_id"])].add(names[each["category_id"]])
            for line in pairs.read_text(encoding="utf-8").splitlines():
                row = json.loads(line)
                kind = kind_of_pair(row, shown[str(row["image_id"])])
                found[f"{kind}_pairs"] += 1
        return dict(found)


def kind_of_pair(row: dict[str, Any], shown: set[str]) -> str:
    """What the truth says of a mined pair: ``right``, ``wrong``, or ``repeat``.

    Args:
        row: Pair in the official layout.
        shown: Names of the picture's objects.

    Returns:
        ``wrong`` where the preferred sentence names something that is missing, or the rejected one neither does so nor
        repeats; ``repeat`` where all that the rejected one names, and the picture shows, was named before.
    """
    before = {*row["context_gen_objects"], *row["context_gen_hallu_objects"]}
    if not set(row["objects_of_y_win"]) <= shown:
        return "wrong"
    if not set(row["objects_of_y_lose"]) <= shown:
        return "right"
    return "repeat" if set(row["objects_of_y_lose"]) <= before else "wrong"


def planned(options: argparse.Namespace) -> Iterator[Run]:
    """All runs of a call, seeds outermost."""
    rates = dict(entry.rsplit("=", 1) for entry in options.rates)
    for seed in options.seeds:
        yield Run(BEFORE, 0.0, seed, 0)
        for method in options.methods:
            for rate in rates.get(method, rates["all"]).split(","):
                yield Run(method, float(rate), seed, options.steps)


def arguments(about: str | None) -> argparse.ArgumentParser:
    """Arguments of the benchmark.

    Args:
        about: What it measures.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=TESTED)
    parser.add_argument(
        "--rates", nargs="+", default=["all=5e-4,1e-3"], help="rates, METHOD=RATE,RATE; all=... for the other methods"
    )
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--scenes", type=int, default=2000, help="scenes of each kind that are mined")
    parser.add_argument("--search", action="store_true", help="validate only: rates are compared, nothing is tested")
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side, one core each")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "sentinel_effect")
    return parser


def measure(bench: Bench, options: argparse.Namespace, stem: Path, page: Page) -> None:
    """Run what is missing, and write the page after each run.

    Args:
        bench: Steps of the benchmark.
        options: Arguments of the command line.
        stem: Path of the results without suffix.
        page: Writes the page, of its title and note.
    """
    options.work.mkdir(parents=True, exist_ok=True)
    command = "validate" if options.search else "test"
    stored = stem.with_suffix(".json")
    records: list[Record] = json.loads(stored.read_text(encoding="utf-8")) if stored.exists() else []
    stage = "val" if options.search else "test"
    known = {
        (r["method"], r["rate"], r["seed"], r["steps"]) for r in records if str(r["metric"]).startswith(f"{stage}/")
    }
    missing = [run for run in planned(options) if run.key not in known]
    labels = [(run.seed, METHODS[run.method][0]) for run in missing if run.method != BEFORE]
    mined = dict.fromkeys((seed, each, split) for seed, each in labels if each for split in MINED)
    detectors = sorted({name for _, each in labels if each for name in LABELS[each]} - {"truth"})
    with ThreadPoolExecutor(options.jobs) as pool:
        # What several runs need is made first, each by one process.
        list(pool.map(bench.detector, detectors))
        list(pool.map(bench.before, dict.fromkeys(run.seed for run in missing)))
        list(pool.map(lambda each: bench.pairs(*each), mined))
        futures = [pool.submit(bench.records, run, command) for run in missing]
        for found in results(futures):
            records += found
            page(stem, records, describe_run())
    page(stem, records, describe_run())


def main() -> None:
    """Measure the small model."""
    options = arguments(__doc__).parse_args()
    measure(Bench(options), options, STEM, write_page)


if __name__ == "__main__":
    main()
