"""Lightning's own code that ours replaces or relies on: these fail when an upgrade changes it."""

import ast
import inspect

from folders import ROOT
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.cli import LightningCLI, SaveConfigCallback

from vision_suite.callbacks.run_record import RunRecord
from vision_suite.cli.trainer import lightning_parts
from vision_suite.cli.trainer.lightning_parts import PARTS, READ_IN, changed_parts
from vision_suite.cli.trainer.suite_cli import SuiteCLI

NAMES = {part.name.removeprefix("pytorch_lightning.cli.") for part in PARTS}


def test_every_part_is_the_one_that_was_read():
    changed = "\n".join(changed_parts())
    assert not changed, f"read in Lightning {READ_IN}; compare with {lightning_parts.__file__}:\n{changed}"


def test_a_changed_or_missing_part_is_reported(monkeypatch):
    name = "pytorch_lightning.cli.LightningCLI._parse_ckpt_path"
    parts = (lightning_parts.Part(name, "0" * 16, "replaced"), lightning_parts.Part(f"{name}x", "0" * 16, "gone"))
    monkeypatch.setattr(lightning_parts, "PARTS", parts)
    first, second = changed_parts()
    assert first.startswith(f"{name} (replaced) is now ")
    assert second.startswith(f"{name}x (gone) is now (")


def test_every_overridden_private_method_is_listed():
    for own, theirs in ((SuiteCLI, LightningCLI), (RunRecord, SaveConfigCallback)):
        names = [name for name in vars(own) if name.startswith("_") and not name.startswith("__")]
        private = {f"{theirs.__name__}.{name}" for name in names if hasattr(theirs, name)}
        assert private <= NAMES
    assert {"LightningCLI._parse_ckpt_path", "LightningCLI._instantiate_trainer"} <= NAMES


def test_every_imported_private_name_is_listed():
    """Names with a leading underscore that the suite imports from Lightning or the parser."""
    imported = set()
    for path in (path for room in ("vision_suite", "datasets", "lit_modules") for path in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in (
                "pytorch_lightning", "lightning_fabric", "jsonargparse",
            ):  # fmt: skip
                modules = [part for part in node.module.split(".") if part.startswith("_")]
                imported |= {*modules, *(alias.name for alias in node.names if alias.name.startswith("_"))}
    launching = {"_SignalConnector", "_SubprocessScriptLauncher", "_set_num_threads_if_needed"}
    assert imported == {"_InstantiatorFn", "_restricted_classmethod", *launching}
    assert {"_SignalConnector", "_SubprocessScriptLauncher"} <= {part for name in NAMES for part in name.split(".")}
    assert "_InstantiatorFn.__call__" in NAMES
    assert "pytorch_lightning.utilities.model_helpers._restricted_classmethod_impl.__get__" in NAMES


def test_the_checkpoint_is_parsed_between_arguments_and_seed():
    source = inspect.getsource(LightningCLI.__init__)
    order = [source.index(call) for call in ("self.parse_arguments(", "self._parse_ckpt_path(", "self._set_seed(")]
    assert order == sorted(order)


def test_save_last_alone_does_not_save_every_epoch():
    """Why the suite adds a checkpoint of its own: this one writes last.ckpt only when the metric improves."""
    source = inspect.getsource(ModelCheckpoint.on_train_epoch_end)
    assert "Only save last checkpoint if a checkpoint was actually saved" in source
