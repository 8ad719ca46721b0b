"""EMA: its arithmetic, what validation and checkpoints see, exact resume, refusals."""

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.strategies import FSDPStrategy
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from vision_suite.callbacks.ema import EMA
from vision_suite.errors import CheckpointError, ConfigError


class Toy(pl.LightningModule):
    """A network with a buffer and a frozen layer, and a loss weight outside it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
        self.model[2].requires_grad_(False)
        self.weight = nn.Parameter(torch.ones(()))
        self.seen = []

    def training_step(self, batch, batch_idx):
        return (self.weight * self.model(batch[0])).square().mean() + self.weight.square()

    def validation_step(self, batch, batch_idx):
        self.seen.append(snapshot(self))

    test_step = validation_step

    def configure_optimizers(self):
        return torch.optim.SGD((p for p in self.parameters() if p.requires_grad), lr=0.3, momentum=0.9)


class Recorder(Callback):
    """Keeps the weights after each step; as the first callback, it comes before EMA."""

    def __init__(self):
        self.weights = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.weights.append((trainer.global_step, snapshot(pl_module)))


def snapshot(module):
    return {name: value.detach().clone() for name, value in module.model.state_dict().items()}


def saving(folder, every):
    return ModelCheckpoint(folder, "{step}", every_n_train_steps=every, save_top_k=-1)


def loader():
    return DataLoader(TensorDataset(torch.randn(24, 2, generator=torch.Generator().manual_seed(1))), batch_size=4)


def run(folder, module, *callbacks, resume=None, epochs=2, **settings):
    trainer = pl.Trainer(
        accelerator="cpu", devices=1, max_epochs=epochs, logger=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=1, default_root_dir=folder, callbacks=list(callbacks),
        **{"enable_checkpointing": any(isinstance(c, ModelCheckpoint) for c in callbacks), **settings},
    )  # fmt: skip
    trainer.fit(module, loader(), DataLoader(TensorDataset(torch.randn(2, 2)), batch_size=2), ckpt_path=resume)
    return trainer


def expected_average(start, recorded, decay, warmup=True):
    """The recurrence in plain float64, one update per optimiser step."""
    average, updates, last = {k: v.double() for k, v in start.items()}, 0, 0
    for step, weights in recorded:
        if step == last:
            continue
        d = min(decay, (1 + updates) / (10 + updates)) if warmup else decay
        average = {k: d * average[k] + (1 - d) * weights[k].double() for k in average}
        updates, last = updates + 1, step
    return average


TRAINED = ("0.weight", "0.bias", "1.weight", "1.bias")


@pytest.mark.parametrize(
    ("settings", "accumulate"),
    [({"decay": 0.5}, 1), ({"decay": 0.9, "warmup": False}, 1), ({"decay": 0.999}, 2), ({"device": "cpu"}, 1)],
)
def test_average_follows_the_recurrence(settings, accumulate, tmp_path):
    module, recorder, ema = Toy(), Recorder(), EMA(**settings)
    start = snapshot(module)
    run(tmp_path, module, recorder, ema, accumulate_grad_batches=accumulate)
    wanted = expected_average(start, recorder.weights, ema.decay, ema.warmup)
    last = recorder.weights[-1][1]
    for name in TRAINED:  # training over, the average is in the network
        torch.testing.assert_close(module.model.state_dict()[name].double(), wanted[name], atol=1e-6, rtol=0)
    assert (last["0.weight"] - wanted["0.weight"]).abs().max() > 1e-4
    for name in ("1.running_mean", "1.num_batches_tracked", "2.weight"):  # neither averaged nor touched
        assert torch.equal(module.model.state_dict()[name], last[name])
    assert ema.updates == 12 // accumulate


def test_warmup_decays():
    ema = EMA(decay=0.9)
    assert [round(ema.decay_at(t), 4) for t in (0, 1, 10, 1000)] == [0.1, 0.1818, 0.55, 0.9]
    assert EMA(decay=0.9, warmup=False).decay_at(0) == 0.9


def test_validation_sees_the_average_and_training_goes_on_without_it(tmp_path):
    with_ema, plain, one, two = Toy(), Toy(), Recorder(), Recorder()
    start = snapshot(plain)
    run(tmp_path, with_ema, one, EMA(decay=0.8))
    run(tmp_path, plain, two)
    for (_, mine), (_, other) in zip(one.weights, two.weights, strict=True):
        assert all(torch.equal(mine[name], other[name]) for name in mine)
    sanity, first, second = with_ema.seen
    assert all(torch.equal(sanity[name], start[name]) for name in TRAINED)
    for seen, steps in ((first, 6), (second, 12)):
        wanted = expected_average(start, one.weights[:steps], 0.8)
        for name in TRAINED:
            torch.testing.assert_close(seen[name].double(), wanted[name], atol=1e-6, rtol=0)
        assert torch.equal(seen["1.running_mean"], one.weights[steps - 1][1]["1.running_mean"])


def test_evaluation_after_the_fit(tmp_path):
    module = Toy()
    trainer = run(tmp_path, module, EMA(decay=0.8), ModelCheckpoint(tmp_path, save_top_k=-1, filename="{step}"))
    final = snapshot(module)
    module.seen.clear()
    trainer.validate(module, DataLoader(TensorDataset(torch.randn(2, 2)), batch_size=2), verbose=False)
    trainer.test(module, DataLoader(TensorDataset(torch.randn(2, 2)), batch_size=2), verbose=False)
    assert all(torch.equal(seen[name], final[name]) for seen in module.seen for name in TRAINED)
    # An earlier checkpoint brings its own average, and the last one doesn't overwrite it.
    early = torch.load(tmp_path / "step=6.ckpt", weights_only=True)
    module.seen.clear()
    trainer.test(
        module, DataLoader(TensorDataset(torch.randn(2, 2)), batch_size=2), ckpt_path=tmp_path / "step=6.ckpt",
        verbose=False,
    )  # fmt: skip
    assert all(torch.equal(module.seen[0][name], early["state_dict"][f"model.{name}"]) for name in TRAINED)
    assert not torch.equal(module.seen[0]["0.weight"], final["0.weight"])


def test_checkpoint_holds_average_and_training_weights(tmp_path):
    module, recorder = Toy(), Recorder()
    start = snapshot(module)
    run(tmp_path, module, recorder, EMA(decay=0.8), saving(tmp_path, 5))
    file = torch.load(tmp_path / "step=10.ckpt", weights_only=True)
    wanted = expected_average(start, recorder.weights[:10], 0.8)
    assert set(file["ema"]["weights"]) == set(TRAINED)
    for name in TRAINED:
        torch.testing.assert_close(file["state_dict"][f"model.{name}"].double(), wanted[name], atol=1e-6, rtol=0)
        assert torch.equal(file["ema"]["weights"][name], recorder.weights[9][1][name])
    assert file["ema"]["average"] == {}
    loaded = Toy.load_from_checkpoint(tmp_path / "step=10.ckpt")
    assert torch.equal(loaded.model[0].weight, file["state_dict"]["model.0.weight"])


@pytest.mark.parametrize("step", [6, 12])
def test_resume_is_exact(step, tmp_path):
    whole, module = Toy(), Toy()
    one = EMA(decay=0.8)
    run(tmp_path / "a", whole, one, epochs=3)
    run(tmp_path / "b", module, EMA(decay=0.8), saving(tmp_path, 6), epochs=2)
    resumed, two = Toy(), EMA(decay=0.8)
    run(tmp_path / "c", resumed, two, resume=tmp_path / f"step={step}.ckpt", epochs=3)
    assert two.updates == one.updates == 18
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    for name in TRAINED:
        assert torch.equal(one._average[name], two._average[name])
        assert torch.equal(one._training[name], two._training[name])


def test_training_can_go_on_after_the_end(tmp_path):
    whole = Toy()
    run(tmp_path / "a", whole, EMA(decay=0.8), epochs=3)
    trainer = run(tmp_path / "b", Toy(), EMA(decay=0.8), epochs=2)
    trainer.save_checkpoint(tmp_path / "end.ckpt")  # the average is in the network by now
    resumed = Toy()
    run(tmp_path / "c", resumed, EMA(decay=0.8), resume=tmp_path / "end.ckpt", epochs=3)
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in whole.state_dict().items())


def test_half_precision_weights_are_averaged_in_float32(tmp_path):
    class Half(Toy):
        def __init__(self):
            super().__init__()
            self.to(torch.bfloat16)

        def training_step(self, batch, batch_idx):
            return super().training_step([batch[0].bfloat16()], batch_idx)

    module, recorder, ema = Half(), Recorder(), EMA(decay=0.99, warmup=False)
    start = snapshot(module)
    run(tmp_path, module, recorder, ema, saving(tmp_path, 6))
    wanted = expected_average(start, recorder.weights[:6], 0.99, warmup=False)
    file = torch.load(tmp_path / "step=6.ckpt", weights_only=True)
    for name in TRAINED:
        assert file["state_dict"][f"model.{name}"].dtype == torch.bfloat16
        torch.testing.assert_close(file["ema"]["average"][name].double(), wanted[name], atol=1e-6, rtol=0)
    resumed, again = Half(), EMA(decay=0.99, warmup=False)
    run(tmp_path, resumed, again, resume=tmp_path / "step=6.ckpt")
    assert all(torch.equal(ema._average[name], again._average[name]) for name in TRAINED)


def test_weights_unfrozen_during_training_join(tmp_path):
    class Thaw(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 1:
                pl_module.model[2].requires_grad_(True)
                trainer.optimizers[0].add_param_group({"params": list(pl_module.model[2].parameters())})

    module, ema = Toy(), EMA(decay=0.8)
    run(tmp_path, module, Thaw(), ema)
    assert set(ema._average) == {*TRAINED, "2.weight", "2.bias"}
    assert torch.equal(module.model[2].weight, ema._average["2.weight"])
    assert not torch.equal(ema._training["2.weight"], ema._average["2.weight"])


def test_a_checkpoint_without_an_average_starts_one(tmp_path):
    run(tmp_path, Toy(), saving(tmp_path, 6))
    start = torch.load(tmp_path / "step=6.ckpt", weights_only=True)["state_dict"]
    module, recorder = Toy(), Recorder()
    with pytest.warns(UserWarning, match="written without EMA: averaging starts from its weights"):
        run(tmp_path, module, recorder, EMA(decay=0.8), resume=tmp_path / "step=6.ckpt")
    names = {name: start[f"model.{name}"] for name in TRAINED}
    wanted = expected_average(names, recorder.weights, 0.8)
    for name in TRAINED:
        torch.testing.assert_close(module.model.state_dict()[name].double(), wanted[name], atol=1e-6, rtol=0)


def test_refusals(tmp_path):
    with pytest.raises(ConfigError, match=r"decay=1.0 must lie in \[0, 1\)"):
        EMA(decay=1.0)
    with pytest.raises(ConfigError, match="save_weights_only checkpoints lack the average"):
        run(tmp_path, Toy(), EMA(), ModelCheckpoint(tmp_path, save_weights_only=True))
    sharded = type("Trainer", (), {"strategy": FSDPStrategy(), "checkpoint_callbacks": []})()
    with pytest.raises(ConfigError, match="cannot average weights sharded by FSDPStrategy"):
        EMA().setup(sharded, Toy(), "fit")
    elsewhere = Toy()
    elsewhere.network = elsewhere._modules.pop("model")
    with pytest.raises(ConfigError, match="EMA averages the network in `model`, which Toy does not have"):
        run(tmp_path, elsewhere, EMA())
    run(tmp_path, Toy(), EMA(), saving(tmp_path, 6))
    frozen = Toy()
    frozen.model[0].requires_grad_(False)
    with pytest.raises(CheckpointError, match=r"not trainable here, such as '0\.bias'"):
        run(tmp_path, frozen, EMA(), resume=tmp_path / "step=6.ckpt")


def test_a_compiled_network_needs_no_second_graph(tmp_path):
    graphs = []

    def count(graph, inputs):
        graphs.append(graph)
        return graph

    class Compiled(Toy):
        def __init__(self):
            super().__init__()
            self.model.compile(backend=count)
            self.outputs = []

        def validation_step(self, batch, batch_idx):
            self.outputs.append(self.model(batch[0]))

    torch._dynamo.reset()
    module = Compiled()
    run(tmp_path, module, EMA(decay=0.5), epochs=3)
    assert len(graphs) == 2  # training and evaluation
    assert not any("_orig_mod" in name for name in module.state_dict())
    assert len(module.outputs) == 4
