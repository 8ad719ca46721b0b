"""``--ckpt_path best`` of every named configuration that trains: a score of the validation is monitored and logged."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from vision_suite.cli.configs import named_configs
from vision_suite.cli.trainer.vocabulary import find_class
from vision_suite.lit_modules.base import LitBase

NO_VALIDATION = {"oat/onestop_mini"}
# The headline score of each task, by what the method pages report.
HEADLINE = {
    ("LitDCAL", "reid"): ("val/mAP", "max"),
    ("LitDCAL", "fgvc"): ("val/top1", "max"),
    ("LitCSA", None): ("val/average_mAP", "max"),
    ("LitRecognizer", None): ("val/step_accuracy", "max"),
    ("LitOAT", None): ("val/nats_per_fixation", "min"),
    ("LitSentinel", None): ("val/object_f1", "max"),
    ("LitWings", None): ("val/loss", "min"),
    ("LitProjector", None): ("val/loss", "min"),
    ("LitTower", None): ("val/mAP", "max"),
    ("LitPresence", None): ("val/mAP", "max"),
}


def section(path: Path, name: str):
    value = yaml.safe_load(path.read_text(encoding="utf-8")).get(name)
    return yaml.safe_load((path.parent / value).read_text(encoding="utf-8")) if isinstance(value, str) else value


@pytest.mark.parametrize("name", sorted(name for name in named_configs() if not name.startswith("sentinel/mine_")))
def test_a_score_of_the_validation_is_monitored(name):
    path = named_configs()[name]
    trainer, model = section(path, "trainer"), section(path, "model")
    monitored = [
        (each["init_args"]["monitor"], each["init_args"]["mode"])
        for each in trainer.get("callbacks", [])
        if each["class_path"].endswith("ModelCheckpoint")
    ]
    owner = find_class(model["class_path"], LitBase)
    task = model["init_args"].get("task", "reid" if owner.__name__ == "LitDCAL" else None)
    stand_in = SimpleNamespace(task=task, tiou=(0.3, 0.5, 0.7), panels=None, report=None)
    stand_in.panels = owner.panels.fget(stand_in)
    assert LitBase.main_score.fget(stand_in) == HEADLINE[owner.__name__, task]
    assert monitored in ([], [("val/mode/delta", "min")], [HEADLINE[owner.__name__, task]])
    assert (trainer.get("limit_val_batches") == 0) == (name in NO_VALIDATION)
