"""Card of an entry: its ``README.md``, made of ``config.json`` alone."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from vision_suite.errors import printable

TASKS = {
    "reid": "re-identification", "fgvc": "fine-grained classification", "tad": "temporal action detection",
    "scanpath": "scanpaths", "instruct": "instruction tuning", "preference": "preference learning",
}  # fmt: skip


def card(config: Mapping[str, Any]) -> str:
    """Markdown of the card.

    Args:
        config: Contents of ``config.json``, which its schema has passed.
    """
    weights, training = config["weights"], config["training"]
    data = training["data"]
    lines = [
        f"# {config['name']}",
        "",
        f"Network of {_cell(config['method'])} for {TASKS[config['task']]}, an entry of vision_suite's checkpoint hub.",
        "",
        "```python",
        "from vision_suite import hub",
        "",
        f'network, preprocess, config = hub.load("hub:{config["name"]}")',
        "```",
        "",
        "| | |",
        "|---|---|",
        f"| parameters | {weights['parameters']:,} |",
        f"| weights | {weights['bytes']:,} bytes, SHA-256 `{weights['sha256']}` |",
        f"| average of training | {'EMA' if weights['ema'] else 'none'} |",
        f"| data | {_cell(data['name'])}, fingerprint `{_cell(data['fingerprint'][:16])}` |",
        f"| commit | {training['commit'] or 'unknown'}{' with changes' if training['dirty'] else ''} |",
        f"| seed | {'unknown' if training['seed'] is None else training['seed']} |",
        f"| hardware | {_cell(training['hardware'])} |",
        f"| versions | vision_suite {_cell(config['suite_version'])}, torch {_cell(config['torch_version'])} |",
        f"| made | {config['created']} |",
        f"| licence of the weights | {config['license']} |",
    ]
    if config["base"] is not None:
        lines.append(f"| base | {_cell(config['base']['source'])}, SHA-256 `{config['base']['sha256']}` |")
    if training["command"]:
        lines += ["", "## Training", "", *_fenced(training["command"])]
    if config["metrics"]:
        lines += ["", "## Figures", "", *_figures(config["metrics"])]
    lines += ["", "## Attribution", ""]
    lines += [_attribution(each) for each in config["attribution"]]
    return "\n".join(lines) + "\n"


def attribution_text(config: Mapping[str, Any]) -> str:
    """Text of ``ATTRIBUTION.md``."""
    return "\n".join(["# Attribution", "", *(_attribution(each) for each in config["attribution"])]) + "\n"


def _fenced(command: Sequence[str]) -> list[str]:
    """A command in a fence that no word of it ends."""
    text = shlex.join(map(printable, command))
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return [f"{fence}bash", text, fence]


def _figures(metrics: Sequence[Mapping[str, Any]]) -> list[str]:
    """Table of figures and their protocol; where there are several, each figure names its own by a number."""
    protocols = [_protocol(each) for each in metrics]
    known = list(dict.fromkeys(protocols))
    heads, rows = ["metric", "value", "seeds", "split", "data"], [_figure(each) for each in metrics]
    if len(known) > 1:
        heads.append("protocol")
        rows = [[*row, str(known.index(own) + 1)] for row, own in zip(rows, protocols, strict=True)]
    lines = ["| " + " | ".join(row) + " |" for row in (heads, *rows)]
    lines.insert(1, "|---" * len(heads) + "|")
    numbers = [f" {number + 1}" if len(known) > 1 else "" for number in range(len(known))]
    return lines + [f"\nProtocol{number}: {words}." for number, words in zip(numbers, known, strict=True) if words]


def _figure(metric: Mapping[str, Any]) -> list[str]:
    spread = "" if metric["std"] is None else f" ± {metric['std']:.4g}"
    seeds = ", ".join(map(str, metric["seeds"]))
    value = f"{metric['value']:.4g}{spread}"
    return [_cell(metric["name"]), value, seeds, _cell(metric["split"]), _cell(metric["data"])]


def _protocol(metric: Mapping[str, Any]) -> str:
    return ", ".join(f"{_cell(name)} {_cell(value)}" for name, value in sorted(metric["protocol"].items()))


def _attribution(each: Mapping[str, Any]) -> str:
    more = ", ".join(_cell(each[name]) for name in ("license", "source") if each[name])
    return f"- {_cell(each['what'])} by {_cell(each['by'])}{f' ({more})' if more else ''}"


def _cell(value: object) -> str:
    """A value as plain text in Markdown: no marks, no lines, no HTML."""
    text = printable(" ".join(str(value).split()))
    for letter in "\\`*_[]|":
        text = text.replace(letter, f"\\{letter}")
    return text.replace("<", "&lt;").replace(">", "&gt;")
