"""A sweep's file: keys, the order of a grid, and mistakes in one line with the nearest name."""

import pytest
import yaml

from vision_suite.errors import ConfigError
from vision_suite.sweeps.events import TrialEvents
from vision_suite.sweeps.folder import differing
from vision_suite.sweeps.propose import propose
from vision_suite.sweeps.remarks import remarks
from vision_suite.sweeps.settings import folder_name, parse_sweep, read_sweep

GOOD = {
    "program": "vision-suite",
    "method": "bayes",
    "metric": {"name": "val/mAP", "goal": "maximize"},
    "early_terminate": {"type": "hyperband", "min_iter": 3},
    "run_cap": 20,
    "parameters": {
        "model.optim.lr": {"distribution": "log_uniform_values", "min": 1.0e-5, "max": 1.0e-2},
        "model.rollout_ratio": {"values": [0.1, 0.3]},
    },
    "command": ["${env}", "vision-suite", "fit", "--config", "dcal/market1501_deit_s", "${args}"],
}


def changed(**entries):
    return {name: value for name, value in {**GOOD, **entries}.items() if value is not ...}


def test_a_sweep_is_read():
    sweep = parse_sweep(GOOD, "file")
    assert (sweep.name, sweep.method, sweep.run_cap) == ("file", "bayes", 20)
    assert sweep.metric.goal == "maximize"
    assert sweep.metric.impute == "worst"
    assert sweep.early.eta == 3
    assert sweep.early.strict is True
    assert [each.name for each in sweep.parameters] == ["model.optim.lr", "model.rollout_ratio"]


def test_the_metric_is_minimised_by_default():
    assert parse_sweep(changed(metric={"name": "loss"})).metric.goal == "minimize"


@pytest.mark.parametrize(("entries", "message"), [
    ({"metod": "grid"}, "unknown key 'metod': did you mean 'method'"),
    ({"method": "baye"}, "did you mean 'bayes'"),
    ({"method": ...}, "method is missing"),
    ({"method": "custom"}, "scheduler of W&B's server"),
    ({"metrics": [{"name": "a"}, {"name": "b"}]}, "W&B's server only"),
    ({"scheduler": {"engine": "optuna"}}, "W&B's server only"),
    ({"job": "a/b"}, "W&B's server only"),
    ({"image_uri": "a"}, "W&B's server only"),
    ({"controller": {"type": "local"}}, "W&B's server only"),
    ({"run_cap": "20"}, "run_cap='20': expected a whole number"),
    ({"run_cap": 0}, "at least 1"),
    ({"run_cap": 10**400}, "expected a whole number"),
    ({"run_cap": 2.5}, "expected a whole number"),
    ({"metric": "loss"}, "give 'name'"),
    ({"metric": {"name": "a", "gaol": "maximize"}}, "did you mean 'goal'"),
    ({"metric": {"name": "a", "goal": "max"}}, "metric.goal='max' is not known"),
    ({"metric": {"name": "a", "target": "1"}}, "expected a number"),
    ({"metric": {"name": "a", "impute": "mean"}}, "metric.impute='mean'"),
    ({"metric": ...}, "needs metric"),
    ({"early_terminate": {"type": "median"}}, "only type is hyperband"),
    ({"early_terminate": {"type": "hyperband"}}, "give min_iter, or max_iter and s"),
    ({"early_terminate": {"type": "hyperband", "max_iter": 9}}, "give min_iter, or max_iter and s"),
    ({"early_terminate": {"type": "hyperband", "min_iter": 0}}, "at least 1"),
    ({"early_terminate": {"type": "hyperband", "min_iter": 1, "eta": 1}}, "above 1"),
    ({"early_terminate": {"type": "hyperband", "min_iter": 1, "strcit": True}}, "did you mean 'strict'"),
    ({"early_terminate": {"type": "hyperband", "max_iter": 2, "s": 2}}, "give no band"),
    ({"parameters": {}}, "at least one parameter"),
    ({"parameters": ...}, "parameters is missing"),
    ({"parameters": {"a": 3}}, "write 'value: 3' below it"),
    ({"parameters": {"a": {"value": 1}}}, "more than one value"),
    ({"command": "fit"}, "give a list of words"),
    ({"command": ["vision-suite", "fit", "${arg}"]}, "unknown macro '${arg}': did you mean 'args'"),
    ({"command": ["vision-suite", "fit", "--x=${args}"]}, "a macro is a word of its own"),
    ({"command": ["a", "${envvar:lower}"]}, "capitals"),
    ({"program": ..., "command": ...}, "no program is given"),
    ({"command": ["${env}", "python", "train.py"]}, "add '${args}'"),
    ({"command": ["python", "train.py", "args", "${envvar:HOME}"]}, "add '${args}'"),
    ({"program": 3}, "expected a text"),
    ({"kind": "job"}, "the only kind is sweep"),
])  # fmt: skip
def test_mistakes_are_told_in_one_line(entries, message):
    with pytest.raises(ConfigError) as caught:
        parse_sweep(changed(**entries))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_that_is_given_twice():
    nested = {"a.b": {"values": [1]}, "a": {"parameters": {"b": {"values": [2]}}}}
    with pytest.raises(ConfigError, match=r"a\.b: given twice"):
        parse_sweep(changed(parameters=nested))


def test_a_key_that_is_given_twice_names_the_file(tmp_path):
    file = tmp_path / "twice.yaml"
    file.write_text("method: grid\nmethod: random\nparameters: {a: {value: 1}}\n")
    with pytest.raises(ConfigError, match="method") as caught:
        read_sweep(file)
    assert str(caught.value).count(str(file)) == 1


def test_the_file_is_named_once(tmp_path):
    file = tmp_path / "wrong.yaml"
    file.write_text("method: gird\nparameters: {a: {value: 1}}\n")
    with pytest.raises(ConfigError, match="did you mean 'grid'") as caught:
        read_sweep(file)
    assert str(caught.value).startswith(f"{file}: ")
    with pytest.raises(ConfigError, match="no such file"):
        read_sweep(tmp_path / "none.yaml")


def grid(**parameters):
    return parse_sweep({"method": "grid", "program": "a.py", "parameters": parameters}).grid()


def test_a_grid_sorts_its_names_and_the_last_varies_fastest():
    found = grid(b={"values": [1, 2]}, a={"values": ["x", "y"]})
    assert [(point["a"], point["b"]) for point in found] == [("x", 1), ("x", 2), ("y", 1), ("y", 2)]


def test_equal_points_of_a_grid_count_once():
    assert [point["a"] for point in grid(a={"values": [1, 1.0, True, "1"]})] == [1, True, "1"]


def test_nested_parameters_of_a_grid_are_one_mapping():
    found = grid(m={"parameters": {"b": {"values": [1, 2]}, "a": {"value": 3}}}, k={"value": 0})
    assert found == [{"k": 0, "m": {"a": 3, "b": 1}}, {"k": 0, "m": {"a": 3, "b": 2}}]


def test_a_grid_refuses_continuous_parameters_and_shares():
    with pytest.raises(ConfigError, match="not uniform"):
        grid(a={"min": 0.0, "max": 1.0})
    with pytest.raises(ConfigError, match="not categorical_w_probabilities"):
        grid(a={"values": [1, 2], "probabilities": [0.5, 0.5]})
    with pytest.raises(ConfigError, match="more than 1,000,000 points"):
        grid(a={"min": 0, "max": 10_000}, b={"min": 0, "max": 10_000})


@pytest.mark.parametrize("given", [
    {"min": 0, "max": 10**12}, {"distribution": "q_uniform", "min": 0, "max": 1, "q": 1e-9},
    {"min": -(10**299), "max": 10**299},
])  # fmt: skip
def test_a_grid_that_no_memory_holds_is_refused_at_once(given):
    with pytest.raises(ConfigError, match="more than 1,000,000 points"):
        grid(**{f"p{number}": given for number in range(20)})


def test_a_grid_is_listed_once(tmp_path, monkeypatch):
    sweep = parse_sweep({"method": "grid", "program": "a.py", "parameters": {"a": {"values": [1, 2, 2.0]}}})
    history, found = TrialEvents(tmp_path / "trials.jsonl"), []
    assert len(sweep.grid()) == 2
    monkeypatch.delattr(type(sweep.parameters[0]), "grid")
    while (proposal := propose(sweep, history, 1)) is not None:
        history.add("propose", trial=len(found) + 1, args=proposal[0], unit=None)
        found.append(proposal[0])
    assert found == [{"a": 1}, {"a": 2}]


def test_what_may_surprise_is_remarked(tmp_path):
    text = (
        "method: random\nprogram: a.py\nparameters:\n"
        "  a: {distribution: q_uniform, min: 0.1, max: 1, q: 0.25}\n"
        "  b: {values: [1, 1.0, 2]}\n"
        "  c: {min: 1e-3, max: 1.0}\n"
    )
    (tmp_path / "s.yaml").write_text(text)
    found = list(remarks(read_sweep(tmp_path / "s.yaml"), tmp_path / "s.yaml"))
    assert len(found) == 3
    assert "parameters.a: quantised draws reach 0, outside" in found[0]
    assert "1.0 repeats 1" in found[1]
    assert "parameters.c.min: 'wandb sweep' reads 1e-3 as text: write 0.001" in found[2]


def test_a_file_that_their_yaml_cannot_read_is_remarked(tmp_path):
    (tmp_path / "s.yaml").write_text("method: random\nprogram: a.py\nname: 2024-13-45\nparameters: {a: {value: 1}}\n")
    (found,) = remarks(read_sweep(tmp_path / "s.yaml"), tmp_path / "s.yaml")
    assert "'wandb sweep' cannot read the file" in found


def test_an_ordinary_file_is_not_remarked_on(tmp_path):
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(GOOD))
    assert not list(remarks(read_sweep(tmp_path / "s.yaml"), tmp_path / "s.yaml"))


def test_differing_keys_are_dotted():
    after = changed(run_cap=3, metric={"name": "val/mAP", "goal": "minimize"})
    assert differing(GOOD, GOOD) == []
    assert differing(GOOD, after) == ["metric.goal", "run_cap"]


@pytest.mark.parametrize(("name", "folder"), [("a b/../c", "a-b-..-c"), ("..", "sweep"), ("ok-1.2", "ok-1.2")])
def test_names_of_folders(name, folder):
    assert folder_name(name) == folder
