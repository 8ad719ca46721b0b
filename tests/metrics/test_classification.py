"""ClassificationMetric against scikit-learn, its ties and duplicates, and one process against two."""

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from sklearn.metrics import top_k_accuracy_score

from vision_suite.errors import DataError
from vision_suite.metrics.classification import ClassificationMetric

COUNT, CLASSES = 53, 9


def scores():
    """Fused probabilities, labels, indices, and the scores of two branches."""
    r = np.random.RandomState(0)
    label = r.randint(0, CLASSES, COUNT)
    sa, glca = (r.randn(COUNT, CLASSES) + 1.5 * np.eye(CLASSES)[label] for _ in range(2))
    fused = torch.from_numpy(sa + glca).softmax(1)
    branches = {"sa": torch.from_numpy(sa), "glca": torch.from_numpy(glca)}
    return fused, torch.from_numpy(label), torch.arange(COUNT) + 100, branches


def feed(metric, rows, batch=8):
    fused, label, index, branches = scores()
    for some in torch.as_tensor(rows, dtype=torch.int64).split(batch):
        metric.update(fused[some], label[some], index[some], {name: s[some] for name, s in branches.items()})
    return metric


def numbers(metric):
    return {key: float(value) for key, value in metric.compute().items()}


def test_equals_sklearn():
    fused, label, _, branches = scores()
    found = numbers(feed(ClassificationMetric(["sa", "glca"]), torch.randperm(COUNT)))
    assert set(found) == {f"{name}top{k}" for name in ("", "sa/", "glca/") for k in (1, 5)}
    for prefix, values in (("", fused), ("sa/", branches["sa"]), ("glca/", branches["glca"])):
        for k in (1, 5):
            expected = top_k_accuracy_score(label.numpy(), values.numpy(), k=k, labels=range(CLASSES))
            assert found[f"{prefix}top{k}"] == pytest.approx(expected, abs=1e-6)
    assert found["top1"] > found["sa/top1"]


def test_duplicates_count_once():
    rows = torch.cat([torch.randperm(COUNT), torch.arange(20)])
    metric = feed(ClassificationMetric(["sa"]), rows)
    assert numbers(metric) == numbers(feed(ClassificationMetric(["sa"]), range(COUNT)))
    assert metric.report({}).protocol["num_pictures"] == COUNT


def test_report_lists_each_picture():
    fused, label, index, _ = scores()
    metric = feed(ClassificationMetric(), torch.randperm(COUNT))
    report = metric.report({"dataset": "toy"})
    assert report.protocol["dataset"] == "toy"
    assert report.metrics == pytest.approx(numbers(metric))
    np.testing.assert_array_equal(report.index, index.numpy())
    np.testing.assert_array_equal(report.label, label.numpy())
    np.testing.assert_array_equal(report.prediction, fused.argmax(1).numpy())
    np.testing.assert_allclose(report.confidence, fused.amax(1).numpy(), atol=1e-7)


def test_equal_scores_rank_by_class_number():
    metric = ClassificationMetric()
    metric.update(torch.full((2, 7), 1 / 7), torch.tensor([0, 5]), torch.arange(2), {})
    assert numbers(metric) == {"top1": 0.5, "top5": 0.5}  # class 5 comes sixth


def test_few_classes():
    metric = ClassificationMetric()
    metric.update(torch.eye(3)[[0, 1, 1]], torch.tensor([0, 1, 2]), torch.arange(3), {})
    assert numbers(metric) == pytest.approx({"top1": 2 / 3, "top5": 1.0})


def test_scores_that_are_not_finite_count_as_mistaken_and_are_told():
    fused, label, index, branches = scores()
    whole = feed(ClassificationMetric(["sa"]), range(COUNT)).report({})
    assert "warnings" not in whole.protocol
    right = np.flatnonzero(whole.prediction == whole.label)[:3]
    for row, value in zip(right.tolist(), (float("nan"), float("inf"), -float("inf")), strict=True):
        fused[row, (label[row] + 1) % CLASSES] = value
    fused[right[0]] = float("nan")
    branches["sa"][right[1], 0] = float("nan")
    metric = ClassificationMetric(["sa"])
    metric.update(fused, label, index, branches)
    report = metric.report({})
    assert report.protocol["warnings"] == [
        f"scores of 3 of {COUNT} pictures are not finite: they count as mistaken",
        f"scores of the branch sa of 1 of {COUNT} pictures are not finite: they count as mistaken",
    ]
    assert report.prediction[right].tolist() == [-1, -1, -1]
    assert report.metrics["top1"] == pytest.approx(whole.metrics["top1"] - 3 / COUNT)
    assert report.metrics["top5"] == pytest.approx(whole.metrics["top5"] - 3 / COUNT)


def test_one_class_for_all_is_told():
    fused, label, index, branches = scores()
    branches["sa"][:, 4] = 100
    metric = ClassificationMetric(["sa"])
    metric.update(fused, label, index, branches)
    (line,) = metric.report({}).protocol["warnings"]
    assert line.startswith(f"all {COUNT} pictures are predicted as class 4 of the branch sa")
    for rows, truth, told in ((COUNT, label, True), (COUNT, label * 0, False), (9, label, False)):
        metric = ClassificationMetric()
        metric.update(torch.zeros(rows, CLASSES), truth[:rows], index[:rows], {})
        assert ("warnings" in metric.report({}).protocol) is told


def test_reset_and_misuse():
    metric = feed(ClassificationMetric(), range(COUNT))
    metric.compute()
    metric.reset()
    with pytest.raises(DataError, match="the evaluation split is empty"):
        metric.report({})
    with pytest.raises(DataError, match="labels"):
        metric.update(torch.zeros(2, 3), torch.zeros(3, dtype=torch.int64), torch.arange(2), {})
    feed(metric, range(5))
    assert metric.report({}).protocol["num_pictures"] == 5


def work(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    found = {}
    # Uneven shards with a duplicate, and one process without a picture.
    for case, shards in {"uneven": (range(30), range(29, COUNT)), "one": (range(COUNT), range(0))}.items():
        metric = feed(ClassificationMetric(["sa", "glca"]), list(shards[rank]))
        report = metric.report({})
        found[case] = numbers(metric), report.index.tolist(), report.prediction.tolist(), report.metrics
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.dist
def test_two_processes_give_the_numbers_and_the_report_of_one(tmp_path):
    # Forked, not spawned: the parent runs no threads of its own, and imports are most of this test.
    mp.start_processes(work, args=(str(tmp_path),), nprocs=2, start_method="fork")
    metric = feed(ClassificationMetric(["sa", "glca"]), range(COUNT))
    report = metric.report({})
    for rank in (0, 1):
        for case, found in torch.load(tmp_path / f"{rank}.pt", weights_only=True).items():
            assert found[0] == numbers(metric), case
            assert found[1] == report.index.tolist(), case
            assert found[2] == report.prediction.tolist(), case
            assert found[3] == report.metrics, case
