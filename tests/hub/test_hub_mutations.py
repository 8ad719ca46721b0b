"""Mutated files of entries, their sums right: each is loaded rightly, or refused in one line."""

import json
import random
import shutil

import pytest
from hub_tiny import local, reweighted, tampered
from mutations import BYTES, json_mutations

from vision_suite import hub as checkpoint_hub
from vision_suite.cli.trainer.hub_entry import contents_of
from vision_suite.errors import SuiteError
from vision_suite.hub.loading import open_entry
from vision_suite.hub.verification import verify

CASES = {
    "config.json": 60,
    "evaluation.json": 30,
    "sample/expected.json": 20,
    "SHA256SUMS": 15,
    "model.safetensors": 25,
}
LONG = 20  # times as many
SEED = 20261130


def mutated(name, contents, number):
    """A mutation of a file, by its number alone."""
    draw = random.Random(f"{SEED}/{name}/{number}")
    makers = [lambda change=change: change(contents, draw) for change in BYTES]
    if name.endswith(".json") and number % 4:
        makers = [lambda make=make: make().contents for make in json_mutations(contents, draw)]
        number -= number // 4 + 1
    return makers[number % len(makers)]()


def put(folder, name, contents):
    """Put a file into an entry, and make right what tells its checksum."""
    if name == "SHA256SUMS":
        (folder / name).write_bytes(contents)
    elif name == "model.safetensors":
        reweighted(folder, contents)
    else:
        tampered(folder, **{name: contents})


def judge(folder, name):
    """True if an entry is taken without a word; whatever is raised but errors of the suite is a fault."""
    verified = verify(local(folder), run=True)
    assert all(fault.isprintable() for fault in verified.faults), verified.faults
    line = ""
    try:
        opened = open_entry(local(folder))
        checkpoint_hub.load(local(folder))
        if name == "evaluation.json":
            contents_of(opened)
    except SuiteError as error:
        line = str(error)
    assert line.isprintable()
    assert len(line) < 2000
    assert verified.faults or not line or name == "evaluation.json", f"verify is content, and loading says: {line}"
    return not line and not verified.faults


def check(made, folder, times):
    ends = dict.fromkeys(CASES, 0)
    for name, count in CASES.items():
        contents = (made[0] / folder.name / name).read_bytes()
        for number in range(count * times):
            shutil.rmtree(folder)
            shutil.copytree(made[0] / folder.name, folder)
            put(folder, name, mutated(name, contents, number))
            try:
                ends[name] += judge(folder, name)
            except Exception as error:
                raise AssertionError(f"{name}, case {number}: {type(error).__name__}: {error}") from error
    print(json.dumps(ends))
    assert all(ends[name] < CASES[name] * times for name in CASES)


def test_mutated_entries(made, folder):
    check(made, folder, 1)


@pytest.mark.long
def test_many_mutated_entries(made, folder):
    check(made, folder, LONG)
