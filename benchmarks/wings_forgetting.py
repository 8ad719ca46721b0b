"""Forgetting of a language model that learns to see: Wings against its baselines, at equal rows, steps and loss.

SmolLM2-135M learns to name the emoji of Emoji-Scenes (closed variant, 40 names and their groups) through the small
convolutional tower. For each seed one projector is trained to tell the names in the decoder's embeddings; every method
starts from it and sees the same rows in the same order. Along the way validation scores the loss of right answers, and
the drift (KL, top-1 agreement) from the untouched model on a text that none but the replay trains on. The ends are
tested once: names and groups on pictures of a design that no training had, perplexity of the pages, choice sets of
text. Right answers are stored by name, since questions about one drawing are not independent.

A run that the results file holds is not repeated, and a killed one goes on from its last stored step, so the benchmark
may be stopped at any time. Rates are searched on the validation split with ``--search``, whose runs have a page of
their own.

Run: python benchmarks/wings_forgetting.py --tower TOWER.ckpt [--seeds 1 2 3] [--methods ...] [--jobs 2]
Writes docs/results/wings_forgetting.md, .json and .png, or with --search wings_forgetting_search.*.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from results import command_line, describe_run, git_commit
from suite_calls import ROOT, Run, call, results
from wings_forgetting_page import write_page
from wings_forgetting_tables import FROZEN, START, Record

from vision_suite.prepared import data_dir

STEM = ROOT / "docs" / "results" / "wings_forgetting"
START_STEPS = 1000
PROJECTOR = 5e-4  # rate of the projector in all methods
EVERY = 50  # steps between two validations
COURSE = ("loss_answers", "kl", "agreement", "accuracy/name", "accuracy/group")
PLACE = "place.ckpt"
TEXT_TASKS = ("definitions", "synonyms", "countries")  # above chance for the untouched model, on validation
VISUAL, TEXTUAL = 2e-3, 1e-4  # rates of the wings, those of the search with the least drift
WINGS_RATES = ((5e-4, 5e-4), (5e-4, 1e-4), (5e-4, 2e-5), (2e-3, 5e-4), (2e-3, 1e-4))  # of visual wing and text wing


def wings_flags(visual: float, textual: float) -> list[str]:
    """Flags of a run with both wings.

    Args:
        visual: Rate of the visual wing.
        textual: Rate of the text wing.
    """
    factors = f"projector: 1.0, decoder: {{share}}, router: 1.0, visual: {visual / 5e-4}, textual: {textual / 5e-4}"
    return ["--model.optim.lr=5e-4", f"--model.optim.lr_factors={{{{{factors}}}}}"]


# Configuration and flags of each method; `rate` stands for the decoder's rate, or that of LoRA.
METHODS = {
    "projector only": ("wings/smollm2_projector_only", ["--model.optim.lr={projector}"]),
    "visual wing only": (
        "wings/smollm2_stage1",
        ["--model.optim.lr=5e-4", f"--model.optim.lr_factors={{{{projector: 1.0, visual: {VISUAL / 5e-4}}}}}"],
    ),
    "LoRA": ("wings/smollm2_lora", ["--model.optim.lr={rate}", "--model.optim.lr_factors={{projector: {relative}}}"]),
    "full fine-tuning": (
        "wings/smollm2_full",
        ["--model.optim.lr={rate}", "--model.optim.lr_factors={{projector: {relative}}}"],
    ),
    "full fine-tuning with text replay": (
        "wings/smollm2_replay",
        ["--model.optim.lr={rate}", "--model.optim.lr_factors={{projector: {relative}}}"],
    ),
    "Wings": ("wings/smollm2_stage2", wings_flags(VISUAL, TEXTUAL)),
    "Wings with label leak": ("wings/smollm2_leak", wings_flags(VISUAL, TEXTUAL)),
    # For the search: rates of the two wings apart.
    **{
        f"Wings, rates {visual} and {textual}": ("wings/smollm2_stage2", wings_flags(visual, textual))
        for visual, textual in WINGS_RATES
    },
}
TESTED = [method for method in METHODS if ", rates" not in method]
INTERPOLATED = "weights half-way back, of full fine-tuning"


def command_of(run: Run) -> list[str]:
    """Configuration and flags of a training, without those of data and place; the rate is that of decoder or LoRA."""
    if run.method == START:
        return ["-c", "wings/smollm2_align", f"--seed_everything={run.seed}"]
    config, flags = METHODS[run.method]
    relative = PROJECTOR / (run.rate or 1.0)
    values = {"rate": run.rate, "relative": relative, "share": run.rate / 5e-4, "projector": PROJECTOR}
    return ["-c", config, f"--seed_everything={run.seed}", *(flag.format(**values) for flag in flags)]


class Bench:
    """The settings that all runs share.

    Args:
        options: Arguments of the command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.work: Path = options.work
        self.tower: Path = options.tower.resolve()
        self.origin = {"command": command_line(), "commit": git_commit()}
        scenes, texts = data_dir() / "emoji-scenes-closed", data_dir() / "text-choices"
        val, tested = scenes / "questions_val.jsonl", scenes / "questions_test.jsonl"
        pictures = ("name", "group")
        self.validate_on = {
            "scenes": {
                "path": self.chosen(val, "val", pictures),
                "image_root": str(scenes),
                "limit": 160,
                "choices": "texts",
            },
            "manual": {"path": "python-manual/text_val.jsonl", "limit": 24, "max_length": 160},
        }
        self.test_on = {
            "name": {"path": self.chosen(tested, "test", ("name",)), "image_root": str(scenes)},
            "group": {
                "path": self.chosen(tested, "group", ("group",)),
                "image_root": str(scenes),
                "limit": 500,
                "choices": "texts",
            },
            "choices": {"path": self.chosen(texts / "questions_test.jsonl", "choices", TEXT_TASKS), "choices": "texts"},
            "pages": {"path": "page-questions/text_test.jsonl", "max_length": 160},
        }

    def chosen(self, path: Path, name: str, tasks: tuple[str, ...]) -> str:
        """A file of the questions of some tasks alone."""
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if json.loads(line)["turns"][-1]["source"] in tasks]
        target = self.work / f"questions_{name}.jsonl"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("".join(kept), encoding="utf-8")
        return str(target.resolve())

    def common(self, folder: Path) -> list[str]:
        """Flags of every command."""
        return [
            f"--trainer.default_root_dir={folder}", f"--model.tower.checkpoint={self.tower}",
            "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu", "--trainer.precision=32-true",
            "--data.eval_batch_size=32",
            f"--data.validate_on={json.dumps(self.validate_on)}", f"--data.test_on={json.dumps(self.test_on)}",
        ]  # fmt: skip

    def train(self, run: Run, start: Path | None) -> Path:
        """Train, or go on, and return the last checkpoint."""
        folder = self.work / run.folder
        done = next(iter(folder.rglob("last.ckpt")), None)
        if done is not None and (folder / "done").exists():
            return done
        every = run.steps if run.method == START else min(EVERY, run.steps)
        place = max(folder.rglob(PLACE), key=lambda path: path.stat().st_mtime, default=None)
        begun = [f"--ckpt_path={place}"] if place else [f"--init_from={start}"] if start else []
        call([
            "fit", *command_of(run), *self.common(folder), *begun, f"--trainer.max_steps={run.steps}",
            "--model.optim.fused=true", f"--trainer.val_check_interval={every}",
            "--trainer.callbacks+=pytorch_lightning.callbacks.ModelCheckpoint",
            f"--trainer.callbacks.filename={PLACE.removesuffix('.ckpt')}",
            "--trainer.callbacks.every_n_train_steps=100", "--trainer.callbacks.enable_version_counter=false",
        ])  # fmt: skip
        (folder / "done").touch()
        return next(folder.rglob("last.ckpt"))

    def records(self, run: Run, start: Path, tested: bool) -> list[Record]:
        """Train a run, and the records of its course and of its end."""
        checkpoint = self.train(run, start)
        folder = self.work / run.folder
        found = list(self.course(run, folder))
        if tested:
            found += self.test(run, run.method, checkpoint, [])
            if run.method == "full fine-tuning":
                found += self.test(run, INTERPOLATED, checkpoint, ["--model.interpolate=0.5"])
        shutil.rmtree(folder)
        return found

    def course(self, run: Run, folder: Path) -> Iterator[Record]:
        """Records of the validations along the way."""
        for path in sorted(folder.rglob("metrics.csv")):
            with path.open(encoding="utf-8", newline="") as file:
                for row in csv.DictReader(file):
                    for name in COURSE:
                        if row.get(f"val/{name}"):
                            value = float(row[f"val/{name}"])
                            yield {**run.__dict__, "step": int(row["step"]), "metric": f"val/{name}", "value": value,
                                   **self.origin}  # fmt: skip

    def test(self, run: Run, method: str, checkpoint: Path, flags: list[str]) -> list[Record]:
        """Records of the one test of a run."""
        folder = self.work / f"{run.folder}_test"
        shutil.rmtree(folder, ignore_errors=True)
        call(["test", *command_of(run), *self.common(folder), f"--ckpt_path={checkpoint}", *flags])
        stored = json.loads(next(folder.rglob("metrics.json")).read_text(encoding="utf-8"))
        found = {**stored["metrics"], "right/name": right_by_name(next(folder.rglob("answers.jsonl")), "name")}
        shutil.rmtree(folder)
        own = {**run.__dict__, "method": method, "step": run.steps}
        return [{**own, "metric": f"test/{name}", "value": value, **self.origin} for name, value in found.items()]


def right_by_name(answers: Path, task: str) -> dict[str, list[int]]:
    """Right answers and questions of a task, by the right answer."""
    found: dict[str, list[int]] = {}
    with answers.open(encoding="utf-8") as lines:
        for line in lines:
            answer = json.loads(line)
            if answer["task"] == task:
                counts = found.setdefault(answer["reference"], [0, 0])
                counts[0] += answer["right"]
                counts[1] += 1
    return dict(sorted(found.items()))


def planned(options: argparse.Namespace) -> Iterator[Run]:
    """All runs of a call, seeds outermost."""
    own = {**{name: [0.0] for name in FROZEN}, "LoRA": options.lora_rates, "full fine-tuning": options.full_rates}
    for seed in options.seeds:
        for method in options.methods:
            for rate in own.get(method, options.rates):
                yield Run(method, rate, seed, options.steps)


def main() -> None:
    """Run what is missing, and write the page after each run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tower", type=Path, required=True, help="checkpoint of mllm/conv_tower")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=TESTED)
    parser.add_argument("--rates", type=float, nargs="+", default=[2e-5], help="rates of the decoder")
    parser.add_argument(
        "--full-rates", type=float, nargs="+", default=[2e-5, 5e-5], help="rates of full fine-tuning without replay"
    )
    parser.add_argument("--lora-rates", type=float, nargs="+", default=[1e-3], help="rates of LoRA")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--search", action="store_true", help="validate only: rates are compared, nothing is tested")
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side, one core each")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "wings_forgetting")
    options = parser.parse_args()
    bench = Bench(options)
    stem = STEM.with_name(f"{STEM.name}_search") if options.search else STEM
    stored = stem.with_suffix(".json")
    records: list[Record] = json.loads(stored.read_text(encoding="utf-8")) if stored.exists() else []
    # The order of a failed run's records is that of their ends.
    known = {(r["method"], r["rate"], r["seed"], r["steps"]) for r in records if options.search or _is_test(r)}
    missing = [run for run in planned(options) if run.key not in known]
    starts = {run.seed: Run(START, 0.0, run.seed, START_STEPS) for run in missing}
    with ThreadPoolExecutor(options.jobs) as pool:
        begun = dict(zip(starts, pool.map(lambda run: bench.train(run, None), starts.values()), strict=True))
        held = {r["seed"] for r in records if r["method"] == START}
        for run in starts.values():
            records += [] if run.seed in held else bench.course(run, bench.work / run.folder)
        futures = [pool.submit(bench.records, run, begun[run.seed], not options.search) for run in missing]
        for found in results(futures):
            records += found
            write_page(stem, records, describe_run())
    write_page(stem, records, describe_run())


def _is_test(record: Record) -> bool:
    return str(record["metric"]).startswith("test/")


if __name__ == "__main__":
    main()
