"""Mutated flags and configuration files through the command line: each is taken rightly, or refused in one line.

A case is a function of its number alone. ``--print_config`` shows what was understood, so a command that ends with 0 is
compared with what its mutation must give; training for a step is left to the kinds whose mistake the parser cannot see.
"""

import dataclasses
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import forked
import pytest
import yaml
from command import write_toy

CASES = 150
SAMPLE = 16  # of them in every test run, one of each kind
SEED = 20261129
MEMORY = 3 * 2**30


@dataclasses.dataclass(frozen=True)
class Case:
    """A command line, files beside it, and the ends that are right.

    Attributes:
        flags: Flags after ``-c toy.yaml``.
        files: Contents by name.
        ends: Right ends, of `forked.Ended.end`.
        prints: Key and value that ``--print_config`` must show where the command is taken.
    """

    flags: tuple[str, ...] = ()
    files: dict[str, bytes] = dataclasses.field(default_factory=dict)
    ends: tuple[str, ...] = ("refused",)
    prints: tuple[str, object] | None = None


NUMBERS = ["trainer.max_epochs", "trainer.log_every_n_steps", "trainer.accumulate_grad_batches", "data.batch_size",
           "data.eval_batch_size", "data.num_workers", "data.seed", "model.width", "seed_everything",
           "trainer.check_val_every_n_epoch", "trainer.devices", "trainer.limit_val_batches"]  # fmt: skip
TEXTS = ["data.root", "data.dataset", "model.readout", "model.optim.name", "trainer.accelerator", "trainer.precision"]
KEYS = [*NUMBERS, *TEXTS, "model.optim.lr", "data.augment.hflip", "data.image_size"]


def misspelt(rng):
    key = rng.choice(KEYS)
    at = rng.randrange(key.rfind(".") + 1, len(key))
    wrong = key[:at] + rng.choice("qxzj") + key[at + 1 :]
    return Case((f"--{wrong}=1",)) if rng.random() < 0.6 else _in_file(wrong, 1)


def wrong_type(rng):
    number = rng.random() < 0.7
    key = rng.choice(NUMBERS if number else ["model.optim.lr", "data.image_size", "model.optim.betas"])
    value = rng.choice(["many", "{a: 1}", "1.5.2", "[[1]]", "1e", "0x"])
    return Case((f"--{key}={value}",))


def none(rng):
    key = rng.choice(KEYS)
    written = rng.choice(["flag", "file", "nested"])
    if written == "flag":
        return Case((f"--{key}=None",))
    if written == "nested":
        return Case(("--model.optim={'name': 'adam', 'lr': None}",))
    return _in_file(key, "None")


def extreme(rng):
    key = rng.choice([key for key in NUMBERS if "limit" not in key])
    value = rng.choice([-1, -2, -(10**9), 10**12, 10**19, 10**30, -(2**63) - 1])
    most = {"trainer.max_epochs", "trainer.log_every_n_steps", "trainer.accumulate_grad_batches",
            "trainer.check_val_every_n_epoch"}  # fmt: skip
    harmless = value > 0 and (key in most or key == "data.eval_batch_size")
    harmless |= value == -1 and key == "trainer.max_epochs"
    ends = ("ok",) if harmless else ("refused",)
    if harmless:
        return Case((f"--{key}={value}", "--print_config"), ends=ends, prints=(key, value))
    return Case((f"--{key}={value}", "--trainer.fast_dev_run=true"), ends=ends)


def doubled(rng):
    lines = list(rng.choice([
        ("trainer:\n", "  max_epochs: 1\n", "  max_epochs: 2\n"),
        ("trainer: {max_epochs: 1}\n", "data: {}\n", "trainer: {max_steps: 2}\n"),
        ("trainer.max_epochs: 1\n", "trainer: {max_epochs: 2}\n"),
        ("model:\n", "  init_args:\n", "    optim: {lr: 1.0, lr: 2.0}\n"),
        ("data:\n", "  init_args:\n", "    augment:\n", "      hflip: 0.1\n", "      hflip: 0.2\n"),
    ]))  # fmt: skip
    lines.insert(0, "# " + "x" * rng.randrange(30) + "\n")
    return Case(("-c", "x.yaml"), {"x.yaml": "".join(lines).encode()})


def truncated(rng):
    text = _toy_text()
    cut = rng.randrange(1, len(text) - 1)
    return Case(("-c", "x.yaml", "--print_config"), {"x.yaml": text[:cut].encode()}, ("ok", "refused"))


def flipped(rng):
    raw = bytearray(_toy_text().encode())
    for _ in range(rng.choice([1, 1, 2, 5])):
        raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    return Case(("-c", "x.yaml", "--print_config"), {"x.yaml": bytes(raw)}, ("ok", "refused"))


def deep(rng):
    depth = rng.choice([80, 3000, 50_000])
    text = rng.choice([
        "a: " + "[" * depth, "a: " + "[" * depth + "]" * depth, "a: " + "{b: " * depth,
        "".join("  " * min(n, 300) + f"k{n}:\n" for n in range(min(depth, 500))), "- " * depth,
    ])  # fmt: skip
    return Case(("-c", "x.yaml"), {"x.yaml": text.encode()})


def bomb(rng):
    width, levels = rng.choice([(9, 9), (30, 6), (2, 40)])
    lines = [f"a0: &a0 [{', '.join(['x'] * width)}]"]
    for n in range(1, levels):
        lines.append(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]")
    text = "\n".join(lines)
    if rng.random() < 0.3:
        text = "a: &a {b: *a}\n"
    return Case(("-c", "x.yaml"), {"x.yaml": text.encode()})


def tagged(rng):
    tag = rng.choice(["!!python/object/apply:os.system [touch was-run]", "!!python/name:os.system", "!mine x",
                      "!!python/module:antigravity", "!!binary R0lGODlhDAAMAIQ=", "!!set {a, b}"])  # fmt: skip
    return Case(("-c", "x.yaml"), {"x.yaml": f"trainer:\n  max_epochs: {tag}\n".encode()})


def merged(rng):
    steps = rng.randrange(1, 9)
    text = f"common: &c {{max_epochs: 7, max_steps: {steps}}}\ntrainer:\n  <<: *c\n"
    if rng.random() < 0.5:  # a section of no name that the command has
        return Case(("-c", "x.yaml"), {"x.yaml": text.encode()})
    text = f"trainer:\n  <<: {{max_epochs: 7, max_steps: {steps}}}\n  max_epochs: 3\n"
    return Case(("-c", "x.yaml", "--print_config"), {"x.yaml": text.encode()}, ("ok",), ("trainer.max_steps", steps))


def wrong_class(rng):
    section = rng.choice(["model", "data", "trainer.logger", "trainer.callbacks+"])
    path = rng.choice(["torch.nn.Linear", "os.system", "no.such.Class", "LitNothing", "vision_suite.LitDCAL", "1",
                       "a b", "collections.OrderedDict", "..", "vision_suite.errors.ConfigError",
                       "model.yaml"])  # fmt: skip
    return Case((f"--{section}={path}",))


def swapped(rng):
    one, other = rng.sample(["model", "data", "trainer"], 2)
    config = yaml.safe_load(_toy_text())
    config[one], config[other] = config[other], config[one]
    return Case(("-c", "x.yaml"), {"x.yaml": yaml.safe_dump(config).encode()})


def bare(rng):
    key = rng.choice(KEYS)
    words = rng.choice([(f"{key}=3",), (key, "3"), (f"-{key}=3",), ("toy.yaml",), ("--",), (f"--{key}",)])
    return Case(words)


def circle(rng):
    names = [f"{letter}.yaml" for letter in "abcd"[: rng.randrange(1, 5)]]
    follow = [*names[1:], names[0]]
    section = rng.choice(["model", "data", "trainer"])
    files = {name: f"class_path: {after}\n".encode() for name, after in zip(names, follow, strict=True)}
    files = {name: f"{section}: {after}\n".encode() for name, after in zip(names, follow, strict=True)}
    return Case(("-c", names[0]), files)


def right(rng):
    """Values that look odd and are right."""
    key, value, shown = rng.choice([
        ("trainer.max_epochs", "3", 3), ("model.optim.lr", "1e-3", 0.001), ("data.seed", "null", None),
        ("data.image_size", "[64, 32]", [64, 32]), ("data.root", "a.yaml", "a.yaml"),
        ("data.root", "my.json", "my.json"), ("trainer.max_time", "~", None),
        ("model.optim.betas", "[0.5, 0.6]", [0.5, 0.6]),
    ])  # fmt: skip
    files = {"my.json": b'{"a": 1, "a": 2}', "a.yaml": b"[\n"}
    return Case((f"--{key}={value}", "--print_config"), files, ("ok",), (key, shown))


KINDS: list[Callable[[random.Random], Case]] = [
    misspelt, wrong_type, none, extreme, doubled, truncated, flipped, deep, bomb, tagged, merged, wrong_class, swapped,
    bare, circle, right,
]  # fmt: skip


def _in_file(key, value):
    section, *rest = key.split(".")
    inner = value
    for part in reversed(rest):
        inner = {part: inner}
    inner = {"init_args": inner} if section in ("model", "data") else inner
    text = yaml.safe_dump({section: inner}).replace("'None'", "None")
    return Case(("-c", "x.yaml"), {"x.yaml": text.encode()})


def _toy_text():
    return Path(__file__).with_name("mutated_toy.yaml").read_text()


def case(number):
    """The case of a number, with its kind."""
    kind = KINDS[number % len(KINDS)]
    return kind.__name__, kind(random.Random(SEED * 1000 + number))


def judge(number, folder):
    """Run a case; its kind, and what is wrong with its end, or nothing."""
    name, made = case(number)
    for file, contents in made.files.items():
        (folder / file).write_bytes(contents)
    ended = forked.run(["fit", "-c", "toy.yaml", *made.flags], folder, memory=MEMORY)
    for file in made.files:
        (folder / file).unlink()
    wrong = "" if ended.end in made.ends else f"must be {' or '.join(made.ends)}"
    if (folder / "was-run").exists():
        wrong = "a file ran code"
    if not wrong and ended.end == "refused" and any("fault of the program" in line for line in ended.errors):
        wrong = "a fault"
    if not wrong and made.prints is not None:
        value = yaml.safe_load(ended.out)
        for part in made.prints[0].split("."):
            value = value["init_args"][part] if part in value.get("init_args", ()) else value[part]
        wrong = "" if value == made.prints[1] else f"{made.prints[0]} is {value!r}, not {made.prints[1]!r}"
    if not wrong and ended.end == "ok" and name in ("truncated", "flipped"):
        lost = lost_settings(made.files["x.yaml"], yaml.safe_load(ended.out))
        wrong = f"taken, but without {lost}" if lost else ""
    return name, ended, wrong and f"case {number} ({name}): {wrong}\n{ended}"


def lost_settings(raw, printed):
    """Settings of a configuration file that the printed configuration does not show, by PyYAML's own reading."""

    def below(given, found, path):
        if isinstance(given, dict):
            inner = found if isinstance(found, dict) else {}
            return [each for key, value in given.items() for each in below(value, inner.get(key, ...), [*path, key])]
        if path[-1:] == ["class_path"]:  # modules move between versions, and class names stay
            given = str(given).rpartition(".")[2]
        return [] if given in (found, None) or str(given) in str(found) else [".".join(map(str, path))]

    return below(yaml.safe_load(raw), printed, [])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("mutated")
    write_toy(made, train_ids=4, max_epochs=1)
    return made


def check(numbers, folder):
    """Run cases and print the counts of their ends by kind."""
    counts, faults = Counter(), []
    for number in numbers:
        name, ended, wrong = judge(number, folder)
        counts[name, ended.end] += 1
        if wrong:
            faults.append(wrong)
    total = Counter()
    for (_, end), count in counts.items():
        total[end] += count
    print(f"{sum(total.values())} cases: {dict(total)}, {len(faults)} faults")
    for (name, end), count in sorted(counts.items()):
        print(f"  {name}: {count} {end}")
    assert not faults, "\n\n".join(faults)


def test_a_sample_of_mutated_settings(folder):
    check(range(SAMPLE), folder)


@pytest.mark.long
def test_all_mutated_settings(folder):
    check(range(CASES), folder)
