"""A picture of `docs/results/attention.json`: how many times faster than the best alternative each case is.

Run after benchmarks/attention.py: python benchmarks/attention_plot.py
Writes docs/results/attention.png.
"""

from __future__ import annotations

import json
from pathlib import Path

from vision_suite.viz import canvas

RESULTS = Path(__file__).parents[1] / "docs" / "results"


def main() -> None:
    """Read, draw, write."""
    records = json.loads((RESULTS / "attention.json").read_text(encoding="utf-8"))
    rows = [r for r in records if r["metric"] == "ratio_to_best_other" and r["experiment"] != "flex"]
    panels = {dtype: [r for r in rows if dtype in r["case"]] for dtype in ("float32", "bfloat16")}
    figure, axes = canvas.new_figure(15, 0.36 * max(map(len, panels.values())) + 1.4, len(panels))
    longest = max(r["value"] for r in rows)
    for ax, (dtype, cases), colour in zip(axes, panels.items(), canvas.CURVES, strict=False):
        names = [f"{r['experiment']}: {r['case'].replace(dtype + ' ', '')}" for r in cases]
        places = range(len(cases))
        ax.barh(places, [r["value"] - 1 for r in cases], left=1, height=0.62, color=colour)
        for place, record in zip(places, cases, strict=True):
            ax.text(max(record["value"], 1) * 1.03, place, f"{record['value']:.2f}", va="center", fontsize=9)
        ax.axvline(1, color="black", linewidth=1)
        ax.set_yticks(places, names, fontsize=9)
        ax.set_ylim(len(cases) - 0.4, -0.6)
        ax.set_xscale("log")
        ax.set_xlim(0.8, longest * 1.4)
        ax.set_xticks([1, 2, 4, 8], ["1", "2", "4", "8"])
        ax.minorticks_off()
        ax.set_title(f"{dtype}, one thread: best alternative / ours")
    canvas.rendered(figure).save(RESULTS / "attention.png")


if __name__ == "__main__":
    main()
