"""``vision-suite demo``: prepare real pictures, train DCAL, test it against rows without a network, and predict."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vision_suite.drafts import write_whole

CONFIG = "dcal/emoji_reid"
ROOT = "emoji-reid-64/a"
COLUMNS = ("mAP", "rank1", "rank5", "rank10")
# A CPU without bf16 instructions takes about twice as long for a step: a shorter schedule takes about ten minutes.
SHORTER = ["--trainer.max_epochs=40"]
FAST = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=6", "--trainer.check_val_every_n_epoch=1"]


def main(argv: Sequence[str]) -> int:
    """Run the demo and return 0.

    Args:
        argv: Options of the command.
    """
    parser = argparse.ArgumentParser(prog="vision-suite demo", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("runs/demo"), help="folder of the runs and pictures")
    parser.add_argument("--source", type=Path, help="folder with the archives, where no package registry answers")
    parser.add_argument(
        "--fast", action="store_true", default=os.environ.get("FAST", "0") not in ("", "0"),
        help="train a few steps only, to see that everything runs (also FAST=1)",
    )  # fmt: skip
    options = parser.parse_args(argv)
    start = time.perf_counter(), time.process_time()

    from vision_suite.callbacks.run_dir import run_dir
    from vision_suite.cli.commands.train import run
    from vision_suite.datasets.prepare import catalog

    _say("1/5 prepare Emoji-ReID")
    catalog.prepare("emoji-reid", source=options.source)
    trained = [f"--trainer.default_root_dir={options.output}"]
    _say("2/5 rows without a network")
    rows = pixel_rows()
    _say("3/5 train DCAL")
    fit = run(["fit", "-c", CONFIG, *trained, *schedule(), *(FAST if options.fast else [])])
    folder = run_dir(fit.trainer)
    checkpoint = folder / "checkpoints" / "last.ckpt"
    fitted = time.perf_counter() - start[0], time.process_time() - start[1]
    _say("4/5 test, untrained and trained")
    rows["DCAL untrained"] = fused(run(["test", "-c", CONFIG, *trained]).model.report)
    tested = run(["test", "-c", CONFIG, f"--ckpt_path={checkpoint}", *trained])
    report = tested.model.report
    rows["DCAL trained, SA branch alone"] = fused(report, "sa/")
    rows["DCAL trained, fused"] = fused(report)
    _say("5/5 predict: rank the gallery for the first test pictures")
    predicted = run(
        [
            "predict",
            "-c",
            CONFIG,
            f"--ckpt_path={checkpoint}",
            *trained,
            *prediction_inputs(options.output, 4 if options.fast else 16),
        ]
    )
    seconds = time.perf_counter() - start[0], time.process_time() - start[1]
    table = {
        "data": f"Emoji-ReID protocol A ({ROOT})",
        "short": options.fast,
        "rows": rows,
        "seconds": {"to trained": fitted[0], "all": seconds[0], "to trained, CPU": fitted[1], "all, CPU": seconds[1]},
    }
    options.output.mkdir(parents=True, exist_ok=True)
    write_whole(options.output / "demo.json", json.dumps(table, indent=1) + "\n")
    _show(rows, seconds, options.fast)
    _say("Pictures:")
    for run_, name in ((tested, "test"), (predicted, "predict")):
        for path in sorted((run_dir(run_.trainer) / name).glob("*.png")):
            _say(f"  {path}")
    maps = run_dir(predicted.trainer) / "predict" / "rollout"
    _say(f"  {len(list(maps.glob('*.png')))} attention maps in {maps}")
    _say(f"Table: {options.output / 'demo.json'}   Checkpoint: {checkpoint}")
    return 0


def schedule() -> list[str]:
    """Flags that fit the training to this machine: bf16 on CPUs that have instructions for it."""
    import torch

    if torch.cuda.is_available():
        return []
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.11 may lack it
    fast = capabilities.get("amx_bf16") or capabilities.get("avx512_bf16")
    return ["--trainer.precision=bf16-mixed"] if fast else SHORTER


def pixel_rows() -> dict[str, dict[str, float]]:
    """Scores of features without a network, recomputed on the prepared pictures."""
    import torch

    from vision_suite.datasets.prepare.fetch import data_dir
    from vision_suite.extract.pixels import pixel_baselines
    from vision_suite.metrics.reid_metric import ReIDMetric
    from vision_suite.types import Role

    baselines = pixel_baselines(data_dir() / ROOT)
    queries, gallery = len(baselines.query_ids), len(baselines.gallery_ids)
    identities = torch.from_numpy(np.concatenate([baselines.query_ids, baselines.gallery_ids]))
    cameras = torch.from_numpy(np.concatenate([baselines.query_cams, baselines.gallery_cams]))
    roles = torch.tensor([int(Role.QUERY)] * queries + [int(Role.GALLERY)] * gallery)
    rows = {}
    for row in baselines.rows:
        metric = ReIDMetric()
        features = torch.from_numpy(np.concatenate([row.query, row.gallery]))
        metric.update(features, identities, cameras, roles, torch.arange(queries + gallery))
        scores = metric.compute()
        rows[row.name] = {key: float(scores[key]) for key in COLUMNS}
    return rows


def fused(report: object, prefix: str = "") -> dict[str, float]:
    """Columns of the demo's table from a retrieval report, of one branch or of the fused feature."""
    from vision_suite.types import RetrievalReport

    if not isinstance(report, RetrievalReport):
        raise TypeError(f"the test left a {type(report).__name__}, not a retrieval report")
    return {key: report.metrics[prefix + key] for key in COLUMNS}


def prediction_inputs(output: Path, count: int) -> list[str]:
    """Flags that predict the first test pictures against the test gallery."""
    from vision_suite.datasets.prepare.fetch import data_dir

    folder = data_dir() / ROOT
    manifest = output / "predict_inputs.csv"
    output.mkdir(parents=True, exist_ok=True)
    lines = [str(path) for path in sorted((folder / "query").glob("*.png"))[:count]]
    manifest.write_text("path\n" + "".join(f'"{line}"\n' for line in lines), encoding="utf-8")
    return [f"--data.predict_inputs={manifest}", f"--data.predict_gallery={folder / 'bounding_box_test'}"]


def _show(rows: Mapping[str, Mapping[str, float]], seconds: tuple[float, float], short: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    title = "Emoji-ReID protocol A, unseen identities (%)" + (" - SHORT RUN, not a result" if short else "")
    table = Table(title=title)
    table.add_column("features")
    for name in ("mAP", "R1", "R5", "R10"):
        table.add_column(name, justify="right")
    for name, row in rows.items():
        table.add_row(name, *(f"{100 * row[key]:.2f}" for key in COLUMNS))
    console = Console()
    console.print(table)
    console.print(f"{seconds[0]:.0f} s in all, {seconds[1]:.0f} CPU-seconds of this process")


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    import sys

    sys.exit(main(sys.argv[1:]))
