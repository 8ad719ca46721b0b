"""Validation, grid, draws and stopping against W&B's published engine on random files.

It pins an old NumPy, so it is no dependency: it lies in a folder of its own, which git ignores.
"""

import random
import sys

import pytest
from folders import ROOT

from vision_suite.errors import ConfigError
from vision_suite.sweeps.hyperband import to_stop
from vision_suite.sweeps.parameters import read_parameters
from vision_suite.sweeps.settings import parse_sweep

FILES = 500
MOST = 10_000  # points of a grid
FOLDER = ROOT / ".sweeps-ref"
MEND = "pip install --no-deps --target .sweeps-ref sweeps==0.3.0 jsonref==1.1.0"


@pytest.fixture(scope="module")
def engine():
    """The package; absent, the tests skip with the command that brings it."""
    sys.path.append(str(FOLDER))
    try:
        return pytest.importorskip("sweeps", reason=MEND)
    finally:
        sys.path.remove(str(FOLDER))


def pick(draw, *choices):
    return draw.choice(choices)


def random_parameter(draw):
    """One parameter, right or wrong."""
    low = pick(draw, 0, 1, -2, 0.5, 1e-3, 3)
    high = pick(draw, 1, 4, 0.25, 10.0, 7)
    values = draw.sample([1, 2.5, "a", True, None, 1.0, [1, 2], {"k": 1}], draw.randint(0, 4))
    shares = pick(draw, [0.5, 0.5], [0.2, 0.3, 0.5], [1.0], [0.4, 0.4])
    kind = draw.randrange(9)
    if kind == 0:
        return {"values": values} | pick(draw, {}, {}, {"distribution": "categorical"})
    if kind == 1:
        return {"values": values, "probabilities": shares}
    if kind == 2:
        return {"value": pick(draw, 1, "a", None)} | pick(draw, {}, {"distribution": "constant"}, {"min": 1})
    if kind == 3:
        return {"min": low, "max": high} | pick(draw, {}, {"distribution": pick(draw, "uniform", "int_uniform")})
    if kind == 4:
        word = pick(draw, "q_uniform", "log_uniform_values", "q_log_uniform_values", "inv_log_uniform_values")
        return {"distribution": word, "min": low, "max": high} | pick(draw, {}, {"q": pick(draw, 1, 0.5, 0, -1)})
    if kind == 5:
        word = pick(draw, "normal", "log_normal", "q_normal", "q_log_normal")
        return {"distribution": word} | pick(draw, {}, {"mu": 1}, {"sigma": pick(draw, 2, -1)}, {"q": 2}, {"a": 1})
    if kind == 6:
        return {"distribution": pick(draw, "beta", "q_beta")} | pick(draw, {}, {"a": 2, "b": 5}, {"a": -1}, {"q": 0.1})
    if kind == 7:
        word = pick(draw, "log_uniform", "inv_log_uniform", "q_log_uniform", "unifrom")
        return {"distribution": word, "min": low, "max": high}
    return pick(draw, {"min": low}, {}, {"vals": [1]}, {"min": "1", "max": 2}, {"parameters": {"n": {"value": 1}}})


def random_file(draw):
    """A file of a sweep, right or wrong in one place or another."""
    names = draw.sample(["a", "b", "c.d", "e_f", "g-h"], draw.randint(1, 2))
    file = {
        "method": draw.choices(["random", "grid", "bayes", "gird"], [8, 4, 2, 1])[0],
        "program": "train.py",
        "parameters": {name: random_parameter(draw) for name in names},
        "metric": {"name": "loss"} | draw.choice([{}] * 8 + [{"goal": "maximize"}, {"target": 0.1}, {"goal": "max"}]),
    }
    if draw.random() < 0.2:
        band = pick(draw, {"min_iter": pick(draw, 1, 3, 0)}, {"max_iter": 27, "s": 2}, {"max_iter": 27}, {})
        file["early_terminate"] = {"type": pick(draw, "hyperband", "hyperband", "median")} | band
        file["early_terminate"] |= pick(draw, {}, {"eta": pick(draw, 2, 1.5, 1)}, {"strict": False}, {"typ": 1})
    if draw.random() < 0.2:
        file["run_cap"] = pick(draw, 5, 20, 0, "5", 5.0)
    if draw.random() < 0.1:
        file[pick(draw, "name", "project", "description", "nmae")] = pick(draw, "x", 3)
    return file


def files():
    draw = random.Random(0)
    return [random_file(draw) for _ in range(FILES)]


def violations(engine, file):
    """Texts of the engine; it raises an error of its own for some malformed parameters."""
    from jsonschema import ValidationError
    from sweeps.config import schema_violations_from_proposed_config

    try:
        return schema_violations_from_proposed_config(file)
    except (ValueError, ValidationError) as error:
        return [str(error)]


def differs_by_decision(file):
    """Files that the engine's schema lets pass and that its search then refuses: the suite refuses them at once."""
    if file["method"] == "bayes":
        return all(set(given) & {"value", "parameters"} for given in file["parameters"].values())
    if file["method"] != "grid":
        return False
    words = [given.get("distribution") for given in file["parameters"].values()]
    known = ("categorical", "constant", "int_uniform", "q_uniform")
    continuous = any(word is not None and word not in known for word in words)
    bare = any(
        {"min", "max"} == set(given) and not all(type(value) is int for value in given.values())
        for given in file["parameters"].values()
    )
    return continuous or bare or any("probabilities" in given for given in file["parameters"].values())


def test_validation_agrees(engine):
    accepted = differing = 0
    for file in files():
        theirs = violations(engine, file)
        try:
            parse_sweep(file)
            ours = None
        except ConfigError as error:
            ours = str(error)
        if not theirs and ours is not None and differs_by_decision(file):
            differing += 1
            continue
        assert (ours is None) == (not theirs), f"{file}\nours: {ours}\ntheirs: {theirs}"
        accepted += ours is None
    assert accepted > FILES // 10, "most random files are wrong"
    assert differing > 0


def test_draws_agree(engine):
    from sweeps.params import HyperParameter

    draw, compared = random.Random(1), 0
    for _ in range(FILES):
        given = random_parameter(draw)
        try:
            (parameter,) = read_parameters({"x": given})
        except ConfigError:
            continue
        if "parameters" in given:
            continue
        theirs = HyperParameter("x", given)
        for x in (draw.random(), 0.1, 0.5, 0.9):
            expected = theirs.ppf(x)
            expected = expected.item() if hasattr(expected, "item") else expected
            found = parameter.at(x)
            if isinstance(found, float | int) and not isinstance(found, bool):
                assert found == pytest.approx(expected, rel=1e-9, abs=1e-12), (given, x)
            else:
                assert found == expected, (given, x)
            compared += 1
    assert compared > FILES


def random_grid(draw):
    def values():
        return draw.sample([1, 2, 2.0, 0.5, "a", "b", True, None], draw.randint(1, 3))

    def parameter():
        return pick(
            draw,
            {"values": values()},
            {"value": 3},
            {"min": 0, "max": draw.randint(1, 3)},
            {"distribution": "q_uniform", "min": 0, "max": draw.randint(2, 9), "q": 3},
        )

    names = draw.sample(["b", "a", "B", "_c", "d.e"], draw.randint(1, 3))
    found = {name: parameter() for name in names}
    if draw.random() < 0.3:
        found["z"] = {"parameters": {name: parameter() for name in draw.sample(["q", "p"], 2)}}
    return {"method": "grid", "program": "a.py", "parameters": found}


def test_grids_agree(engine):
    draw = random.Random(2)
    for _ in range(FILES):
        file = random_grid(draw)
        runs = [run for run in engine.next_runs(file, [], n=MOST) if run is not None]
        theirs = [{name: entry["value"] for name, entry in run.config.items()} for run in runs]
        sweep = parse_sweep(file)
        assert [sweep.key(point) for point in sweep.grid()] == [sweep.key(point) for point in theirs], file


def test_stopping_agrees(engine):
    draw = random.Random(3)
    for _ in range(FILES):
        band = pick(draw, {"min_iter": draw.randint(1, 4)}, {"max_iter": draw.randint(3, 30), "s": draw.randint(1, 3)})
        early = {"type": "hyperband", "eta": pick(draw, 1.5, 2, 3), "strict": draw.random() < 0.5, **band}
        metric = {"name": "v", "goal": pick(draw, "minimize", "maximize")}
        file = {"method": "random", "program": "a", "metric": metric, "parameters": {"a": {"value": 1}}}
        file["early_terminate"] = early
        states = [pick(draw, "running", "running", "finished") for _ in range(draw.randint(1, 8))]
        histories = [[round(draw.random(), 1) for _ in range(draw.randint(0, 12))] for _ in states]
        try:
            sweep = parse_sweep(file)
        except ConfigError:
            continue  # no band
        runs = [
            engine.SweepRun(name=str(number), state=state, history=[{"v": value} for value in history])
            for number, (state, history) in enumerate(zip(states, histories, strict=True))
        ]
        theirs = sorted(int(run.name) for run in engine.stop_runs(file, runs))
        less = [[sweep.metric.sign * value for value in history] for history in histories]
        running = {number: less[number] for number, state in enumerate(states) if state == "running" and less[number]}
        others = [less[number] for number, state in enumerate(states) if state != "running" and less[number]]
        assert sorted(to_stop(sweep.early, running, others)) == theirs, (file, histories)
