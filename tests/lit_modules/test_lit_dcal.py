"""LitDCAL through a real trainer: every command for both tasks, metrics, checkpoints, precision, errors."""

import math
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from lit_training import NETWORK, market_data, module, trainer
from synthetic import write_market
from synthetic_sets import write_cub

from vision_suite.callbacks.ema import EMA
from vision_suite.datasets.fgvc.data import FGVCData
from vision_suite.errors import ConfigError, DataError
from vision_suite.lit_modules.base import LitBase, plain_containers
from vision_suite.lit_modules.dcal import LitDCAL
from vision_suite.metrics.reid import evaluate
from vision_suite.optim import OptimConfig
from vision_suite.types import ClassificationReport, RetrievalReport, Role


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_market(tmp_path_factory.mktemp("market"), train_ids=6, test_ids=3, val_ids=3)


@pytest.fixture(scope="module")
def birds(tmp_path_factory):
    return write_cub(tmp_path_factory.mktemp("cub"), classes=3, train=6, test=4, size=(36, 20))


def bird_data(birds, **settings):
    return FGVCData(
        "cub_folder", str(birds), image_size=(32, 16), resize=(36, 20), batch_size=6, eval_batch_size=5,
        cache="memory", **{"validation": "test", **settings},
    )  # fmt: skip


@pytest.fixture(scope="module")
def reid(root, tmp_path_factory):
    """A module trained for two epochs, its data, its trainer, and the metrics the fit logged."""
    net, data = module(), market_data(root)
    run = trainer(tmp_path_factory.mktemp("reid"), max_epochs=2)
    run.fit(net, datamodule=data)
    return net, data, run, {key: float(value) for key, value in run.callback_metrics.items()}


def test_fit_logs_every_branch(reid):
    net, _, run, logged = reid
    branches = ("sa", "glca", "pwca")
    assert {f"train/loss_{name}" for name in branches} | {"train/loss"} <= set(logged)
    total = sum(logged[f"train/weight_{b}"] * logged[f"train/loss_{b}"] for b in branches)
    total += sum(0.5 * logged[f"train/log_variance_{b}"] for b in branches)
    assert logged["train/loss"] == pytest.approx(total, abs=1e-5)
    assert {f"val/{b}{m}" for b in ("", "sa/", "glca/") for m in ("mAP", "mINP", "rank1", "num_valid")} <= set(logged)
    assert run.global_step == 8
    assert all(abs(float(w)) > 1e-4 for w in net.loss.weighting.log_variances().values())  # they are optimised


def test_test_scores_equal_plain_functions_on_predicted_features(reid):
    net, data, run, _ = reid
    (logged,) = run.test(net, datamodule=data, verbose=False)
    report = net.report
    assert isinstance(report, RetrievalReport)
    batches = run.predict(net, datamodule=data)
    together = {key: torch.cat([batch[key] for batch in batches]) for key in batches[0]}
    assert set(together) == {"index", "role", "feature", "rollout"}
    assert together["feature"].shape == (9 + 18, 48)
    assert {value.dtype for key, value in together.items() if value.is_floating_point()} == {torch.float32}
    torch.testing.assert_close(together["feature"].norm(dim=1), torch.ones(27))
    assert together["rollout"].shape == (27, 4, 2)
    assert together["index"].tolist() == list(range(27))
    truth = [data.record("test", i)[1:] for i in range(27)]
    ids, cams = (np.array(column) for column in zip(*truth, strict=True))
    query = (together["role"] == Role.QUERY).numpy()
    feature = together["feature"].double().numpy()
    for prefix, columns in (("", slice(0, 48)), ("sa/", slice(0, 24)), ("glca/", slice(24, 48))):
        part = feature[:, columns] / np.linalg.norm(feature[:, columns], axis=1, keepdims=True)
        expected = evaluate(1 - part[query] @ part[~query].T, ids[query], ids[~query], cams[query], cams[~query])
        assert logged[f"test/{prefix}mAP"] == pytest.approx(expected["mAP"], abs=1e-6)
        assert logged[f"test/{prefix}rank1"] == pytest.approx(expected["cmc"][0], abs=1e-6)
        assert report.metrics[f"{prefix}mAP"] == pytest.approx(expected["mAP"], abs=1e-6)
    assert report.protocol["stage"] == "test"
    assert report.protocol["glca_readout"] == "mean"
    assert report.protocol["dataset"] == "market_folder"
    assert report.protocol["ap"] == "rect"


def test_triplets_compare_features_before_or_after_the_neck(root, monkeypatch):
    seen = {}
    batch = {"image": torch.randn(8, 3, 32, 16), "identity": torch.arange(4).repeat_interleave(2)}
    for where in ("before", "after"):
        net = module(triplet={"feature": where}, drop_path=0.0)
        monkeypatch.setattr(net, "log_losses", lambda *_: None)
        monkeypatch.setattr(net, "log_dict", lambda *_, **__: None)
        net.loss.register_forward_pre_hook(lambda _, args, where=where: seen.update({where: args[0]}))
        net.training_step(batch, 0)
    for name in ("sa", "glca", "pwca"):
        centred = seen["after"][name]
        torch.testing.assert_close(centred.mean(0), torch.zeros(centred.shape[1]), atol=1e-5, rtol=0)
        assert seen["before"][name].mean(0).abs().max() > 1e-3


def test_re_ranking_is_scored_in_testing_only(root, tmp_path):
    net, data = module(retrieval={"rerank": True, "rerank_k1": 4, "rerank_k2": 2}), market_data(root)
    run = trainer(tmp_path)
    assert "val/rerank/mAP" not in run.validate(net, datamodule=data, verbose=False)[0]
    assert "test/rerank/mAP" in run.test(net, datamodule=data, verbose=False)[0]
    assert net.report.protocol["rerank"]["k1"] == 4


def test_fine_grained_task(birds, tmp_path):
    net, data = module(3, task="fgvc"), bird_data(birds)
    run = trainer(tmp_path, max_epochs=1)
    run.fit(net, datamodule=data)
    logged = set(run.callback_metrics)
    assert {"train/loss_pwca", "val/top1", "val/sa/top1", "val/glca/top5"} <= logged
    (tested,) = run.test(net, datamodule=data, verbose=False)
    assert isinstance(net.report, ClassificationReport)
    batches = run.predict(net, datamodule=data)
    probability = torch.cat([batch["probability"] for batch in batches])
    torch.testing.assert_close(probability.sum(1), torch.ones(12))
    assert batches[0]["feature"].shape == (5, 48)
    labels = torch.tensor([data.record("test", i)[1] for i in range(12)])
    assert tested["test/top1"] == pytest.approx((probability.argmax(1) == labels).double().mean().item())
    np.testing.assert_array_equal(net.report.prediction, probability.argmax(1).numpy())
    assert net.report.protocol["test_used_for_validation"] is True


@pytest.mark.parametrize(
    "settings",
    [
        {"glca": {"enabled": False}, "pwca": {"enabled": False}},
        {"glca": {"enabled": False}},
        {"pwca": {"enabled": False}, "glca": {"readout": "cls"}},
        {"pwca": {"partner": "inter", "head": "own"}, "loss": {"weighting": "equal"}},
        {"side": {"information": "camera"}, "num_cameras": 3},
        {
            "triplet": {"margin": 0.3, "normalize": True},
            "loss": {"label_smoothing": 0.1},
            "head": {"classifier": "cosine"},
        },
        {"triplet": {"feature": "after"}, "fusion": {"neck_feature": "after"}, "pwca": {"share": 0.5}},
    ],
)
def test_variants_take_a_step_and_are_scored(settings, root, tmp_path):
    net, data = module(**settings), market_data(root)
    run = trainer(tmp_path, max_epochs=1, limit_train_batches=2)
    run.fit(net, datamodule=data)
    logged = set(run.callback_metrics)
    glca, pwca = (settings.get(name, {}).get("enabled", True) for name in ("glca", "pwca"))
    assert ("train/loss_pwca" in logged) is pwca
    assert ("train/loss_glca" in logged) is ("val/glca/mAP" in logged) is glca
    assert ("train/weight_sa" in logged) is ("weighting" not in settings.get("loss", {}))
    assert run.predict(net, datamodule=data)[0]["feature"].shape[1] == (48 if glca else 24)


def test_training_lowers_the_loss(root, tmp_path):
    losses = []

    class Keep(pl.Callback):
        def on_train_batch_end(self, run, *args):
            losses.append(float(run.callback_metrics["train/loss"]))

    pl.seed_everything(0, verbose=False)
    net = module(optim=OptimConfig(lr=3e-3, warmup=4), drop_path=0.0)
    trainer(tmp_path, max_epochs=10, callbacks=[Keep()], limit_val_batches=0).fit(net, datamodule=market_data(root))
    assert np.mean(losses[-4:]) < 0.9 * np.mean(losses[:4])


def test_checkpoint_is_plain_and_loads_without_trust(reid, tmp_path):
    net, data, run, _ = reid
    run.save_checkpoint(tmp_path / "a.ckpt")
    file = torch.load(tmp_path / "a.ckpt", weights_only=True)
    settings = file["hyper_parameters"]
    assert settings["optim"]["lr"] == 2e-3
    assert settings["num_classes"] == 6
    assert settings["backbone_args"]["embed_dim"] == 24
    assert settings["image_size"] == [32, 16]
    loaded = LitDCAL.load_from_checkpoint(tmp_path / "a.ckpt")
    assert loaded.optim == OptimConfig(lr=2e-3)
    image = torch.randn(2, 3, 32, 16)
    expected = net.eval()(image)
    for key, value in loaded.eval()(image).items():
        assert torch.equal(value, expected[key])
    (again,) = trainer(tmp_path).test(loaded, datamodule=data, verbose=False)
    (first,) = run.test(net, datamodule=data, verbose=False)
    assert again == first


def test_plain_containers():
    value = {"a": OptimConfig(lr=1.0), "b": (1, Path("x/y")), "c": None}
    found = plain_containers(value)
    assert found["a"]["lr"] == 1.0
    assert found["a"]["betas"] == [0.9, 0.999]
    assert found["b"] == [1, "x/y"]
    assert found["c"] is None


def test_bf16(root, tmp_path):
    net, data = module(), market_data(root)
    run = trainer(tmp_path, max_epochs=1, precision="bf16-mixed")
    run.fit(net, datamodule=data)
    assert math.isfinite(run.callback_metrics["train/loss"])
    assert {p.dtype for p in net.parameters()} == {torch.float32}
    assert run.predict(net, datamodule=data)[0]["feature"].dtype == torch.float32


def test_compiling_keeps_the_names_in_checkpoints(root, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compiled.append(type(self).__name__))
    net = module(compile=True)
    assert compiled == ["DCAL"]
    assert net.state_dict().keys() == module().state_dict().keys()


def test_a_trial_run_is_not_stopped_by_a_batch_of_queries_alone(root, tmp_path):
    data = market_data(root, eval_batch_size=4)  # the first batches hold no gallery picture
    trainer(tmp_path, max_epochs=1, num_sanity_val_steps=1, limit_train_batches=1).fit(module(), datamodule=data)
    with pytest.warns(UserWarning, match="fast_dev_run: val is not scored"):
        trainer(tmp_path, fast_dev_run=True).fit(module(), datamodule=market_data(root, eval_batch_size=4))
    with pytest.raises(DataError, match="gallery"):
        trainer(tmp_path, limit_test_batches=1).test(module(), datamodule=data, verbose=False)


def rates(net, data, folder, **settings):
    seen = []

    class Keep(pl.Callback):
        def on_train_batch_start(self, run, *args):
            seen.append(run.optimizers[0].param_groups[0]["lr"])

    trainer(folder, callbacks=[Keep()], limit_val_batches=0, **settings).fit(net, datamodule=data)
    return seen


def test_schedule_moves_by_step_or_by_epoch(root, tmp_path):
    by_step = OptimConfig(lr=1.0, warmup=4, min_lr=0.1, name="sgd")
    expected = [0.25, 0.5, 0.75] + [0.1 + 0.45 * (1 + math.cos(math.pi * t / 8)) for t in range(4, 9)]
    assert rates(module(optim=by_step), market_data(root), tmp_path, max_epochs=2) == pytest.approx(expected)
    by_epoch = OptimConfig(lr=1.0, interval="epoch", name="sgd")
    found = rates(module(optim=by_epoch), market_data(root), tmp_path, max_epochs=2, limit_train_batches=2)
    assert found == pytest.approx([0.5, 0.5, 0.0, 0.0])


def test_rate_follows_the_global_batch(root, tmp_path):
    config = OptimConfig(lr=5e-4, lr_reference_batch=512, schedule="constant")
    found = rates(module(optim=config), market_data(root), tmp_path, max_epochs=1, accumulate_grad_batches=2)
    assert found[0] == pytest.approx(5e-4 * 16 / 512)


class Bare(LitBase):
    """A module that trains on a loader without a datamodule."""

    def __init__(self, optim):
        super().__init__(optim)
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch, batch_idx):
        return self.layer(batch).square().mean()


def test_lengths_and_batches_that_are_not_known(tmp_path):
    loader = torch.utils.data.DataLoader(torch.ones(4, 1))
    with pytest.raises(ConfigError, match="lr_reference_batch needs a datamodule"):
        trainer(tmp_path, max_epochs=1).fit(Bare(OptimConfig(lr_reference_batch=8)), loader)
    with pytest.raises(ConfigError, match="interval='epoch' needs the length of the run: give"):
        trainer(tmp_path, max_steps=2).fit(Bare(OptimConfig(interval="epoch")), loader)
    trainer(tmp_path, max_steps=2).fit(Bare(OptimConfig()), loader)
    trainer(tmp_path, max_steps=2, max_epochs=-1).fit(Bare(OptimConfig(interval="epoch", schedule="constant")), loader)


def test_each_batch_draws_its_own_numbers_whatever_came_before(tmp_path):
    class Draw(Bare):
        def training_step(self, batch, batch_idx):
            drawn.append(torch.rand(()).item())
            return super().training_step(batch, batch_idx)

    runs = []
    for state in (1, 2):
        drawn = []
        pl.seed_everything(9, verbose=False)
        torch.manual_seed(state)
        loader = torch.utils.data.DataLoader(torch.ones(3, 1))
        trainer(tmp_path, max_epochs=2).fit(Draw(OptimConfig(schedule="constant")), loader)
        runs.append(drawn)
    assert runs[0] == runs[1]
    assert len(set(runs[0])) == 6


def test_unknown_network_setting_is_an_error():
    with pytest.raises(TypeError, match="rollout_tpo"):
        LitDCAL(3, **NETWORK, rollout_tpo=1)


@pytest.mark.long
def test_a_compiled_network_trains_and_evaluates(root, tmp_path, monkeypatch):
    torch._dynamo.reset()
    # The same graphs, without minutes of C++ compilation.
    compile_module = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compile_module(self, backend="eager"))
    net = module(compile=True, backbone_args={**NETWORK["backbone_args"], "depth": 1})
    run = trainer(tmp_path, max_epochs=1, limit_train_batches=2, callbacks=[EMA(decay=0.9)])
    run.fit(net, datamodule=market_data(root))
    assert math.isfinite(run.callback_metrics["train/loss"])
    run.save_checkpoint(tmp_path / "a.ckpt")
    loaded = LitDCAL.load_from_checkpoint(tmp_path / "a.ckpt", compile=False).eval()
    image = torch.randn(16, 3, 32, 16)
    torch.testing.assert_close(net.eval().model(image).sa.feature, loaded.model(image).sa.feature, atol=1e-4, rtol=1e-4)
