"""``vision-suite hub``: entries of checkpoints with checksums; lists, shows, makes, fetches and verifies them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vision_suite.cli.light_parser import LightParser
from vision_suite.errors import CheckpointError, ConfigError, printable
from vision_suite.faults import CHECK_FAILED, DONE
from vision_suite.hub import places

ATTRIBUTION = ("what", "by", "license", "source")


def main(argv: Sequence[str]) -> int:
    """Run one of the actions; 1 if ``verify`` finds a fault."""
    given = _parser().parse_args(argv)
    actions = {
        "list": _list, "show": _show, "push": _push, "pull": _pull, "verify": _verify, "card": _card,
        "keygen": _keygen, "index": _index,
    }  # fmt: skip
    return actions[given.action](given)


def _parser() -> LightParser:
    parser = LightParser(
        prog="vision-suite hub",
        description="Entries of a checkpoint hub: a folder each, with weights, settings, preprocessing, figures, "
        f"licence and checksums. The user's hub is ${places.VARIABLE}, by default in the cache folder; the package has "
        "entries of its own.",
    )
    names = "list|show|push|pull|verify|card|keygen|index"
    actions = parser.add_subparsers(dest="action", required=True, metavar=names)
    name = "hub:NAME or NAME, local-dir:PATH, hf-hub:ORG/NAME[@REVISION]"
    unsigned = "take entries of a hub without a signature of a trusted key"
    actions.add_parser("list", help="entries of the user's hub and of the package")
    show = actions.add_parser("show", help="config.json of an entry, after its files were checked")
    push = actions.add_parser("push", help="make an entry of a checkpoint of a run")
    pull = actions.add_parser("pull", help="copy an entry into the user's hub, after it was checked")
    verify = actions.add_parser("verify", help="check entries, and list every fault; all if none is named")
    card = actions.add_parser("card", help="print the card of an entry")
    keygen = actions.add_parser("keygen", help="make a private key that signs indices, and print the public one")
    index = actions.add_parser("index", help="make the index of a hub, and sign it")
    for each in (show, pull, card):
        each.add_argument("name", help=name)
        each.add_argument("--allow-unsigned", action="store_true", help=unsigned)
    verify.add_argument("names", nargs="*", help=name)
    verify.add_argument("--allow-unsigned", action="store_true", help=unsigned)
    verify.add_argument("--run", action="store_true", help="compute the sample of each entry too")
    push.add_argument("checkpoint", type=Path, help="checkpoint of a run; one in a run's folder tells the run's facts")
    push.add_argument("--name", required=True, help="name of the entry: method_size.data[.variant]")
    push.add_argument("--license", default="", help="SPDX identifier of the licence of the weights")
    push.add_argument("--license_file", type=Path, help="file with the words of the licence")
    push.add_argument(
        "--attribution", action="append", default=[], metavar="'WHAT; BY; LICENCE; SOURCE'",
        help="whose work is in the weights, such as a data set; may be repeated; licence and source may be left out",
    )  # fmt: skip
    push.add_argument("--tests", type=Path, nargs="+", default=[], help="metrics.json of tests, one for each seed")
    push.add_argument("--figures", nargs="+", default=[], help="metrics to take of --tests; by default all")
    push.add_argument("--metrics", type=Path, help="a JSON list of figures, in the form of config.json")
    push.add_argument("--merge_lora", action="store_true", help="add LoRA to the weights, and compare the outputs")
    push.add_argument(
        "--with_base", action="store_true", help="write a frozen decoder's weights, not its name and hash"
    )
    push.add_argument("--replace", action="store_true", help="put it in the place of an earlier entry")
    push.add_argument("--model", help="class of the module, if the checkpoint does not name it")
    for each in (push, index):
        each.add_argument("--hub", type=Path, help="folder of the hub (default: the user's)")
        each.add_argument("--key", type=Path, help="private key that signs the index")
    pull.add_argument("--hub", type=Path, help="folder of the hub (default: the user's)")
    pull.add_argument("--replace", action="store_true", help="put it in the place of an earlier entry")
    index.add_argument("--name", help="name of the hub (default: as before, or that of its folder)")
    keygen.add_argument("file", type=Path, help="file to write; it must not exist")
    return parser


def _list(given: argparse.Namespace) -> int:
    """One entry a line; nothing is read but ``config.json``."""
    print(f"hub: {places.hub_folder() or 'none'} (set {places.VARIABLE} to change it)")
    for name in places.all_names():
        try:
            place = places.locate(name)
        except CheckpointError as error:
            print(printable(f"{name}: {error}"))
            continue
        where = "package" if place.pin is not None else "hub"
        try:
            config = _unchecked(place.folder / "config.json")
            size = f"{config['weights']['bytes'] / 2**20:.1f} MiB"
            facts = f"{config['method']}, {config['task']}, {config['weights']['parameters']:,} parameters, {size}"
        except (OSError, ValueError, KeyError, TypeError, ArithmeticError):
            facts = "its config.json cannot be read: 'vision-suite hub verify' tells why"
        print(printable(f"{name} ({where}): {facts}"[:200]))
    return DONE


def _unchecked(path: Path) -> Any:
    """Value of a JSON file that nothing vouches for.

    Raises:
        ValueError: It is no regular file, too large or no JSON.
    """
    from vision_suite.hub.text import MIB, read_json

    if not path.is_file():
        raise ValueError("it is no regular file")
    with open(path, "rb") as file:
        return read_json(file.read(MIB))


def _show(given: argparse.Namespace) -> int:
    from vision_suite.hub.loading import open_entry

    opened = open_entry(given.name, allow_unsigned=given.allow_unsigned)
    _tell(opened.notes)
    text = json.dumps(opened.config, indent=2, sort_keys=True, ensure_ascii=False)
    # JSON in which a terminal shows every character.
    print("".join(each if each.isprintable() or each == "\n" else json.dumps(each)[1:-1] for each in text))
    return DONE


def _push(given: argparse.Namespace) -> int:
    from vision_suite.cli.hub.figures import figures_of, read_figures
    from vision_suite.cli.hub.push import Push, push
    from vision_suite.hub.index import read_index
    from vision_suite.hub.writing import is_shipped

    hub = places.chosen_hub(given.hub)
    metrics = figures_of(given.tests, given.figures) + ([] if given.metrics is None else read_figures(given.metrics))
    asked = Push(
        name=given.name, license=given.license, attribution=[_attribution(text) for text in given.attribution],
        metrics=metrics, merge_lora=given.merge_lora, with_base=given.with_base, replace=given.replace,
        model=given.model, license_file=given.license_file,
    )  # fmt: skip
    folder = push(given.checkpoint, hub, asked, given.key)
    if is_shipped(hub):
        print(f"{given.name}: {folder}, pinned to {places.pin_of(given.name)}")
        return DONE
    index = read_index(hub)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{given.name}: {folder} ({size:,} bytes), serial {index['serial']} of the hub's index")
    print(f"  sums {index['entries'][given.name]['sums_sha256']}")
    return DONE


def _attribution(text: str) -> dict[str, str]:
    """One attribution of its parts.

    Raises:
        ConfigError: It does not say what, and by whom.
    """
    parts = [part.strip() for part in text.split(";")]
    if len(parts) > len(ATTRIBUTION) or len(parts) < 2 or not all(parts[:2]):
        raise ConfigError(f"--attribution {text!r}: give 'WHAT; BY', and then LICENCE and SOURCE")
    return dict(zip(ATTRIBUTION, [*parts, *[""] * (len(ATTRIBUTION) - len(parts))], strict=True))


def _pull(given: argparse.Namespace) -> int:
    """Copy the bytes that were checked."""
    from vision_suite.cli.hub.copies import pull

    hub = places.chosen_hub(given.hub)
    folder, notes = pull(given.name, hub, allow_unsigned=given.allow_unsigned, replace=given.replace)
    _tell(notes)
    print(f"{folder.name}: {folder}")
    return DONE


def _verify(given: argparse.Namespace) -> int:
    """Every fault of every entry."""
    from vision_suite.hub.verification import verify

    names = given.names or places.all_names()
    if not names:
        print(f"no entries in {places.hub_folder() or 'a hub'} and in the package")
    status = DONE
    for name in names:
        found = verify(name, run=given.run, allow_unsigned=given.allow_unsigned)
        _tell(found.notes)
        for fault in found.faults:
            print(printable(f"fault: {name}: {fault}"))
        many = f"{len(found.faults)} fault{'s' * (len(found.faults) > 1)}"
        print(printable(f"{name}: {many if found.faults else found.words}"))
        status = CHECK_FAILED if found.faults else status
    return status


def _card(given: argparse.Namespace) -> int:
    from vision_suite.hub.card import card
    from vision_suite.hub.loading import open_entry

    opened = open_entry(given.name, allow_unsigned=given.allow_unsigned)
    _tell(opened.notes)
    print(card(opened.config), end="")
    return DONE


def _keygen(given: argparse.Namespace) -> int:
    from vision_suite.hub.signature import file_of_keys, make_key

    line = make_key(given.file)
    print(f"private key: {given.file} (keep it to yourself, and out of the hub)")
    print(f"whoever trusts it adds this line to {file_of_keys()}:")
    print(line)
    return DONE


def _index(given: argparse.Namespace) -> int:
    from vision_suite.hub.writing import is_shipped, write_index, write_pins

    hub = places.chosen_hub(given.hub)
    if is_shipped(hub):
        print(f"{hub}: {len(write_pins())} entries pinned in {places.PINS}")
        return DONE
    index: dict[str, Any] = write_index(hub, name=given.name, key=given.key)
    signed = "signed" if given.key is not None else "not signed"
    print(f"{hub}: {len(index['entries'])} entries, serial {index['serial']}, {signed}")
    return DONE


def _tell(notes: Sequence[str]) -> None:
    import sys

    for line in notes:
        print(printable(f"warning: {line}"), file=sys.stderr)
