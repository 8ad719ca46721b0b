"""The index of classes: what it finds in the sources is what importing them gives."""

import ast
import inspect
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml
from pytorch_lightning import Callback
from synthetic import write_market

import vision_suite
from vision_suite.cli import main
from vision_suite.cli.trainer import classes
from vision_suite.cli.trainer.classes import import_everything, index, names_below, present_path, statements
from vision_suite.cli.trainer.restore import same_class
from vision_suite.datasets.base import BaseData
from vision_suite.errors import CheckpointError, ConfigError
from vision_suite.lit_modules.base import LitBase

# Two classes that no command line names; drop the exception when they have names of their own.
FORMER = "vision_suite.callbacks.averaging.EMA"
PRESENT = "vision_suite.callbacks.ema.EMA"
WRITER = "vision_suite.callbacks.detection_writer.DetectionWriter"


def subclasses(base):
    for found in base.__subclasses__():
        yield found
        yield from subclasses(found)


def left_out(found):
    """Abstract methods of a class, also where its metaclass does not know them."""
    return [name for name in dir(found) if getattr(inspect.getattr_static(found, name), "__isabstractmethod__", False)]


def test_names_are_unique():
    counts = Counter(each.name for each in statements())
    assert [name for name, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("base", [LitBase, BaseData, Callback])
def test_the_index_knows_what_importing_finds(base):
    import_everything()
    rooms = tuple(f"vision_suite.{room}." for room in classes.ROOMS)
    imported = [found for found in subclasses(base) if found.__module__.startswith(rooms)]
    concrete = {each.__name__ for each in imported if not left_out(each) and not each.__name__.startswith("_")}
    known = {base.__name__, *(found.__name__ for found in subclasses(base))}
    assert set(names_below(known)) == concrete
    assert {each.__name__: f"{each.__module__}.{each.__name__}" for each in imported if each.__name__ in index()} == {
        each.__name__: index()[each.__name__].path for each in imported
    }


def test_abstract_and_private_classes_are_no_choice(monkeypatch, tmp_path):
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets/new.py").write_text(
        "class Root(base.BaseData, ABC):\n    @abstractmethod\n    def size(self): ...\n"
        "class Half(Root[int]):\n    name = 1\n"
        "class Whole(Half):\n    def size(self): ...\n"
        "class _Hidden(Whole): pass\n"
        "class Assigned(Root):\n    size = None\n"
        "class Other: pass\n"
    )
    monkeypatch.setattr(classes.vision_suite, "__path__", [str(tmp_path)])
    index.cache_clear()
    try:
        assert names_below({"BaseData"}) == ["Whole", "Assigned"]
        assert index()["Whole"].path == "vision_suite.datasets.new.Whole"
        (tmp_path / "datasets/broken.py").write_text("class (")
        index.cache_clear()
        with pytest.raises(ConfigError, match=r"broken.py is not Python"):
            index()
    finally:
        index.cache_clear()


def test_reading_the_index_imports_nothing():
    code = (
        "import sys\nfrom vision_suite.cli.trainer import classes\nassert len(classes.index()) > 50\n"
        "ours = [name for name in sys.modules if name.startswith('vision_suite')]\n"
        "print(sorted(ours), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names = ast.literal_eval(done.stdout.split("]")[0] + "]")
    assert done.stdout.strip().endswith("False")
    assert not [name for name in names if name.split(".")[1:2] and name.split(".")[1] in classes.ROOMS]


@pytest.mark.parametrize(
    ("path", "present"),
    [
        (FORMER, PRESENT),
        ("vision_suite.ema.EMA", PRESENT),
        (
            "vision_suite.callbacks.predictions.PredictionWriter",
            "vision_suite.callbacks.predict.pictures.PredictionWriter",
        ),
        ("vision_suite.datasets.grid_scanpaths.GridScanpathData", None),
        ("vision_suite.datasets.reid.ReIDData", None),
        ("vision_suite.callbacks.ema.Averaging", None),
        ("vision_suite.callbacks.averaging.Unknown", None),
        ("colours.averaging.EMA", None),
        ("vision_suite_more.averaging.EMA", None),
        ("EMA", None),
        ("", None),
    ],
)
def test_a_former_path_is_the_class_of_that_name(path, present):
    assert present_path(path) == (present or path)


def test_class_paths_are_compared_as_classes():
    csa = "vision_suite.lit_modules.csa.LitCSA"
    assert same_class("vision_suite.lit_modules.detection.LitCSA", csa)
    assert same_class(csa, csa)
    assert not same_class(csa, "vision_suite.lit_modules.oat.LitOAT")
    assert not same_class("vision_suite.lit_modules.oat.LitCSA", csa)
    assert not same_class("csa.LitCSA", csa)


def test_a_class_that_a_checkpoint_names_is_not_imported(tmp_path, monkeypatch):
    (tmp_path / "somewhere.py").write_text("raise AssertionError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert not same_class("somewhere.LitCSA", "vision_suite.lit_modules.csa.LitCSA")


def test_export_finds_a_class_under_its_former_path(tmp_path):
    from vision_suite.cli.trainer.modules import _find_class
    from vision_suite.lit_modules.dcal import LitDCAL

    for name in ("vision_suite.lit_modules.dcal.LitDCAL", "vision_suite.models.former.LitDCAL"):
        assert _find_class(name, None, tmp_path) is LitDCAL
    assert _find_class(None, "LitDCAL", tmp_path) is LitDCAL
    for name in ("somewhere.LitDCAL", "vision_suite.lit_modules.dcal.LitDCA"):
        with pytest.raises(CheckpointError, match="no model of the suite: did you mean 'LitDCAL'"):
            _find_class(name, None, tmp_path)
    with pytest.raises(CheckpointError, match=r"give --model, one of .*LitCSA, LitDCAL, "):
        _find_class(None, None, tmp_path)


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A working folder with generated data and a configuration of the toy method."""
    import toy_method  # noqa: F401

    monkeypatch.chdir(tmp_path)
    write_market(tmp_path / "market", train_ids=4, test_ids=2)
    data = {"root": "market", "image_size": [32, 16], "batch_size": 4, "num_instances": 2, "cache": "memory"}
    quiet = {"accelerator": "cpu", "max_steps": 1, "enable_progress_bar": False, "enable_model_summary": False}
    config = {
        "trainer": quiet,
        "model": {"class_path": "toy_method.LitToy"},
        "data": {"class_path": "vision_suite.datasets.market.ReIDData", "init_args": data},
    }
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(config))
    return "toy.yaml"


def test_former_paths_hold_wherever_a_class_is_named(toy):
    from vision_suite.callbacks.predict import DetectionWriter
    from vision_suite.cli.commands.train import run

    Path("part.yaml").write_text(yaml.safe_dump({"callbacks": [{"class_path": WRITER}], "max_steps": 1}))
    Path("file.yaml").write_text("trainer: part.yaml\n")
    quiet = ["--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"]
    for argv in (
        ["-c", "file.yaml"],
        ["-c", f"{{trainer: {{callbacks: [{{class_path: {WRITER}}}]}}}}"],
        [f"--trainer.callbacks+={WRITER}"],
        ["--trainer.callbacks+", WRITER],
        [f"--trainer.callbacks={{class_path: {WRITER}, init_args: {{timelines: 3}}}}"],
        ["--trainer.callbacks+=DetectionWriter"],
        ["--data=vision_suite.datasets.market.ReIDData", "--trainer.callbacks+=DetectionWriter"],
    ):
        cli = run(["fit", "-c", toy, *argv, *quiet])
        assert [type(each) for each in cli.trainer.callbacks].count(DetectionWriter) == 1
        saved = yaml.safe_load(next(Path("runs").rglob("config.yaml")).read_text())
        assert saved["data"]["class_path"].startswith("vision_suite.datasets.reid")


def test_help_takes_a_former_path(capsys):
    with pytest.raises(SystemExit):
        main(["fit", "--trainer.callbacks.help", FORMER])
    assert "--trainer.callbacks.decay" in capsys.readouterr().out


def test_a_checkpoint_of_a_former_path_is_taken(tmp_path, monkeypatch, capsys):
    import torch

    from vision_suite.cli.commands.train import run

    monkeypatch.chdir(tmp_path)
    small = ["--data.train_scenes=4", "--data.validation_scenes=2", "--data.test_scenes=2", "--data.batch_size=4"]
    argv = ["-c", "oat/grid", "--trainer.default_root_dir=runs", "--trainer.max_steps=1", *small]
    run(["fit", *argv])
    checkpoint = next(Path("runs").rglob("last.ckpt"))
    contents = torch.load(checkpoint, weights_only=True)
    contents["hyper_parameters"]["_class_path"] = "vision_suite.lit_modules.scanpaths.LitOAT"
    torch.save(contents, "former.ckpt")
    run(["test", *argv, "--ckpt_path=former.ckpt"])
    assert "from checkpoint former.ckpt" in capsys.readouterr().out
    contents["hyper_parameters"]["_class_path"] = "vision_suite.lit_modules.csa.LitCSA"
    torch.save(contents, "other.ckpt")
    assert main(["test", *argv, "--ckpt_path=other.ckpt"]) == 2
    assert "was saved by vision_suite.lit_modules.csa.LitCSA, but the model is" in capsys.readouterr().err


@pytest.mark.long
def test_hints_offer_classes_that_are_not_imported(tmp_path):
    """In a process of its own: nothing of another task is loaded, and its names are offered."""
    code = (
        "import sys\nfrom vision_suite.cli import main\n"
        "assert main(['fit', '--model=LitCSAA', '--data=GridScanpathData']) == 2\n"
        "assert main(['fit', '--model=torch.nn.Linear', '--data=GridScanpathData']) == 2\n"
        "assert main(['fit', '--model=LitOAT', '--data=TADDatum']) == 2\n"
        "argv = ['fit', '--model=LitOAT', '--data=GridScanpathData', '--trainer.callbacks+=DetectionWriters']\n"
        "assert main(argv) == 2\n"
        "print([name for name in sys.modules if name.startswith('vision_suite.') and 'tad' in name.split('.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, second, third, fourth = [line for line in done.stderr.splitlines() if "error: " in line]
    assert "--model LitCSAA: no such class: did you mean 'LitCSA'" in first
    assert "choose one of LitCSA, LitDCAL, LitOAT, LitRecognizer" in second
    assert "--data TADDatum: no such class: did you mean 'TADData'" in third
    assert "DetectionWriters: no such class: did you mean 'DetectionWriter'" in fourth
    assert done.stdout.strip().endswith("[]")


def test_copies_of_editors_and_notebooks_are_no_modules(tmp_path, monkeypatch):
    for name in ("lit_modules/.ipynb_checkpoints/dcal-checkpoint.py", "lit_modules/mine.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("class LitMine: ...\n")
    (tmp_path / "lit_modules/.#mine.py").symlink_to("nobody@nowhere")
    monkeypatch.setattr(vision_suite, "__path__", [str(tmp_path)])
    assert [each.path for each in statements()] == ["vision_suite.lit_modules.mine.LitMine"]


@pytest.mark.parametrize("flag", ["--model", "--trainer.callbacks+"])
@pytest.mark.parametrize(
    ("source", "said"),
    [
        (
            "import math\nimport no_such_package",
            "ModuleNotFoundError: No module named 'no_such_package' (",
        ),
        ("class (", "SyntaxError: invalid syntax ("),
        ("\nraise KeyError('boom')", "KeyError: 'boom' ("),
    ],
)
def test_a_module_that_cannot_be_imported_is_named(tmp_path, monkeypatch, capsys, flag, source, said):
    name = f"broken_{abs(hash((flag, source)))}"
    (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["fit", "--model=LitDCAL", "--data=ReIDData", "--data.root=x", f"{flag}={name}.Thing"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert f"the module {name} cannot be imported: {said}" in line
    assert f"{name}.py:{source.count(chr(10)) + 1})" in line


def test_a_missing_module_is_no_such_class(capsys):
    assert main(["fit", "--model=no_such.module.Lit", "--data=ReIDData", "--data.root=x"]) == 2
    assert "--model no_such.module.Lit: no such class" in capsys.readouterr().err
