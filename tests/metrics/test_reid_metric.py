"""ReIDMetric: the functions' numbers from shuffled batches, every protocol, and one process against two."""

import copy

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from vision_suite.errors import ConfigError, DataError
from vision_suite.metrics.reid import evaluate, evaluate_features, evaluate_single_shot, ranking, rerank, verification
from vision_suite.metrics.reid.expansion import Expansion
from vision_suite.metrics.reid_metric import ReIDMetric
from vision_suite.types import Role

PROTOCOLS = ("market", "multi_query", "cuhk03", "vehicleid")
QUERIES, GALLERY, SUPPORT = 40, 160, 30


def pictures():
    """Features (N, 16); identity, camera, role, index of 40 queries, 160 gallery entries (7 junk) and 30 supports."""
    r = np.random.RandomState(3)
    centre = r.randn(20, 16)
    identity = r.randint(0, 20, QUERIES + GALLERY + SUPPORT)
    camera = r.randint(0, 4, QUERIES + GALLERY + SUPPORT)
    feature = centre[identity] + 1.2 * r.randn(len(identity), 16)
    identity[QUERIES : QUERIES + GALLERY : 23] = -1
    role = np.repeat([Role.QUERY, Role.GALLERY, Role.SUPPORT], [QUERIES, GALLERY, SUPPORT])
    labels = [torch.from_numpy(each) for each in (identity, camera, role, np.arange(len(role)) + 5)]
    return torch.from_numpy(feature).float(), *labels


def feed(metric, rows, batch=17):
    columns = [column[rows] for column in pictures()]
    for start in range(0, len(rows), batch):
        metric.update(*(column[start : start + batch] for column in columns))
    return metric


def split():
    feature, identity, camera, role, _ = (column.numpy() for column in pictures())
    query, gallery = role == Role.QUERY, (role == Role.GALLERY) & (identity >= 0)
    return feature[query], feature[gallery], (identity[query], identity[gallery], camera[query], camera[gallery])


def shuffled(seed=0):
    return torch.randperm(QUERIES + GALLERY + SUPPORT, generator=torch.Generator().manual_seed(seed))


def test_equals_the_functions_with_branches_rerank_and_rates():
    metric = ReIDMetric({"sa": (0, 8), "glca": (8, 16)}, rerank=True, max_rank=20, fpr=(0.01, 0.1))
    found = {key: float(value) for key, value in feed(metric, shuffled()).compute().items()}
    query, gallery, labels = split()
    for prefix, columns in (("", slice(0, 16)), ("sa/", slice(0, 8)), ("glca/", slice(8, 16))):
        expected = evaluate_features(query[:, columns], gallery[:, columns], *labels)
        assert found[f"{prefix}mAP"] == pytest.approx(expected["mAP"], abs=1e-6)
        assert found[f"{prefix}mINP"] == pytest.approx(expected["mINP"], abs=1e-6)
        for k in (1, 5, 10, 20):
            assert found[f"{prefix}rank{k}"] == pytest.approx(expected["cmc"][k - 1], abs=1e-6)
        assert found[f"{prefix}num_valid"] == expected["num_valid"]
    assert found["rerank/mAP"] == pytest.approx(evaluate(rerank(query, gallery), *labels)["mAP"], abs=1e-6)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (query, gallery)]
    for key, value in verification(1 - unit[0] @ unit[1].T, *labels, fpr=(0.01, 0.1)).items():
        assert found[key] == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_order_and_duplicates_do_not_matter(protocol):
    one = feed(ReIDMetric(protocol=protocol, rerank=True), torch.arange(QUERIES + GALLERY + SUPPORT)).compute()
    padded = torch.cat([shuffled(1), shuffled(2)[:50]])
    metric = feed(ReIDMetric(protocol=protocol, rerank=True), padded, batch=64)
    two = metric.compute()
    assert {key: float(value) for key, value in one.items()} == {key: float(value) for key, value in two.items()}
    assert metric.report({}).protocol["duplicates_removed"] == 50


def test_multi_query_averages_the_supports():
    feature, identity, camera, role, _ = (column.numpy() for column in pictures())
    query, gallery, labels = split()
    unit = feature / np.linalg.norm(feature, axis=1, keepdims=True)
    pooled, alone = query.copy(), 0
    for q in range(QUERIES):
        support = (role == Role.SUPPORT) & (identity == identity[q]) & (camera == camera[q])
        if support.any():
            pooled[q] = unit[support].mean(axis=0)
        else:
            alone += 1
    metric = feed(ReIDMetric(protocol="multi_query"), shuffled())
    assert float(metric.compute()["mAP"]) == pytest.approx(evaluate_features(pooled, gallery, *labels)["mAP"], abs=1e-6)
    assert metric.report({}).protocol["queries_without_support"] == alone
    assert 0 < alone < QUERIES


def test_cuhk03_is_the_single_shot_function():
    query, gallery, labels = split()
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (query, gallery)]
    expected = evaluate_single_shot(1 - unit[0] @ unit[1].T, *labels, draws=7, seed=3)
    found = feed(ReIDMetric(protocol="cuhk03", draws=7, seed=3), shuffled()).compute()
    for k in (1, 5, 10, 20):
        assert float(found[f"rank{k}"]) == pytest.approx(expected["cmc"][k - 1], abs=1e-6)
    assert float(found["mAP"]) == pytest.approx(expected["mAP"], abs=1e-6)


def test_vehicleid_draws_one_gallery_picture_per_identity():
    feature, identity, _, role, index = (column.numpy() for column in pictures())
    metric = feed(ReIDMetric(protocol="vehicleid", draws=1, seed=4, top_k=20), shuffled())
    found = metric.compute()
    report = metric.report({})
    used = (role != Role.SUPPORT) & (identity >= 0)
    place = {number: row for row, number in enumerate(index.tolist())}
    gallery = np.unique(report.ranked_index)
    rows = np.array([place[number] for number in gallery.tolist()])
    assert sorted(identity[rows].tolist()) == sorted(set(identity[used].tolist()))
    assert set(report.query_index.tolist()) == set(index[used].tolist()) - set(gallery.tolist())
    queries = np.array([place[number] for number in report.query_index.tolist()])
    none = np.arange(len(queries)), len(queries) + np.arange(len(rows))
    expected = evaluate_features(feature[queries], feature[rows], identity[queries], identity[rows], *none)
    assert float(found["rank1"]) == pytest.approx(expected["cmc"][0], abs=1e-6)
    assert float(found["num_valid"]) == len(queries)
    ten = feed(ReIDMetric(protocol="vehicleid", draws=10, seed=4), shuffled()).compute()
    assert float(ten["rank1"]) != float(found["rank1"])


def test_report_lists_what_a_stable_sort_would():
    metric = feed(ReIDMetric(top_k=15), shuffled())
    report = metric.report({"dataset": "toy", "ap": "overridden"})
    feature, identity, camera, role, index = (column.numpy() for column in pictures())
    unit = feature / np.linalg.norm(feature, axis=1, keepdims=True)
    for row, number in enumerate(report.query_index.tolist()):
        q = number - 5
        distance = 1 - unit @ unit[q]
        kept = (role == Role.GALLERY) & (identity >= 0) & ~((identity == identity[q]) & (camera == camera[q]))
        order = np.argsort(np.where(kept, distance, np.inf), kind="stable")[:15]
        np.testing.assert_array_equal(report.ranked_index[row], index[order])
        np.testing.assert_array_equal(report.ranked_match[row], identity[order] == identity[q])
        np.testing.assert_allclose(report.ranked_distance[row], distance[order], atol=1e-5)
    assert report.ranked_distance.dtype == np.float32
    assert report.metrics["mAP"] == pytest.approx(float(metric.compute()["mAP"]), abs=1e-6)
    assert report.protocol["dataset"] == "toy"
    assert report.protocol["ap"] == "rect"
    assert report.protocol["rerank"] is None
    assert (report.protocol["num_query"], report.protocol["num_junk"]) == (QUERIES, 7)
    assert report.cmc[""].shape == (50,)


def test_lists_end_where_the_gallery_does():
    metric = ReIDMetric(top_k=5)
    labels = [torch.tensor(each) for each in ([1, 1, 1, 2], [0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 2, 3])]
    metric.update(torch.eye(4)[[0, 0, 1, 2]], *labels)
    report = metric.report({})
    assert report.ranked_index.tolist() == [[2, 3, -1, -1, -1]]
    assert report.ranked_match.tolist() == [[True, False, False, False, False]]
    assert np.isinf(report.ranked_distance[0, 2:]).all()


def test_reset_copy_and_low_precision():
    metric = feed(ReIDMetric(), shuffled())
    first = float(metric.compute()["mAP"])
    assert float(copy.deepcopy(metric).compute()["mAP"]) == first
    metric.reset()
    with pytest.raises(DataError, match="no picture was evaluated"):
        metric.compute()
    assert float(feed(metric, shuffled(9)).compute()["mAP"]) == first
    feature, *labels = pictures()
    low = ReIDMetric()
    low.update(feature.bfloat16(), *labels)
    assert abs(float(low.compute()["mAP"]) - first) < 0.02


def test_a_batch_may_be_overwritten_after_update():
    feature, *labels = pictures()
    metric = ReIDMetric()
    metric.update(feature, *labels)
    expected = float(metric.compute()["mAP"])
    other = ReIDMetric()
    other.update(feature, *labels)
    feature.zero_()
    assert float(other.compute()["mAP"]) == expected


def test_errors():
    for arguments, message in (
        ({"protocol": "veri"}, "protocol='veri'"),
        ({"ap": "mean"}, "ap='mean'"),
        ({"max_rank": 0}, "max_rank=0"),
        ({"branches": {"rerank": (0, 2)}}, "branch 'rerank'"),
        ({"branches": {"sa": (4, 2)}}, "branch 'sa'"),
        ({"k1": 0}, "k1=0"),
        ({"fpr": (2.0,)}, "fpr"),
    ):
        with pytest.raises(ConfigError, match=message):
            ReIDMetric(**arguments)
    feature, *labels = pictures()
    with pytest.raises(DataError, match="branch ends at column 17"):
        ReIDMetric({"sa": (0, 17)}).update(feature, *labels)
    with pytest.raises(DataError, match=r"give \(B, D\) and \(B,\)"):
        ReIDMetric().update(feature[:3], *labels)
    only_queries = ReIDMetric()
    only_queries.update(feature[:QUERIES], *(label[:QUERIES] for label in labels))
    with pytest.raises(DataError, match="there is no gallery picture among the 40 evaluated"):
        only_queries.compute()
    with pytest.raises(DataError, match="found no support pictures"):
        feed(ReIDMetric(protocol="multi_query"), torch.arange(QUERIES + GALLERY)).compute()
    twice = ReIDMetric()
    twice.update(feature, labels[0], labels[1], labels[2], torch.zeros_like(labels[3]))
    with pytest.raises(DataError, match="index 0 came with different"):
        twice.compute()
    broken = ReIDMetric()
    broken.update(feature.clone().index_fill_(0, torch.tensor([45]), torch.nan), *labels)
    with pytest.raises(DataError, match="NaN, infinity or overflows"):
        broken.compute()


def test_features_that_rank_nothing_are_told():
    feature, *labels = pictures()
    for broken, line in ((torch.ones_like(feature), "193 of 193 features are equal"), (0 * feature, "are all zero")):
        metric = ReIDMetric()
        metric.update(broken, *labels)
        assert any(line in each for each in metric.report({}).protocol["warnings"])
    assert "warnings" not in feed(ReIDMetric(), shuffled()).report({}).protocol


def build(protocol):
    metric = ReIDMetric({"sa": (0, 8)}, protocol=protocol, rerank=True, fpr=(0.05,), draws=3, expansion=Expansion(2))
    metric.thresholds = (0.3, 0.7)
    return metric


def shards(case):
    """Rows of each of two processes: uneven with padding duplicates, or everything on one."""
    order = shuffled(11)
    everything = (order, order[:0])
    return {"uneven": (torch.cat([order[:120], order[:9]]), torch.cat([order[120:], order[3:5]])), "one": everything}[
        case
    ]


def work(rank, folder):
    torch.set_num_threads(1)
    ranking.BLOCK_ELEMENTS = 7 * GALLERY
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    results = {}
    for case in ("uneven", "one"):
        for protocol in PROTOCOLS:
            metric = feed(build(protocol), shards(case)[rank])
            scores = {key: float(value) for key, value in metric.compute().items()}
            report = metric.report({})
            roc = {name: column.tolist() for name, column in report.roc.items()}
            results[case, protocol] = (scores, report.ranked_index.tolist(), report.average_precision.tolist(), roc)
            # The states are local again, so more can be fed and nothing counts twice.
            assert sum(len(piece) for piece in metric.features) == len(shards(case)[rank])
    # An error is raised by both processes: one that went on alone would wait for the other forever.
    broken = feed(ReIDMetric(), shards("uneven")[rank])
    if rank == 0:
        broken.features[0][3] = torch.nan
    for name, metric in (("nothing", ReIDMetric()), ("broken", broken)):
        try:
            metric.compute()
        except DataError as error:
            results[name] = str(error)
    torch.save(results, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.dist
@pytest.mark.long
def test_two_processes_give_the_numbers_of_one(tmp_path, monkeypatch):
    mp.spawn(work, args=(str(tmp_path),), nprocs=2)
    monkeypatch.setattr(ranking, "BLOCK_ELEMENTS", 7 * GALLERY)
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    for protocol in PROTOCOLS:
        metric = feed(build(protocol), shuffled(5))
        expected = {key: float(value) for key, value in metric.compute().items()}
        report = metric.report({})
        for result in found:
            for case in ("uneven", "one"):
                scores, ranked, ap, roc = result[case, protocol]
                assert roc == {name: column.tolist() for name, column in report.roc.items()}
                assert scores == expected
                assert ranked == report.ranked_index.tolist()
                np.testing.assert_array_equal(ap, report.average_precision)
    assert all("no picture was evaluated" in result["nothing"] for result in found)
    assert all("NaN, infinity or overflows" in result["broken"] for result in found)
