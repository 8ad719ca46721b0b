"""What importing loads, seen in a child process's ``sys.modules``: modules are counted, not seconds."""

import os
import subprocess
import sys

import pytest
from folders import SUPPORT
from long_tests import long
from synthetic import write_market
from synthetic_tad import write_feature_set

TORCH = ("torch", "pytorch_lightning", "torchvision", "timm", "numpy")
TASKS = {"reid", "fgvc", "tad", "scanpath"}
METHODS = {"dcal", "csa", "oat"}
LIGHTNING = ("pytorch_lightning", "jsonargparse", "transformers", "wandb", "open_clip", "matplotlib")


def loaded(code, names, tmp_path):
    """Which of some modules a piece of code loads."""
    report = f"\nimport sys\nprint('LOADED', *[name for name in {names!r} if name in sys.modules])"
    environment = {**os.environ, "VISION_SUITE_DATA": str(tmp_path)}
    command = [sys.executable, "-c", code + report]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()[1:]


def test_the_package_is_light(tmp_path):
    assert loaded("import vision_suite, vision_suite.types, vision_suite.errors", TORCH, tmp_path) == []


@pytest.mark.parametrize("argv", [["--help"], ["--version"], ["configs"], ["data", "list"], ["fti"]])
def test_light_commands_load_neither_torch_nor_lightning(argv, tmp_path):
    code = f"from vision_suite.cli import main\nmain({argv!r})"
    assert loaded(code, TORCH[:4] + LIGHTNING, tmp_path) == []


def suite_modules(argv, folder):
    """The modules of the suite that a process has loaded after a command."""
    code = (
        f"import sys\nfrom vision_suite.cli import main\ntry:\n    status = main({argv!r})\n"
        "except SystemExit as leave:\n    status = leave.code\nassert not status\n"
        "print('LOADED', *[name for name in sys.modules if name.startswith('vision_suite.')])"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


def of_subjects(modules, subjects):
    """Those modules that lie in a folder or file named after a task or method."""
    return {name for name in modules if subjects & set(name.split("."))}


@pytest.mark.parametrize(
    ("name", "own"),
    [
        long("dcal_reid", {"dcal", "reid", "fgvc"}),
        ("csa", {"csa", "tad"}),
        long("recognizer", {"csa", "tad"}),
        long("oat", {"oat", "scanpath"}),
    ],
)
def test_training_loads_no_other_task_or_method(name, own, tmp_path):
    write_market(tmp_path / "market", train_ids=8, test_ids=4, val_ids=2)
    write_feature_set(tmp_path / "videos", videos=8)
    config = str(SUPPORT / "before" / name / "config.yaml")
    modules = suite_modules(["fit", "-c", config, "--trainer.max_steps=1", "--trainer.max_epochs=1"], tmp_path)
    assert of_subjects(modules, own), "the run loads its own"
    assert of_subjects(modules, (TASKS | METHODS) - own) == set()


@pytest.mark.long
def test_the_help_of_a_class_loads_its_module_alone(tmp_path):
    modules = suite_modules(["fit", "--model.help", "LitDCAL"], tmp_path)
    assert "vision_suite.lit_modules.dcal" in modules
    assert of_subjects(modules, {"tad", "scanpath", "csa", "oat"}) == set()


@pytest.mark.long
def test_the_help_of_a_command_lists_every_class(tmp_path):
    modules = suite_modules(["fit", "--help"], tmp_path)
    assert all(f"vision_suite.lit_modules.{method}" in modules for method in METHODS)


@pytest.mark.parametrize("module", ["models.dcal", "metrics.reid", "losses.multi_branch", "viz", "optim"])
def test_the_pure_part_does_not_load_lightning(module, tmp_path):
    # timm loads wandb on its own where it is installed, so it is made absent here: nothing of ours may need it.
    code = f"import sys\nsys.modules['wandb'] = None\nimport vision_suite.{module}\ndel sys.modules['wandb']"
    assert loaded(code, LIGHTNING, tmp_path) == []
