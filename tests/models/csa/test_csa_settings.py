"""Settings of detectors outside their range are one line; logits that are not finite are refused."""

import numpy as np
import pytest
import torch

from vision_suite.errors import ConfigError, DataError
from vision_suite.lit_modules.csa import LitCSA
from vision_suite.lit_modules.recognizer import LitRecognizer
from vision_suite.losses.tad.detection import DetectionLoss
from vision_suite.models.csa import CSAConfig, CSADetector
from vision_suite.models.csa.detections import proposal_rows
from vision_suite.models.csa.postprocess import PostProcess
from vision_suite.models.csa.recognizer import SequenceRecognizer
from vision_suite.ops.segments import soft_nms, vote

NAN = float("nan")
POST = {
    "sigma": (0, -1, NAN, float("inf"), "0.5"), "low": (-0.1, 1.1, NAN), "high": (-0.1, 7, NAN),
    "min_score": (-3, 1, NAN), "keep": (0, 1.5, True), "vote": (0, 1.01, NAN), "top_classes": (0, 2.5),
    "per_sequence": (0, -1), "max_seconds": (0, -2, NAN), "score": ("iou",), "candidates": ("none",), "nms": ("hard",),
    "nms_stage": ("window",), "class_scope": ("clip",), "fusion": ("sum",),
}  # fmt: skip


def test_every_field_of_the_post_processing_is_checked():
    assert set(POST) == set(PostProcess.__dataclass_fields__)
    for name, values in POST.items():
        for value in values:
            with pytest.raises(ConfigError, match=rf"^post\.{name}=[^\n]*$"):
                PostProcess(**{name: value})
    with pytest.raises(ConfigError, match=r"post\.low=0\.8 must be at most post\.high=0\.6"):
        PostProcess(low=0.8, high=0.6)
    PostProcess(sigma=1, low=0, high=1, vote=1, max_seconds=10, min_score=0, keep=np.int64(5))


@pytest.mark.parametrize(
    ("build", "settings", "said"),
    [
        (CSAConfig, {"hidden": 0}, r"csa\.hidden=0"),
        (CSAConfig, {"conv_kernel": 2.5}, r"csa\.conv_kernel=2\.5 must be a whole number"),
        (CSADetector, {"max_duration": 0}, "max_duration=0 must be from 1"),
        (CSADetector, {"num_cells": 0}, "num_cells=0"),
        (CSADetector, {"pem_width": 0}, "pem_width=0"),
        (LitCSA, {"tiou": ()}, r"tiou=\(\) must be a list of at least one"),
        (LitCSA, {"tiou": (0.5, 2)}, "tiou=2 must be a finite number above 0 and at most 1"),
        (LitCSA, {"tiou": (0.7, 0.5)}, r"tiou=\[0\.7, 0\.5\] must ascend .* give \[0\.5, 0\.7\]"),
        (LitCSA, {"tiou": (0.5, 0.5)}, "must ascend without a threshold twice"),
        (LitRecognizer, {"tiou": (0.0,)}, r"tiou=0\.0 must be"),
        (LitCSA, {"reg_weight": -1.0}, r"reg_weight=-1\.0 must be a finite number at least 0"),
        (LitCSA, {"cls_weight": NAN}, "cls_weight=nan"),
        (LitCSA, {"class_weight": -1.0}, r"class_weight=-1\.0"),
        (LitCSA, {"semantics": "other"}, "semantics='other' is not known"),
        (LitCSA, {"semantics": "shuffled", "self_attention": "se"}, "semantics=shuffled changes nothing"),
        (LitCSA, {"post": {"sigma": -1}}, r"post\.sigma=-1"),
        (LitRecognizer, {"kernel": 4}, "kernel=4 must be odd"),
        (LitRecognizer, {"dropout": 1.0}, r"dropout=1\.0"),
    ],
)
def test_settings_outside_their_range_are_one_line(build, settings, said):
    sizes = {CSADetector: {"in_channels": 8, "num_classes": 2}, CSAConfig: {}}
    given = sizes.get(build, {"num_classes": 2, "in_channels": 8, "num_cells": 8})
    with pytest.raises(ConfigError, match=said) as error:
        build(**{**given, **settings})
    assert "\n" not in str(error.value)


def test_plain_functions_refuse_the_same():
    one = np.array([[0.0, 1.0]])
    for settings in ({"sigma": NAN}, {"min_score": -1}, {"low": -1}, {"method": "hard"}, {"keep": 0}):
        with pytest.raises(ConfigError):
            soft_nms(one, np.array([0.5]), **settings)
    for segments, score in ((one, NAN), (one, -1.0), (one * float("inf"), 0.5)):
        with pytest.raises(DataError, match="suppress usable ones only"):
            soft_nms(segments, np.array([score]))
    with pytest.raises(ConfigError, match="vote=2"):
        vote(one, one, np.array([1.0]), 2)
    with pytest.raises(ConfigError, match="reg_weight=-1"):
        DetectionLoss(reg_weight=-1)
    with pytest.raises(ConfigError, match="depth=0"):
        SequenceRecognizer(8, 2, depth=0)


@pytest.mark.parametrize("part", ["start", "end", "iou", "confidence", "snippet"])
def test_logits_that_are_not_finite_are_refused_with_the_video(part):
    """Never a video without detections, as if nothing happened in it."""
    network = CSADetector(8, 3, 6).eval()
    output = network(torch.randn(2, 8, 6))
    getattr(output, part).data[1].view(-1)[0] = NAN
    times = {name: torch.tensor([0.0, 4.5]) for name in ("origin", "cell_seconds", "duration")}
    numbers = {"video": torch.tensor([0, 7]), "index": torch.tensor([0, 1])}
    batch = {**times, **numbers, "valid": torch.ones(2, 6, dtype=torch.bool)}
    with pytest.raises(
        DataError, match=r"not finite for 1 of 2 sequences of a batch, the first at 4\.5 s of video clip7"
    ):
        proposal_rows(network, output, batch, PostProcess(), lambda index: f"clip{index}")
