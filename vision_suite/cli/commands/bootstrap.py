"""``vision-suite bootstrap``: preference pairs of a model's own sentences, mined, derived again, and exported."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from vision_suite.cli.light_parser import LightParser, count
from vision_suite.errors import ConfigError, DataError, check_choice
from vision_suite.faults import DONE

if TYPE_CHECKING:
    from vision_suite.mining.agreement import DetectorPair
    from vision_suite.mining.decide import Rules, Threshold
    from vision_suite.mining.store import Store

PARTS = ("pairs", "report", "export", "score")


def main(argv: Sequence[str]) -> int:
    """Mine, or work on what was mined, and return 0."""
    if argv and argv[0] in PARTS:
        options = _parts_parser(argv[0]).parse_args(argv[1:])
        {"pairs": _pairs, "report": _report, "export": _export, "score": _score}[argv[0]](options)
    else:
        _mine(_parser().parse_args(argv))
    return DONE


def _parser() -> argparse.ArgumentParser:
    parser = LightParser(
        prog="vision-suite bootstrap",
        description="Sample sentences of a trained model about pictures, find the objects that it makes up, and keep "
        "pairs of a right and a wrong sentence (SENTINEL). A killed run goes on where it stopped. What was mined is "
        "worked on by `bootstrap pairs FILE` (other thresholds or rules, without a model), `bootstrap score FILE` "
        "(further detectors), `bootstrap report FILE` and `bootstrap export FILE`.",
    )
    parser.add_argument("-c", "--config", required=True, help="configuration of mining, such as sentinel/mine_scenes")
    parser.add_argument("--ckpt_path", type=Path, required=True, help="checkpoint of the model that will be trained")
    parser.add_argument("--output", type=Path, help="file of the results, instead of the configuration's")
    parser.add_argument("--run", help="name of the run in the file, instead of the configuration's")
    parser.add_argument("--limit", type=count, help="number of pictures, instead of the configuration's")
    parser.add_argument("--seed", type=int, help="seed of the run, instead of the configuration's")
    parser.add_argument("--device", default="auto", help="device: auto, cpu, cuda ...")
    parser.add_argument("--workers", type=count, help="processes of a Ray cluster; unset for this process alone")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def _parts_parser(part: str) -> argparse.ArgumentParser:
    about = {
        "pairs": "Make the pairs again by other thresholds or rules, from stored scores, without model or detector.",
        "report": "Print the counts of a run and the agreement of its detectors, and draw the latter.",
        "export": "Write the pairs of a run for training, or what was found about each picture.",
        "score": "Let further detectors score the objects of a run, without the model; `bootstrap pairs` then decides.",
    }
    parser = LightParser(prog=f"vision-suite bootstrap {part}", description=about[part])
    parser.add_argument("file", type=Path, help="file of a run of mining")
    parser.add_argument("--run", help="name of the run; not needed where there is one")
    if part == "score":
        about_config = "configuration of mining, of which the detectors count; those with scores are not asked"
        parser.add_argument("-c", "--config", required=True, help=about_config)
        parser.add_argument("--device", default="auto", help="device: auto, cpu, cuda ...")
        parser.add_argument("--quiet", action="store_true", help="no progress bar")
        return parser
    parser.add_argument("--name", default=None if part == "pairs" else "mined", help="name of the pairs")
    if part == "pairs":
        parser.add_argument(
            "--thresholds", nargs="+", default=[],
            help="limits of the detectors that decide: NAME=LIMIT, NAME=LOW:HIGH, or a YAML file; others are left out",
        )  # fmt: skip
        parser.add_argument("--rules", nargs="+", default=[], help="rules that differ from the run's, NAME=VALUE")
    if part == "export":
        parser.add_argument("--output", type=Path, required=True, help="file to write")
        parser.add_argument(
            "--layout",
            help="official, official_json, llama_factory, parquet, trl or trl_json; images for the caption and objects "
            "of each picture in place of pairs; by default by the ending",
        )
    return parser


def _mine(options: argparse.Namespace) -> None:
    """Mine until every picture has come to its end, then report."""
    from vision_suite.cli.mining.config import read_config
    from vision_suite.cli.mining.parts import mining_parts, read_picture, step_of
    from vision_suite.cli.trainer.lines import plain_warnings
    from vision_suite.datasets.prepare.base import progress_bars
    from vision_suite.mining.cluster import bootstrap_on_cluster
    from vision_suite.mining.run import begin, bootstrap
    from vision_suite.mining.store import Store

    plain_warnings()
    config = read_config(options.config)
    config = replace(config, run=options.run or config.run, output=options.output or config.output)
    if options.limit is not None:
        config = replace(config, images=replace(config.images, limit=options.limit))
    if options.seed is not None:
        config = replace(config, sampling=replace(config.sampling, seed=options.seed))
    parts = mining_parts(config, options.ckpt_path, options.device)
    with Store(config.output) as store:
        begin(store, config.run, parts.step, parts.items, parts.settings, parts.detectors)
        with progress_bars(options.quiet) as progress:
            if options.workers is None:
                bootstrap(store, config.run, parts.step, parts.items, read_picture, progress)
            else:
                make = partial(step_of, config, options.ckpt_path.absolute(), options.device)
                bootstrap_on_cluster(
                    store, config.run, make, parts.items, read_picture, progress, workers=options.workers
                )
        _tell(store, config.run, "mined")
        problems = [str(row[0]) for row in store.rows("SELECT problem FROM image WHERE run = ?", (config.run,))]
    if all(problems):
        raise DataError(f"none of {len(problems):,} pictures could be read; the first one: {problems[0]}")


def _pairs(options: argparse.Namespace) -> None:
    """Derive pairs by other thresholds or rules, and keep them under a name of their own."""
    from vision_suite.mining.derive import derive
    from vision_suite.mining.reading import check_scored, derivation_of, mined_images, run_of
    from vision_suite.mining.store import MINED, Store

    if options.name in (None, MINED):
        raise ConfigError(f"give --name, a name for these pairs other than {MINED!r}, which are the run's own")
    if not options.thresholds and not options.rules:
        raise ConfigError("give --thresholds or --rules that differ from the run's own")
    with Store(options.file, new=False) as store:
        run = run_of(store, options.run)
        rules, thresholds = derivation_of(store, run)
        thresholds = _thresholds(options.thresholds) or thresholds
        scored = [row[0] for row in store.rows("SELECT DISTINCT detector FROM object_score ORDER BY detector")]
        if unknown := [name for name in thresholds if name not in scored]:
            raise ConfigError(
                f"{options.file} has no scores of detector {unknown[0]!r}: it has {', '.join(scored)}, and "
                "`vision-suite bootstrap score` adds others"
            )
        check_scored(store, run, thresholds)
        rules = _changed_rules(rules, options.rules)
        pairs, _ = derive(mined_images(store, run), thresholds, rules)
        store.derived(run, options.name, rules, thresholds, pairs)
        _tell(store, run, options.name)


def _report(options: argparse.Namespace) -> None:
    from vision_suite.mining.reading import run_of
    from vision_suite.mining.store import Store

    with Store(options.file, new=False) as store:
        _tell(store, run_of(store, options.run), options.name)


def _export(options: argparse.Namespace) -> None:
    """Write pairs for training, with the fields that SENTINEL's generator adds."""
    from vision_suite.mining.export import Layout, layout_of, write_pairs
    from vision_suite.mining.image_file import LAYOUT, write_images
    from vision_suite.mining.pairs import mined_pairs
    from vision_suite.mining.reading import run_of
    from vision_suite.mining.store import Store

    if options.layout is not None:
        check_choice("layout", options.layout, (*get_args(Layout), LAYOUT))
    if options.layout == LAYOUT:
        with Store(options.file, new=False) as store:
            done = write_images(store, run_of(store, options.run), options.output, options.name)
        left_out = f" ({done.unfinished:,} not at their end and {done.unreadable:,} unreadable ones left out)"
        print(f"{done.written:,} pictures{left_out if done.unfinished + done.unreadable else ''}: {options.output}")
        return
    layout = layout_of(options.output, options.layout)
    with Store(options.file, new=False) as store:
        run = run_of(store, options.run)
        pairs = list(mined_pairs(store, run, options.name))
    if not pairs:
        raise DataError(
            f"{options.file}: run {run!r} has no pairs {options.name!r}: see `vision-suite bootstrap report`"
        )
    rows = [pair.row(run) for pair in pairs]
    count = write_pairs(rows, options.output, layout, facts=[pair.facts() for pair in pairs])
    print(f"{count:,} pairs: {options.output}")


def _score(options: argparse.Namespace) -> None:
    from vision_suite.cli.mining.score import score

    score(options)


def _tell(store: Store, run: str, name: str) -> None:
    """Print the counts of a run's pairs, and write them with the agreement of the detectors beside the file."""
    from vision_suite.drafts import write_whole
    from vision_suite.mining.agreement import agreements
    from vision_suite.mining.derive import derive
    from vision_suite.mining.reading import derivation_of, mined_images, settings_of

    rules, thresholds = derivation_of(store, run, name)
    _, summary = derive(mined_images(store, run), thresholds, rules)
    agreed = list(agreements(mined_images(store, run), thresholds))
    print("\n".join([*summary.lines(), *(each.line() for each in agreed)]))
    contents: dict[str, Any] = {
        "run": run,
        "pairs": name,
        "counts": asdict(summary),
        "agreement": [asdict(each) | {"kappa": _number(each.kappa)} for each in agreed],
        "rules": asdict(rules),
        "thresholds": {each: asdict(limits) for each, limits in thresholds.items()},
        "settings": settings_of(store, run),
    }
    path = store.path.with_suffix(f".{_plain(run)}.{_plain(name)}.json")
    write_whole(path, json.dumps(contents, indent=1) + "\n")
    written = [path]
    for each in agreed:
        written.append(path.with_name(f"{path.stem}.{'.'.join(map(_plain, each.detectors))}.png"))
        _draw(each, f"{run}: {name}", written[-1])
    print(f"written     {', '.join(map(str, written))}")


def _draw(agreement: DetectorPair, title: str, path: Path) -> None:
    """Write the picture of two detectors' agreement."""
    from io import BytesIO

    from vision_suite.drafts import write_whole
    from vision_suite.viz.agreement import agreement_picture

    stream = BytesIO()
    agreement_picture(agreement.counts, agreement.detectors, agreement.kappa, title=title).save(stream, "PNG")
    write_whole(path, stream.getvalue())


def _number(value: float) -> float | None:
    """A number of JSON, which has no NaN."""
    return value if math.isfinite(value) else None


def _plain(name: str) -> str:
    """A name as a part of a file's name."""
    return "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in name)


def _thresholds(words: Sequence[str]) -> dict[str, Threshold]:
    """Limits by detector, of NAME=LIMIT, NAME=LOW:HIGH or a YAML file."""
    from vision_suite.cli.mining.config import threshold_of
    from vision_suite.yaml_text import read_yaml

    found: dict[str, Any] = {}
    for word in words:
        name, given, value = word.partition("=")
        if given:
            try:
                numbers = [float(each) for each in value.split(":")]
            except ValueError:
                numbers = []
            if len(numbers) not in (1, 2):
                raise ConfigError(f"--thresholds {word}: give NAME=LIMIT or NAME=LOW:HIGH")
            found[name] = numbers[0] if len(numbers) == 1 else numbers
        elif Path(word).is_file() and isinstance(contents := read_yaml(Path(word)), dict):
            found |= contents
        else:
            raise ConfigError(f"--thresholds {word}: give NAME=LIMIT, NAME=LOW:HIGH, or a YAML file of these")
    return {name: threshold_of(value, f"--thresholds {name}") for name, value in found.items()}


def _changed_rules(rules: Rules, words: Sequence[str]) -> Rules:
    """Rules with some changed by NAME=VALUE; those by which the stored contexts grew stay as they are."""
    from vision_suite.mining.decide import OF_GROWTH, rules_of
    from vision_suite.yaml_text import load_yaml

    changes: dict[str, Any] = {}
    for word in words:
        name, given, value = word.partition("=")
        if not given:
            raise ConfigError(f"--rules {word}: give NAME=VALUE")
        changes[name] = load_yaml(value, f"--rules {name}")
    changed = rules_of({**({} if "mode" in changes else asdict(rules)), **changes})
    grown = {name: getattr(rules, name) for name in OF_GROWTH}
    if idle := [name for name in OF_GROWTH if name in changes and getattr(changed, name) != grown[name]]:
        raise ConfigError(
            f"--rules {idle[0]}: stored contexts stay as they grew, by {idle[0]}={grown[idle[0]]}; "
            f"{', '.join(OF_GROWTH)} act on a new run only"
        )
    return replace(changed, **grown)
