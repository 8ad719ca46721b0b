"""LitDCAL's thresholds from validation to test, flip averaging, and settings checked before the pass."""

import numpy as np
import pytest
import torch
from lit_training import market_data, module, trainer
from synthetic import write_market

from vision_suite.callbacks.report.reid import decision_note, roc_picture
from vision_suite.errors import CheckpointError, ConfigError
from vision_suite.lit_modules.dcal import LitDCAL
from vision_suite.metrics.reid import evaluate
from vision_suite.metrics.reid.decisions import KEY
from vision_suite.types import Role


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_market(tmp_path_factory.mktemp("market"), train_ids=6, test_ids=4, val_ids=5)


def labels(data, stage):
    """Identity, camera and role of each picture of a stage."""
    count = data.size(stage)
    identity, camera = np.array([data.record(stage, index)[1:] for index in range(count)]).T
    return identity, camera, np.array([int(record.role) for record in data._records[stage]])


def features(net, data, flip=False):
    """Unit features of the test pictures, by hand."""
    images = torch.cat([batch["image"] for batch in data.test_dataloader()])
    net.eval()
    with torch.no_grad():
        found = net.model.embeddings(net.model(images)).double().numpy()
        if flip:
            found = (found + net.model.embeddings(net.model(images.flip(3))).double().numpy()) / 2
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def pairs(feature, identity, camera, role):
    """Distance and match of the pairs that the protocol keeps."""
    query, gallery = role == Role.QUERY, role == Role.GALLERY
    distance = 1 - feature[query] @ feature[gallery].T
    match = identity[query][:, None] == identity[gallery]
    kept = ~(match & (camera[query][:, None] == camera[gallery])) & (identity[gallery] != -1)
    return distance[kept], match[kept]


def test_a_threshold_goes_from_validation_through_the_checkpoint_to_the_test(root, tmp_path):
    net, data = module(fpr=0.1), market_data(root)
    run = trainer(tmp_path)
    run.strategy.connect(net)
    run.validate(net, datamodule=data, verbose=False)
    point = net.report.operating_point
    assert net.operating_point == point
    assert net.report.protocol["decision"]["fpr"] == 0.1
    assert "FPR 0.1 in validation: same up to" in decision_note(net.report)
    run.save_checkpoint(tmp_path / "a.ckpt")
    loaded = LitDCAL.load_from_checkpoint(tmp_path / "a.ckpt")
    assert loaded.operating_point == point
    run = trainer(tmp_path)
    run.test(loaded, datamodule=data, verbose=False)
    report = loaded.report
    distance, match = pairs(features(loaded, data), *labels(data, "test"))
    accept = report.protocol["decision"]["accept"]
    assert accept == point[KEY]["points"]["accept"][point[KEY]["points"]["fpr"].index(0.1)]
    assert report.metrics["decision/fpr"] == pytest.approx((distance <= accept)[~match].mean())
    assert report.metrics["decision/tpr"] == pytest.approx((distance <= accept)[match].mean())
    assert report.operating_point == {}
    assert loaded.operating_point == point  # of validation, whatever is tested
    assert roc_picture(report, "a")["roc"].size == (1120, 768)
    smaller = LitDCAL.load_from_checkpoint(tmp_path / "a.ckpt", fpr=1e-6)
    run.test(smaller, datamodule=data, verbose=False)  # whose rate the validation cannot tell: scores all the same
    assert "tell rates from" in decision_note(smaller.report)
    assert smaller.report.metrics["mAP"] == report.metrics["mAP"]
    other = LitDCAL.load_from_checkpoint(tmp_path / "a.ckpt", fusion={"glca_scale": 2.0})
    run.test(other, datamodule=data, verbose=False)
    assert other.report.protocol["decision"] is None
    assert "glca_scale" in decision_note(other.report)
    other.operating_point = {KEY: 3}
    with pytest.raises(CheckpointError, match="is damaged"):
        run.test(other, datamodule=data, verbose=False)


def test_fitting_stores_the_point_of_its_own_step(root, tmp_path):
    net = module(fpr=0.1)
    run = trainer(tmp_path, max_epochs=1, limit_train_batches=2)
    with pytest.warns(UserWarning, match=r"fpr=0.1 of \d+ negative pairs is .* pairs, fewer than 10") as caught:
        run.fit(net, datamodule=market_data(root, validation="holdout", val_fraction=0.34))
    assert sum("negative pairs" in str(each.message) for each in caught) == 1
    run.save_checkpoint(tmp_path / "a.ckpt")
    saved = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert saved["operating_point"][KEY]["step"] == saved["global_step"] == 2
    without = trainer(tmp_path, max_epochs=1, limit_train_batches=1)
    without.fit(module(), datamodule=market_data(root, validation="none"))
    without.save_checkpoint(tmp_path / "b.ckpt")
    assert "operating_point" not in torch.load(tmp_path / "b.ckpt", weights_only=True)


def test_flip_averages_before_normalisation_in_test_and_predict(root, tmp_path):
    data = market_data(root)
    net = module(retrieval={"flip": True})
    run = trainer(tmp_path)
    run.test(net, datamodule=data, verbose=False)
    assert net.report.protocol["flip"] is True
    feature = features(net, data, flip=True)
    identity, camera, role = labels(data, "test")
    query, gallery = role == Role.QUERY, role == Role.GALLERY
    expected = evaluate(
        1 - feature[query] @ feature[gallery].T, identity[query], identity[gallery], camera[query], camera[gallery]
    )
    assert net.report.metrics["mAP"] == pytest.approx(expected["mAP"], abs=1e-6)
    predicted = torch.cat([batch["feature"] for batch in run.predict(net, datamodule=data)])
    np.testing.assert_allclose(predicted.numpy(), feature, atol=1e-5)
    assert np.abs(features(net, data) - feature).max() > 1e-3


def test_settings_are_checked_against_the_numbers_of_pictures_before_the_pass(root, tmp_path, monkeypatch):
    data, run = market_data(root), trainer(tmp_path, max_epochs=1)
    monkeypatch.setattr(LitDCAL, "_collect", lambda *_: pytest.fail("a batch was run"))
    for settings, line in (
        ({"rerank": True, "rerank_k1": 36}, "re-ranking with k1=36, k2=6 needs 37 pictures .* there are 36"),
        ({"rerank": True, "rerank_k2": 37}, "re-ranking with k1=20, k2=37 needs 37 pictures"),
        ({"expansion_k": 25}, "query expansion with k=25 and 24 gallery pictures"),
    ):
        with pytest.raises(ConfigError, match=line):
            run.test(module(retrieval=settings), datamodule=data, verbose=False)
    assert data.retrieval_counts("test") == {"query": 12, "gallery": 24, "identities": 4}
    with pytest.raises(ConfigError, match="query expansion with k=31 and 30 gallery pictures"):
        run.fit(module(retrieval={"expansion_k": 31}), datamodule=data)
    for settings, line in (
        ({"expansion_alpha": -1}, "alpha=-1"),
        ({"rerank_lambda": 2}, "lambda_=2"),
        ({"draws": 0}, "draws=0"),
    ):
        with pytest.raises(ConfigError, match=line):
            module(retrieval=settings)
    with pytest.raises(ConfigError, match="fpr"):
        module(fpr=0.0)


def test_predictions_that_compare_other_features_get_no_decision():
    assert module().search.obstacle == ""
    assert "multi_query" in module(retrieval={"protocol": "multi_query"}).search.obstacle
    assert "camera" in module(side={"information": "camera"}, num_cameras=3).search.obstacle
    assert module(3, task="fgvc").search is None
