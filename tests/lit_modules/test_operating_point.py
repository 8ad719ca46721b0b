"""The operating point of the last validation in checkpoints, and warnings of reports."""

import warnings

import pytest

from vision_suite.errors import CheckpointError
from vision_suite.lit_modules.base import LitBase
from vision_suite.optim import OptimConfig
from vision_suite.types import Report


class Chooser(LitBase):
    """Chooses a threshold from a metric."""

    def __init__(self):
        super().__init__(OptimConfig())
        self.log_dict = lambda *_, **__: None  # no trainer

    def choose_operating_point(self, report):
        return {"threshold": report.metrics["mAP"]}


def test_validation_chooses_and_the_checkpoint_keeps():
    module, checkpoint = Chooser(), {}
    module.on_save_checkpoint(checkpoint)
    assert "operating_point" not in checkpoint
    module._log_report("test", Report({"mAP": 0.9}, {}))
    assert module.operating_point == {}
    module._log_report("val", Report({"mAP": 0.5}, {}))
    module.on_save_checkpoint(checkpoint)
    loaded = Chooser()
    loaded.on_load_checkpoint(checkpoint)
    assert loaded.operating_point == {"threshold": 0.5}


def test_a_damaged_one_is_one_line():
    with pytest.raises(CheckpointError, match="operating_point is list"):
        Chooser().on_load_checkpoint({"operating_point": [1]})


def test_a_warning_is_printed_once():
    module = Chooser()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            module._log_report("test", Report({"mAP": 0.9}, {"warnings": ["all features are zero"]}))
    assert [str(each.message) for each in caught] == ["all features are zero"]
