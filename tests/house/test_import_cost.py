"""What importing loads, seen in a child process's ``sys.modules``: modules are counted, not seconds."""

import os
import subprocess
import sys

import pytest

TORCH = ("torch", "pytorch_lightning", "torchvision", "timm", "numpy")
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


@pytest.mark.parametrize("module", ["models.dcal", "metrics.reid", "losses.multi_branch", "viz", "optim"])
def test_the_pure_part_does_not_load_lightning(module, tmp_path):
    # timm loads wandb on its own where it is installed, so it is made absent here: nothing of ours may need it.
    code = f"import sys\nsys.modules['wandb'] = None\nimport vision_suite.{module}\ndel sys.modules['wandb']"
    assert loaded(code, LIGHTNING, tmp_path) == []
