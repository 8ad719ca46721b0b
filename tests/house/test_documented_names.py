"""Names that documentation told people to import, and class paths of saved configurations: they stay."""

import importlib
import inspect
import pkgutil

import pytest
from docstring_parser import parse

NAMES = (
    "datasets.fgvc.FGVCData",
    "datasets.grid_scanpaths.GridScanpathData",
    "datasets.reid.ReIDData",
    "datasets.scanpath.ScanpathData",
    "datasets.tad.TADData",
    "callbacks.ema.EMA",
    "callbacks.report.ReportWriter",
    "layers.drop_in.use_suite_attention",
    "lit_modules.base.LitBase",
    "lit_modules.csa.LitCSA",
    "lit_modules.dcal.LitDCAL",
    "lit_modules.oat.LitOAT",
    "lit_modules.recognizer.LitRecognizer",
    "losses.tad.DetectionLoss",
    "metrics.reid.evaluate",
    "metrics.reid.rerank",
    "metrics.reid_metric.ReIDMetric",
    "metrics.scanpath.ClusterFile",
    "metrics.scanpath.Scanpath",
    "metrics.scanpath.Scene",
    "metrics.scanpath.build_clusters",
    "metrics.scanpath.edit_distance",
    "metrics.scanpath.multimatch",
    "metrics.scanpath.scanpath_scores",
    "metrics.scanpath.sequence_score",
    "metrics.tad.average_recall",
    "metrics.tad.mean_average_precision",
    "models.csa.streaming.StreamingDetector",
    "models.dcal.DCAL",
    "models.oat.search_time",
    "models.oat.swap_objects",
    "ops.attention.attention_rollout",
    "ops.attention.cross_attention",
    "ops.pairing.draw_pairs",
    "optim.OptimConfig",
    "types.BACKGROUND",
    "types.ClassificationReport",
    "types.Condition",
    "types.DetectionReport",
    "types.FGVCBatch",
    "types.ImageBatch",
    "types.ReIDBatch",
    "types.Report",
    "types.RetrievalReport",
    "types.Role",
    "types.ScanpathBatch",
    "types.ScanpathReport",
    "types.TADBatch",
)


@pytest.mark.parametrize("name", NAMES)
def test_the_name_leads_to_what_it_names(name):
    module, _, last = f"vision_suite.{name}".rpartition(".")
    found = pkgutil.resolve_name(f"{module}:{last}")
    assert getattr(importlib.import_module(module), last) is found
    if callable(found):
        assert found.__name__ == last or name == "metrics.scanpath.Scene"


def test_the_help_of_a_setting_is_not_that_of_an_attribute_of_its_name():
    """The command line shows the text of the class where class and ``__init__`` describe one name."""
    found, seen = [], set()
    for package in ("datasets", "lit_modules"):
        root = importlib.import_module(f"vision_suite.{package}")
        for module in pkgutil.walk_packages(root.__path__, f"{root.__name__}."):
            for own in vars(importlib.import_module(module.name)).values():
                if not inspect.isclass(own) or own in seen or not own.__module__.startswith(root.__name__):
                    continue
                seen.add(own)
                texts = [
                    {each.arg_name: each.description for each in parse(document or "").params}
                    for document in (own.__doc__, own.__init__.__doc__)
                ]
                found += [
                    f"{own.__qualname__}: {name}"
                    for name in texts[0].keys() & texts[1].keys()
                    if texts[0][name] != texts[1][name]
                ]
    assert len(seen) > 20
    assert not found
