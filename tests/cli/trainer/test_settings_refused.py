"""Settings that are refused in one line before anything is built, and those beside them that are taken."""

from pathlib import Path

import pytest
import torch
from jsonargparse import dict_to_namespace as as_namespace
from one_line import fails
from torch import nn

from vision_suite.cli import main
from vision_suite.cli.trainer import arguments, memory
from vision_suite.cli.trainer.messages import name_whole_keys
from vision_suite.cli.trainer.ranges import check_ranges
from vision_suite.cli.trainer.tasks import check_task, of_other_task, tasks_of
from vision_suite.errors import ConfigError

# Refused before the parser is built, in milliseconds.
EARLY = [
    (["--data.root=None"], "--data.root=None: write null for no value"),
    (["--model.init_args.optim.lr", "None"], "--model.optim.lr=None: write null"),
    (["--model.optim={'name': 'adam', 'lr': None}"], "model.optim.lr=None: write null"),
    (["--data.image_size=[64, None]"], "--data.image_size[1]=None: write null"),
    (["--model.optim={lr: 1, lr: 2}"], "model.optim.lr is given twice"),
    (["--model=LitOAT"], "LitOAT is a model of the task scanpath, but ReIDData gives data of the task reid"),
    (["--model=LitDCAL", "--model.task=fgvc"], "--model.task=fgvc, but ReIDData gives data of the task reid"),
]
# Refused by the parser, or when the classes are built: half a second each.
LATE = [
    (["--model.optim.lrr=1"], "--model.optim.lrr: LitToy has no setting 'optim.lrr': did you mean 'optim.lr'"),
    (["--model.optim.betas=(0.5, 0.9)"], "--model.optim.betas (0.5, 0.9): expected tuple, written [0.5, 0.9]"),
    (["model.width", "3"], "'model.width' stands without '--': write --model.width=3"),
    (["--data=market150"], "no such class or part: did you mean 'market1501'"),
    (["--seed_everything=-1"], "--seed_everything=-1: give a whole number from 0 to 4294967295"),
    (["--trainer.devices=1000"], "--trainer.devices=1000: on this machine's CPU give 1 to "),
    (["--trainer.logger=wandb_offline", "--trainer.logger.log_model=all"], "log_model=all uploads"),
    (["--model.width=1000000000000"], "LitToy needs at least 12,000,000,000,000 bytes of memory ("),
]
MORE = [
    (["--data.augment.hflipp=1"], "--data.augment.hflipp: ReIDData has no setting"),
    (["--data.image_size=(64, 64)"], "expected tuple, written [64, 64]"),
    (["--model.optim.betas=0.9,0.99"], "expected tuple, written [0.9,0.99]"),
    (["--model.optim.betas=[2, 3]"], "--model.optim.betas=[2.0, 3.0]: give two numbers"),
    (["--model.optim.weight_decay=-1"], "--model.optim.weight_decay=-1.0: give 0 or more"),
    (["trainer.max_epochs=2"], "'trainer.max_epochs=2' stands without '--': write --trainer.max_epochs=2"),
    (["max_epochs", "2"], "did you mean 'trainer.max_epochs'"),
    (["toy.yaml"], "name a configuration with -c toy.yaml"),
    (["--model=dcal_reid_deit_x"], "no such class or part: did you mean 'dcal_reid_deit_b'"),
    (["--trainer.logger=wandb_offlin"], "did you mean 'wandb_offline'"),
    (["--model.widht"], "--model.widht: no value is given"),
    (["--data.image_size=[1000000, 1000000]"], "lower --data.image_size=[1000000, 1000000]"),
    (["--model=LitRecognizer"], "LitRecognizer is a model of the task tad, but ReIDData"),
    (["--data.num_instances=3"], "--data.num_instances=3 does not divide batch_size=4"),
    (["--trainer.val_check_interval=100"], "must be less than or equal to the number of the training batches (6)"),
    (
        ["--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor=x", "--trainer.callbacks.mode=best"],
        "got best",
    ),
]


@pytest.mark.parametrize(("flags", "line"), [*EARLY, *LATE])
def test_a_flag_is_one_line_with_its_whole_key(toy, capsys, flags, line):
    assert line in fails(capsys, "fit", "-c", toy, *flags)
    assert not Path("runs").exists() or not list(Path("runs").rglob("run.json"))


@pytest.mark.long
@pytest.mark.parametrize(("flags", "line"), MORE)
def test_more_flags(toy, capsys, flags, line):
    assert line in fails(capsys, "fit", "-c", toy, *flags)


TRAINER = {"accelerator": "cpu", "devices": 1, "max_epochs": 1, "limit_val_batches": None, "logger": False}
GOOD = [
    {"max_epochs": -1}, {"gradient_clip_val": 0}, {"val_check_interval": 0.5}, {"val_check_interval": 7},
    {"log_every_n_steps": 0}, {"limit_val_batches": 1.0}, {"devices": "auto"}, {"num_sanity_val_steps": -1},
    {"accelerator": "gpu", "devices": [0, 1]}, {"accumulate_grad_batches": 10**9},
]  # fmt: skip
BAD = [
    {"max_epochs": -2}, {"max_steps": 0}, {"min_epochs": 5}, {"check_val_every_n_epoch": 0}, {"log_every_n_steps": -1},
    {"accumulate_grad_batches": 0}, {"gradient_clip_val": -1}, {"gradient_clip_val": float("nan")}, {"num_nodes": 0},
    {"val_check_interval": 0}, {"val_check_interval": 2.5}, {"limit_val_batches": -1}, {"overfit_batches": 1.5},
    {"limit_train_batches": 0},
    {"devices": 0}, {"devices": -1}, {"devices": "(0, 1)"}, {"devices": [0, 1]}, {"devices": 1000},
]  # fmt: skip


def section(**trainer):
    return as_namespace({"trainer": {**TRAINER, **trainer}, "data": {"init_args": {}}, "model": {"init_args": {}}})


@pytest.mark.parametrize("trainer", GOOD)
def test_numbers_of_the_trainer_within_range_are_taken(trainer):
    check_ranges(section(**trainer), "fit", {})


@pytest.mark.parametrize("trainer", BAD)
def test_numbers_of_the_trainer_out_of_range_are_refused_by_name(trainer):
    name = next(name for name in reversed(trainer))
    with pytest.raises(ConfigError, match=f"^--trainer.{name}="):
        check_ranges(section(**trainer), "fit", {})


@pytest.mark.parametrize(
    ("key", "value", "fine"),
    [
        ("data.batch_size", 0, 1), ("data.eval_batch_size", -4, 4), ("data.num_workers", -1, 0),
        ("data.num_workers", 10**8, 8), ("data.seed", -1, 0), ("data.image_size", [-1, 5], [1, 5]),
        ("model.width", 0, 1), ("model.encoder_layers", -1, 2), ("model.optim.batch_size", 0, 1),
    ],
)  # fmt: skip
def test_numbers_of_data_and_model_are_refused_by_name(key, value, fine):
    def given(number):
        found = section()
        head, *rest = key.split(".")
        for part in reversed(rest):
            number = {part: number}
        found[head] = as_namespace({"init_args": number})
        return found

    from toy_method import LitToy

    check_ranges(given(fine), "fit", {"model": LitToy})
    with pytest.raises(ConfigError, match=f"^--{key}="):
        check_ranges(given(value), "fit", {"model": LitToy})


class Free:
    """A plug-in with values that the suite's own classes do not have."""

    def __init__(self, pool_size: int = -1, drop_size: float = 0.5, ignore: int = 255) -> None: ...


def test_a_plug_in_gives_its_numbers_a_meaning_of_its_own():
    for given in ({"pool_size": -1}, {"pool_size": 0}, {"drop_size": 0.25}, {"ignore": -100}):
        found = section()
        found["model"] = as_namespace({"init_args": given})
        check_ranges(found, "fit", {"model": Free})


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "x.yaml:1: empty"),
        ("fit:\n", "x.yaml:1: 'fit' is a command"),
        ("- 1\n", "x.yaml:1: a list, but a configuration is a mapping"),
        ("hello\n", "x.yaml:1: only 'hello'"),
        ("# note\nfit:\n  trainer: {max_epochs: 3}\n", "x.yaml:2: 'fit' is a command"),
        ("traner: {}\n", "x.yaml:1: unknown section 'traner': did you mean 'trainer'"),
        ("trainer: {}\nmodel: x.yaml\n", "x.yaml:2: the file names itself (x.yaml -> x.yaml): write model out"),
        ("model: part.yaml\n", "part.yaml:3: model.optim.name=None: write null"),
        ("trainer:\n  max_epochs: 1\n  max_epochs: 2\n", "x.yaml:3: trainer.max_epochs is given twice"),
        ("model: {init_args: {optim: twice.yaml}}\n", "twice.yaml:2: model.optim.lr is given twice"),
    ],
)
def test_a_file_is_one_line_with_file_and_line(toy, capsys, text, line):
    Path("x.yaml").write_text(text)
    Path("part.yaml").write_text("class_path: LitToy\ninit_args:\n  optim: {name: None}\n")
    Path("twice.yaml").write_text("lr: 1\nlr: 2\n")
    assert line in fails(capsys, "fit", "-c", toy, "-c", "x.yaml")


def test_a_file_name_is_a_plain_value_except_where_a_section_stands(toy, capsys):
    """A data set's JSON is neither read as settings nor checked as such."""
    Path("mine.json").write_text('{"root": 1, "root": 2}')
    Path("optim.yaml").write_text("name: sgd\nlr: 0.5\n")
    given = list(arguments.settings(["fit", "-c", toy, "--data.root=mine.json", "--model.optim=optim.yaml"]))
    values = {each.key: (each.value, each.source) for each in given}
    assert values["data.root"] == ("mine.json", "--data.root")
    assert values["model.optim.lr"] == (0.5, "optim.yaml")
    assert "mine.json' does not hold bounding_box_train" in fails(capsys, "fit", "-c", toy, "--data.root=mine.json")


def test_null_and_quoted_words_are_taken(toy):
    Path("x.yaml").write_text("trainer: {max_time: ~, profiler: null}\n")
    assert main(["fit", "-c", toy, "-c", "x.yaml", "--trainer.fast_dev_run=true", "--data.seed=null"]) == 0


def test_a_monitored_metric_must_exist(toy, capsys):
    stopping = ["fit", "-c", toy, "--trainer.callbacks+=EarlyStopping"]
    line = fails(capsys, *stopping, "--trainer.callbacks.monitor=train/los")
    assert "EarlyStopping monitors 'train/los', which nothing logs: did you mean 'train/loss'" in line
    assert "but the run has no validation" in fails(capsys, *stopping, "--trainer.callbacks.monitor=val/mAP")
    assert main([*stopping, "--trainer.callbacks.monitor=val/mAP", "--trainer.callbacks.strict=false"]) == 0
    keeping = ["fit", "-c", toy, "--trainer.callbacks+=ModelCheckpoint", "--trainer.callbacks.monitor=train/nothing"]
    assert "ModelCheckpoint monitors 'train/nothing'" in fails(capsys, *keeping)


class Deep(nn.Module):
    def __init__(self, width=4, depth=2):
        super().__init__()
        self.first = torch.rand(3)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))


def test_a_network_is_estimated_without_memory_or_random_numbers(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 1000)
    state = torch.get_rng_state()
    memory.check_network(Deep, "Deep", {})
    assert torch.equal(torch.get_rng_state(), state)
    settings = {"width": 100_000_000, "depth": 2, "heads": 3}
    with pytest.raises(ConfigError, match=r"at least 40,000,000,000,000,012 bytes.*lower --model.width=100000000$"):
        memory.check_network(lambda: Deep(width=100_000_000), "Deep", settings)
    monkeypatch.setattr(memory, "free_memory", lambda: 10**15)
    monkeypatch.setattr(memory, "MOST_TENSORS", 1000)
    with pytest.raises(ConfigError, match=r"more than 1,000 tensors.*--model.depth=100000000$"):
        memory.check_network(lambda: Deep(depth=100_000_000), "Deep", {"width": 4, "depth": 100_000_000})


def test_a_constructor_that_reads_large_tables_is_left_alone():
    memory.check_network(lambda: torch.ones(10**6).tolist(), "Reader", {})


class Reading(nn.Module):
    """Reads rates and a mask, as the networks of timm and of boundary matching do, and then makes its layers."""

    def __init__(self, width=4, rows=3):
        super().__init__()
        self.rate = torch.linspace(0, 1, 3)[1].item()
        self.entries = torch.nonzero(torch.ones(100, 100).triu())
        self.table = torch.stack([torch.tensor([1.0]) for _ in range(rows)])
        self.layer = nn.Linear(width, width)


def test_a_network_that_reads_small_tensors_is_estimated(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 10**9)
    built = []
    memory.check_network(lambda: built.append(Reading(rows=12_000)), "Reading", {})
    assert built[0].rate == 0.5
    assert built[0].entries.shape == (5050, 2)
    with pytest.raises(ConfigError, match=r"lower --model\.width=100000000$"):
        memory.check_network(lambda: Reading(width=100_000_000), "Reading", {"width": 100_000_000})

    def outer():
        line = torch.arange(60_000)
        return line[:, None] * line

    with pytest.raises(ConfigError, match="at least 28,800,000,000 bytes"):
        memory.check_network(outer, "Outer", {"width": 60_000})


def test_the_estimate_builds_the_networks_of_the_suite(monkeypatch):
    from vision_suite.models.dcal import DCAL

    monkeypatch.setattr(memory, "free_memory", lambda: 10**9)
    micro = {"backbone": "vit_micro_conv8_64", "image_size": (64, 64)}
    built = []
    memory.check_network(lambda: built.append(DCAL(5, **micro)), "DCAL", {})
    for key, value in (("embed_dim", 10**8), ("mlp_ratio", 10**9)):
        given = {"backbone_args": {key: value}}
        with pytest.raises(ConfigError, match=f"lower --model.backbone_args.{key}="):
            memory.check_network(lambda given=given: DCAL(5, **micro, **given), "DCAL", given)
    deep = {"backbone_args": {"depth": 10**7}}
    with pytest.raises(ConfigError, match="more than 50,000 tensors"):
        memory.check_network(lambda: DCAL(5, **micro, **deep), "DCAL", deep)
    with pytest.raises(ConfigError, match=r"lower --model\.num_classes=1000000000$"):
        memory.check_network(lambda: DCAL(10**9, **micro), "DCAL", {"num_classes": 10**9})


def test_tasks_are_told_by_annotations_and_compared_where_both_tell_one():
    from toy_method import LitToy

    from vision_suite.datasets.reid import ReIDData
    from vision_suite.datasets.tad import TADData
    from vision_suite.lit_modules.base import LitBase
    from vision_suite.lit_modules.dcal import LitDCAL

    class LitPlain(LitBase):
        def training_step(self, batch, batch_idx):
            return batch["identity"]

    assert tasks_of(LitToy) == {"reid"}
    assert tasks_of(LitDCAL) == {"reid", "fgvc"}
    assert tasks_of(LitPlain) == set()
    check_task(LitPlain, TADData, None)
    check_task(LitToy, ReIDData, None)
    with pytest.raises(ConfigError, match="LitToy is a model of the task reid, but TADData gives data of the task tad"):
        check_task(LitToy, TADData, None)
    with pytest.raises(ConfigError, match=r"task=fgvc, but ReIDData gives data of the task reid"):
        check_task(LitDCAL, ReIDData, "fgvc")
    try:
        LitPlain.training_step(object.__new__(LitPlain), {"features": 1, "valid": 2}, 0)
    except KeyError as error:
        line = str(of_other_task(error))
    assert line.startswith("LitPlain reads 'identity' of a batch, and the batches of the data hold features, valid")


def test_whole_keys_are_named_where_one_section_has_the_setting():
    error = ConfigError("optim.lr=-1 must be above 0")
    name_whole_keys(error, {"model": {"optim": {}}, "data": {"root": 1}})
    assert str(error) == "--model.optim.lr=-1 must be above 0"
    error = ConfigError("image_size=3 is odd")
    name_whole_keys(error, {"model": {"image_size": 1}, "data": {"image_size": 1}})
    assert str(error) == "image_size=3 is odd"
