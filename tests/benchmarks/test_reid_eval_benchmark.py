"""The evaluation benchmark compares like with like: its dense variants give the suite's numbers."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from vision_suite.metrics.reid import evaluate_features, rerank

SOURCE = Path(__file__).resolve().parents[2] / "benchmarks" / "reid_eval.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("reid_eval_benchmark", SOURCE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_dense_evaluation_is_the_suites(script):
    query, gallery, labels = script.make_features(40, 300, 32)
    mean_ap, rank1 = script.dense_evaluate(query, gallery, labels)
    scores = evaluate_features(query, gallery, *labels)
    assert mean_ap == pytest.approx(scores["mAP"], abs=1e-9)
    assert rank1 == scores["cmc"][0]


def test_dense_reranking_is_the_suites(script):
    query, gallery, _ = script.make_features(40, 300, 32)
    np.testing.assert_allclose(script.dense_rerank(query, gallery), rerank(query, gallery), atol=5e-6)


def test_measurement_and_page(script):
    sizes = {"evaluation": (20, 150, 8), "reranking": (20, 150, 8)}
    records = []
    for experiment, variants in script.EXPERIMENTS.items():
        for variant in variants:
            found = script.measure(experiment, variant, sizes[experiment])
            common = {"experiment": experiment, "variant": variant, "gallery_size": 150, "queries": 20, "dim": 8}
            records += [{**common, "metric": metric, "value": value} for metric, value in found.items()]
    accuracy = {r["value"] for r in records if r["metric"] == "mAP" and r["experiment"] == "evaluation"}
    assert max(accuracy) - min(accuracy) < 1e-4
    page = script.page(records, threads=1)
    assert page.count("| 150 | 20 | 8 |") == 6
    assert "nan" not in page
