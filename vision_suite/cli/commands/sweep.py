"""``vision-suite sweep``: hyper-parameter searches on the files of ``wandb sweep``, without a server."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from vision_suite.cli.configs import configs_folder
from vision_suite.cli.light_parser import LightParser, count
from vision_suite.errors import ConfigError
from vision_suite.faults import DONE
from vision_suite.sweeps.command import check_program, expand, trainer_options
from vision_suite.sweeps.events import LOG, TrialEvents
from vision_suite.sweeps.folder import STORED, folder_of, known_folder, locked, store_file
from vision_suite.sweeps.launch import slots
from vision_suite.sweeps.remarks import remarks
from vision_suite.sweeps.report import write_report
from vision_suite.sweeps.runner import SweepRunner
from vision_suite.sweeps.settings import SweepFile, read_sweep

RUNS = "runs"


class SweepOptions(TypedDict):
    """Options of a sweep that its events keep, or that one start has."""

    seed: int
    count: int | None
    retries: int


def main(argv: Sequence[str]) -> int:
    """Run one of the actions; its status."""
    arguments = _parser().parse_args(argv)
    arguments.file = _file(arguments.file)
    if arguments.action == "check":
        return _check(arguments)
    if arguments.action == "report":
        return _report(arguments)
    return _run(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = LightParser(prog="vision-suite sweep", description="Hyper-parameter searches without a server.")
    actions = parser.add_subparsers(dest="action", required=True, metavar="check|run|resume|report")
    check = actions.add_parser("check", help="look for every mistake that can be found before a trial starts")
    check.add_argument("--probe", action="store_true", help="train one batch, to see whether the metric is logged")
    run = actions.add_parser("run", help="check, then run the trials; one process each, offline")
    resume = actions.add_parser("resume", help="go on with a sweep that was ended or killed")
    report = actions.add_parser("report", help="table and picture of the trials so far")
    for each in (check, run, resume, report):
        each.add_argument(
            "file", type=Path, help="YAML file of the sweep" + (", or folder" if each in (resume, report) else "")
        )
    for each in (run, resume, report):
        each.add_argument("--runs", type=Path, default=Path(RUNS), help="folder of all runs (default: runs)")
    for each in (run, resume):
        each.add_argument("--count", type=count, help="most trials, over all starts (default: run_cap of the file)")
        each.add_argument("--slots", type=count, help="trials at once, each with its share of the cores (default: 1)")
        each.add_argument("--devices", help="GPUs to share out, such as 0,1,2,3")
        each.add_argument("--per-trial", type=count, default=1, help="GPUs of one trial (default: 1)")
        each.add_argument("--retries", type=int, help="times that a failed trial is repeated (default: 0)")
        each.add_argument("--seed", type=int, help="seed of the proposals (default: 1)")
        each.add_argument("--ray", metavar="ADDRESS", help="run the trials on Ray: 'local', 'auto' or an address")
    return parser


def _file(given: Path) -> Path:
    """The file or folder that is meant: a path, or the name of a packaged sweep such as ``sweeps/oat``."""
    if given.exists():
        return given
    packaged = configs_folder() / f"{str(given).removesuffix('.yaml').removeprefix('configs/')}.yaml"
    return packaged if packaged.is_file() else given


def _check(arguments: argparse.Namespace) -> int:
    """Check a file, print what may surprise, and what the sweep is."""
    sweep = read_sweep(arguments.file)
    check_program(sweep.command, sweep.program)
    if _trains(sweep):
        from vision_suite.cli.trainer.sweep_values import check_values

        check_values(sweep)
    for line in remarks(sweep, arguments.file):
        print(f"note: {line}")
    if arguments.probe:
        from vision_suite.sweeps.probe import probe

        print(f"a trial logs {', '.join(probe(sweep))}")
    points = f", {len(sweep.grid())} points" if sweep.method == "grid" else ""
    print(f"{arguments.file}: {sweep.method} over {len(sweep.parameters)} parameters{points}: nothing is wrong")
    return DONE


def _trains(sweep: SweepFile) -> bool:
    """True if the command is ``vision-suite fit``, whose names and values are known."""
    return trainer_options(expand(sweep.command, {}, program=sweep.program)) is not None


def _run(arguments: argparse.Namespace) -> int:
    """Start a sweep, or go on with one."""
    resumes = arguments.action == "resume"
    if arguments.retries is not None and arguments.retries < 0:
        raise ConfigError(f"--retries={arguments.retries}: give a number of at least 0")
    if resumes:
        folder = known_folder(arguments.file, arguments.runs)
        sweep = read_sweep(folder / STORED)
        check_program(sweep.command, sweep.program)
    else:
        sweep = read_sweep(arguments.file)
        check_program(sweep.command, sweep.program)
        if _trains(sweep):  # in a process of its own: this one stays small
            command = [sys.executable, "-m", "vision_suite", "sweep", "check", str(arguments.file)]
            if status := subprocess.run(command, check=False).returncode:
                return status
        folder = folder_of(sweep, arguments.runs)
    with locked(folder):
        if not resumes:
            store_file(folder, arguments.file)
        events = TrialEvents(folder / LOG)
        if events.dropped:
            print(f"{events.path}: {events.dropped} bytes of a torn last line are dropped", file=sys.stderr)
        settings = _settings(arguments, sweep, events)
        if arguments.ray is not None:
            from vision_suite.sweeps.cluster import run_on_ray

            gpus = 0 if arguments.devices is None else arguments.per_trial
            run_on_ray(sweep, folder, events, arguments.ray, workers=arguments.slots, gpus=gpus, **settings, say=_say)
        else:
            shares = slots(arguments.slots or 1, _devices(arguments), arguments.per_trial)
            SweepRunner(sweep, folder, events, shares, **settings, say=_say).run()
        print(write_report(sweep, events, folder))
    return DONE


def _settings(arguments: argparse.Namespace, sweep: SweepFile, events: TrialEvents) -> SweepOptions:
    """Seed, number of trials and retries: those of this command, else those that the sweep was started with."""
    known = events.settings
    seed = arguments.seed if arguments.seed is not None else known.get("seed", 1)
    if seed != known.get("seed", seed) and events.trials:
        raise ConfigError(f"--seed={seed}, but the sweep was started with {known['seed']}: leave it out")
    most = arguments.count if arguments.count is not None else known.get("count")
    if sweep.method != "grid" and most is None and sweep.run_cap is None:
        raise ConfigError(f"method: {sweep.method} has no end: give --count, or run_cap in the file")
    retries = arguments.retries if arguments.retries is not None else known.get("retries", 0)
    events.add("sweep", seed=seed, count=most, retries=retries)
    return {"seed": seed, "count": most, "retries": retries}


def _devices(arguments: argparse.Namespace) -> list[str]:
    """The devices to share out."""
    if arguments.devices is None:
        return []
    if arguments.slots is not None:
        raise ConfigError("--devices and --slots: give one of them")
    devices = [word.strip() for word in arguments.devices.split(",") if word.strip()]
    if len(devices) < arguments.per_trial:
        raise ConfigError(f"--devices={arguments.devices} are fewer than --per-trial={arguments.per_trial}")
    if len(set(devices)) < len(devices):
        raise ConfigError(f"--devices={arguments.devices}: a device is named twice")
    if idle := devices[len(devices) - len(devices) % arguments.per_trial :]:
        print(f"note: a trial takes {arguments.per_trial} devices, so {', '.join(idle)} stays idle", file=sys.stderr)
    return devices


def _report(arguments: argparse.Namespace) -> int:
    """Write the table and the picture of a sweep, whatever its state."""
    folder = known_folder(arguments.file, arguments.runs)
    sweep = read_sweep(folder / STORED)
    print(write_report(sweep, TrialEvents(folder / LOG, read_only=True), folder))
    return DONE


def _say(line: str) -> None:
    print(line, flush=True)
