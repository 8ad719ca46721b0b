"""The page of `sentinel_effect`: its parts and the picture of what is made up against what is found."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from results import write_results
from sentinel_effect_tables import Key, Record, ends, labels, matched, named, points, targets

NOTE = (
    "Emoji-Scenes is a stand-in drawn by a rule: these figures say nothing about any published table. `made up` is "
    "CHAIR_i, `captions with it` CHAIR_s, `found` the share of a picture's objects that its caption names. `against` "
    "are 500 scenes whose things never share a kind, `prior` 500 in which they do with chance 0.8, as in training; "
    "both show the designs of the training. Mining scenes have the chances 0.4 and 0.6. `change` is relative to the "
    "model before tuning, seed by seed. All methods take the same number of steps of 128 rows; beta is 1 where a name "
    "gives none. Mean and standard deviation over seeds."
)


TITLE = "What SENTINEL cures a small model of"


def write_page(stem: Path, records: list[Record], run: str, title: str = TITLE, note: str = NOTE) -> None:
    """Write the page, its picture, and its machine-readable twin."""
    if not records:
        return
    stem.parent.mkdir(parents=True, exist_ok=True)
    commands = sorted({f"- `{r['command']}`, commit {r['commit']}" for r in records})
    parts = [ends(records), targets(records), matched(records), labels(records), ends(records, "val")]
    if picture(stem.with_suffix(".png"), records):
        parts.append(f"![Made-up objects against found ones]({stem.name}.png)")
    about, tables = "\n".join(commands) + f"\n\n{note}", "\n\n".join(part for part in parts if part)
    write_results(stem, title, about, tables, records, run)


def picture(path: Path, records: list[Record]) -> bool:
    """Draw made-up objects against the prior over what is found with it; False where nothing was tested."""
    found = points(records)
    if not found:
        return False
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    # A colour and a marker for each method, empty at all rates but its highest, with lines from rate to rate.
    runs: dict[str, list[Key]] = {}
    for key in sorted(found):
        runs.setdefault(key[0], []).append(key)
    for number, keys in enumerate(runs.values()):
        colour, marker = f"C{number % 10}", "os^Dv<>Pp*Xd"[number % 12]
        axes.plot(
            *zip(*([100 * value for value in found[key]] for key in keys), strict=True), color=colour, linewidth=0.8
        )
        for key in keys:
            recall, made_up = found[key]
            face = colour if key == keys[-1] else "none"
            axes.scatter(
                100 * recall, 100 * made_up, marker=marker, facecolor=face, edgecolor=colour, label=named(key), s=60
            )
    axes.set_xlabel("objects found where the prior holds, %")
    axes.set_ylabel("objects made up where it misleads, %")
    axes.set_ylim(0, 1.08 * axes.get_ylim()[1])
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return True
