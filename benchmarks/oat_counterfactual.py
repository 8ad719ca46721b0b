"""Expected search time before and after the target is moved, against the rule of the grid task.

A small OAT is trained on the synthetic grid search (configuration oat/grid), where a path visits the objects of the
target's class row by row until it reaches the target. So the search time of a changed scene is known without the
network: the number of such objects up to the target's new cell. In each test scene the target changes places with the
first and with the last cell, and the network's change in expected search time is compared with the rule's.

Run: python benchmarks/oat_counterfactual.py [--scenes 200] [--samples 100] [--seeds 1 2 3]
Writes docs/results/oat_counterfactual.md, .json and .png.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl
import torch
import yaml
from PIL import Image, ImageDraw
from results import describe_run, write_results

from vision_suite.datasets.scanpath.grid import GridScanpathData
from vision_suite.lit_modules.oat import LitOAT
from vision_suite.models.oat import OAT, greedy, search_change, swap_objects
from vision_suite.models.oat.search import SearchTime
from vision_suite.optim import OptimConfig
from vision_suite.types import PADDING, ScanpathBatch
from vision_suite.viz.canvas import CURVES
from vision_suite.viz.scanpath.counterfactual import Search, counterfactual_picture
from vision_suite.viz.scanpath.stage import MODEL, Backdrop, Gaze

ROOT = Path(__file__).resolve().parents[1]
STEM = ROOT / "docs" / "results" / "oat_counterfactual"
FORMS = {
    "scenes": "d",
    "model_change": "+.3f",
    "rule_change": "+.3f",
    "mean_absolute_error": ".3f",
    "correlation": ".3f",
}
CONFIG = ROOT / "vision_suite" / "configs" / "oat" / "grid.yaml"


def train(seed: int, scenes: int) -> tuple[OAT, GridScanpathData]:
    """A network trained as ``vision-suite fit -c oat/grid`` would, and its data."""
    settings = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    pl.seed_everything(seed, verbose=False)
    own = {**settings["data"]["init_args"], "test_scenes": scenes, "eval_batch_size": scenes}
    data = GridScanpathData(seed=seed, **own)
    arguments = settings["model"]["init_args"]
    arguments["optim"] = OptimConfig(**arguments["optim"])
    module = LitOAT(data.in_channels, data.num_positions, data.max_length, **arguments)
    trainer = pl.Trainer(
        max_epochs=settings["trainer"]["max_epochs"], gradient_clip_val=settings["trainer"]["gradient_clip_val"],
        accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, limit_val_batches=0, use_distributed_sampler=False,
    )  # fmt: skip
    trainer.fit(module, data)
    return module.model.eval(), data


def test_scenes(data: GridScanpathData) -> tuple[ScanpathBatch, np.ndarray]:
    """All test scenes in one batch, and (B, N) the class of each object."""
    scenes = data.scenes("test")
    kinds = [[int(label.split()[-1]) for label in scenes[trial.scene].labels] for trial in data.trials("test")]
    return cast(ScanpathBatch, next(iter(data.test_dataloader()))), np.array(kinds)


def rule_steps(batch: ScanpathBatch, kinds: np.ndarray, columns: int) -> np.ndarray:
    """(B,) fixations until the target by the task's rule: objects of its class up to its cell, in reading order."""
    place = (batch["position"] @ torch.tensor([float(columns), 1.0])).numpy()
    row, target = np.arange(len(kinds)), batch["target"].numpy()
    same = kinds == kinds[row, target][:, None]
    return np.asarray((same & (place <= place[row, target][:, None])).sum(axis=1))


def examine(model: OAT, data: GridScanpathData, samples: int) -> list[dict[str, Any]]:
    """Changes of search time by the network and by the rule, of targets moved to the first and the last cell."""
    batch, kinds = test_scenes(data)
    columns, longest = data.rule.columns, data.rule.longest
    known = rule_steps(batch, kinds, columns)
    records = []
    for name, cell in (("first", 0), ("last", data.num_objects - 1)):
        changed = swap_objects(batch, batch["target"], torch.full_like(batch["target"], cell))
        expected = rule_steps(changed, kinds, columns)
        # The task cuts paths at the greatest length, so the rule has no time beyond it.
        usable = np.maximum(known, expected) <= longest
        found = search_change(model, batch, changed, longest, samples)
        own = found.steps.numpy()[usable]
        true = (expected - known)[usable].astype(np.float64)
        records.append(
            {
                "moved_to": name, "scenes": int(usable.sum()), "model_change": float(own.mean()),
                "rule_change": float(true.mean()), "mean_absolute_error": float(np.abs(own - true).mean()),
                "correlation": float(np.corrcoef(own, true)[0, 1]),
                "standard_error_of_a_scene": float(found.standard_error.mean()),
            }
        )  # fmt: skip
    return records


def picture(model: OAT, data: GridScanpathData, samples: int) -> Image.Image:
    """The test scene in which a move to the first cell saves most by the rule."""
    batch, kinds = test_scenes(data)
    changed = swap_objects(batch, batch["target"], torch.zeros_like(batch["target"]))
    columns = data.rule.columns
    saved = rule_steps(batch, kinds, columns) - rule_steps(changed, kinds, columns)
    pick = int(saved.argmax())
    scenes = only(batch, pick), only(changed, pick)
    found = search_change(model, *scenes, data.rule.longest, samples)
    before, after = (
        one_search(model, scene, time, kinds[pick], data.rule.longest)
        for scene, time in zip(scenes, (found.before, found.after), strict=True)
    )
    error = float(found.standard_error[0])
    note = "colours: appearance class; green frame: target; path of the likeliest steps; times over sampled paths"
    return counterfactual_picture(before, after, title="Target swapped into the first cell", error=error, note=note)


def only(batch: ScanpathBatch, row: int) -> ScanpathBatch:
    """One scene of a batch."""
    return cast(ScanpathBatch, {name: value[row : row + 1] for name, value in batch.items()})  # type: ignore[index]


def one_search(model: OAT, scene: ScanpathBatch, time: SearchTime, kinds: np.ndarray, longest: int) -> Search:
    """The search of one scene, as it is drawn."""
    path = greedy(model, scene, longest)
    boxes = scene["boxes"][0].double().numpy()
    size = (float(scene["image_size"][0, 0]), float(scene["image_size"][0, 1]))
    page = Image.new("RGB", (round(size[0]), round(size[1])), "white")
    draw = ImageDraw.Draw(page)
    for box, kind in zip(boxes, kinds, strict=True):
        draw.rounded_rectangle((box[0] + 14, box[1] + 14, box[2] - 14, box[3] - 14), 10, fill=CURVES[3 + int(kind)])
    stage = Backdrop(size, boxes, (int(scene["target"][0]),), picture=page)
    gaze = Gaze(path.xy[0, 0][path.sequence[0, 0] != PADDING].double().numpy(), "likeliest steps", MODEL)
    return Search(stage, gaze, float(time.steps[0]), float(time.standard_error[0]), float(time.found[0]))


def main() -> None:
    parser = argparse.ArgumentParser(description="search time before and after a swap, against the grid task's rule")
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    options = parser.parse_args()
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    records: list[dict[str, Any]] = []
    for place, seed in enumerate(options.seeds):
        model, data = train(seed, options.scenes)
        records += [{"seed": seed, **record} for record in examine(model, data, options.samples)]
        if place == 0:
            STEM.parent.mkdir(parents=True, exist_ok=True)
            picture(model, data, options.samples).save(STEM.with_suffix(".png"))
    lines = ["| seed | target moved to | scenes | change, model | change, rule | mean abs. error | correlation |",
             "|---|---|---|---|---|---|---|"]  # fmt: skip
    for record in records:
        numbers = [f"{record[name]:{form}}" for name, form in FORMS.items()]
        lines.append(f"| {record['seed']} | {record['moved_to']} cell | {' | '.join(numbers)} |")
    note = (
        f"Expected fixations until the target over {options.samples} sampled paths, after the target changed places "
        "with the object in the first or last cell, minus before. Mean over test scenes that no seed was trained on, "
        "without those with a path by the rule longer than the task's greatest length. The rule's change is exact. "
        "The picture shows the scene of the first seed in which the move saves most."
    )
    write_results(STEM, "OAT: counterfactual search times on the grid task", note, "\n".join(lines), records,
                  describe_run())  # fmt: skip


if __name__ == "__main__":
    main()
