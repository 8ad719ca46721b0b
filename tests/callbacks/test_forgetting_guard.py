"""The guard against forgetting: what it measures, when, and what it does."""

import csv

import instruct_stub
import instruct_tiny
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from stub_method import LitStub

from vision_suite.callbacks.forgetting_guard import ForgettingGuard
from vision_suite.errors import ConfigError
from vision_suite.layers.decoders import DecoderShape, new_decoder
from vision_suite.models.wings.build import DecoderConfig
from vision_suite.models.wings.config import WingsConfig


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return instruct_stub.write_questions(tmp_path_factory.mktemp("set") / "squares")


@pytest.fixture
def data(folder):
    return instruct_stub.questions(folder)


class Seen(pl.Callback):
    """Keeps the weights and the rates after each batch."""

    def __init__(self):
        self.weights, self.rates, self.training = [], [], []

    def on_train_batch_end(self, trainer, module, *rest):
        self.weights.append({name: value.clone() for name, value in module.model.state_dict().items()})
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        self.training.append((module.training, module.model.training))


def fit(folder, data, guard, **settings):
    module, seen = instruct_stub.LitTinyText(data, **settings.pop("model", {})), Seen()
    trainer = instruct_stub.trainer(folder, guard, seen, **settings)
    trainer.fit(module, data)
    return trainer, module, seen


def expected(module, data, weights):
    """KL and agreement over the words of the text, by hand."""
    ids = torch.tensor(data.chat.plain(instruct_stub.TEXT).ids)[:-1]
    logits = [
        each["words.weight"][ids] @ each["head.weight"].T for each in (module.untouched.model.state_dict(), weights)
    ]
    p, q = (each.softmax(1) for each in logits)
    return float((p * (p / q).log()).sum(1).mean()), float((p.argmax(1) == q.argmax(1)).float().mean())


def test_the_drift_is_measured_every_few_steps_logged_and_equals_a_calculation_by_hand(tmp_path, data):
    log = CSVLogger(tmp_path, name="log", version="")
    trainer, module, seen = fit(
        tmp_path, data, ForgettingGuard(every=2), logger=log, max_epochs=2, log_every_n_steps=50
    )
    lines = list(csv.DictReader((tmp_path / "log/metrics.csv").open()))
    found = {int(line["step"]): line for line in lines if line.get("train/drift_kl")}
    assert sorted(found) == [1, 3, 5], "of 6 batches, numbered from 0 as Lightning does"
    for step, line in found.items():
        kl, agreement = expected(module, data, seen.weights[step])
        assert float(line["train/drift_kl"]) == pytest.approx(kl, rel=1e-4)
        assert float(line["train/drift_agreement"]) == pytest.approx(agreement)
    assert float(trainer.callback_metrics["train/drift_kl"]) > 0.01
    assert seen.training == [(True, True)] * 6, "dropout stays on in training"


def test_looking_changes_nothing_of_the_training(tmp_path, data, folder):
    weights = []
    for every in (1, 100):
        _, module, _ = fit(tmp_path, instruct_stub.questions(folder), ForgettingGuard(every=every))
        weights.append(module.model.state_dict())
    assert all(weights[0][name].equal(weights[1][name]) for name in weights[0])


def test_training_stops_at_a_bound(tmp_path, data):
    with pytest.warns(UserWarning, match=r"guard at step 1: KL .* is above max_kl=0: training stops"):
        trainer, *_ = fit(tmp_path, data, ForgettingGuard(every=1, max_kl=0.0, action="stop"), max_epochs=3)
    assert trainer.global_step == 1


def test_rates_are_halved_for_good(tmp_path, data):
    guard = ForgettingGuard(every=2, min_agreement=1.0, action="cut")
    with pytest.warns(UserWarning, match=r"agreement .* is below min_agreement=1: every learning rate is halved"):
        _, _, seen = fit(tmp_path, data, guard, max_epochs=2, model={"lr": 1.0})
    assert seen.rates == [1.0, 0.5, 0.5, 0.25, 0.25, 0.125]
    assert guard.cuts == 3


def test_rates_are_not_halved_again_while_the_drift_does_not_grow(tmp_path, data, monkeypatch):
    looks = iter([0.5, 0.4, 0.4, 0.6])
    monkeypatch.setattr(ForgettingGuard, "_drift", lambda *_: (next(looks), 0.5))
    guard = ForgettingGuard(every=1, max_kl=0.1, action="cut")
    with pytest.warns(UserWarning, match="halved"):
        fit(tmp_path, data, guard, max_epochs=2, max_steps=4)
    assert guard.cuts == 2, "at the first and the last of four looks"


def test_a_resumed_run_keeps_the_cut(tmp_path, folder):
    def run(path, ckpt=None, **settings):
        guard, seen = ForgettingGuard(every=2, min_agreement=1.0, action="cut"), Seen()
        data = instruct_stub.questions(folder)
        keep = ModelCheckpoint(path, "{step}", every_n_train_steps=3, save_top_k=-1)
        module = instruct_stub.LitTinyText(data, lr=1.0, schedule="constant")
        trainer = instruct_stub.trainer(path, guard, seen, keep, enable_checkpointing=True, max_epochs=2, **settings)
        with pytest.warns(UserWarning, match="halved"):
            trainer.fit(module, data, ckpt_path=ckpt)
        return guard, seen

    whole, all_seen = run(tmp_path / "whole")
    rest, seen = run(tmp_path / "rest", tmp_path / "whole/step=3.ckpt")
    assert seen.rates == all_seen.rates[3:]
    assert rest.cuts == whole.cuts
    assert all(seen.weights[-1][name].equal(all_seen.weights[-1][name]) for name in seen.weights[-1])


def test_a_warning_is_given_once(tmp_path, data):
    with pytest.warns(UserWarning, match="told once") as found:
        fit(tmp_path, data, ForgettingGuard(every=1, max_kl=0.0))
    assert len([each for each in found if "told once" in str(each.message)]) == 1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"every": 0}, "every"),
        ({"length": 1}, "length"),
        ({"max_kl": -1.0}, "max_kl"),
        ({"min_agreement": 2.0}, "min_agreement"),
        ({"action": "shout"}, "action"),
    ],
)
def test_settings_out_of_range(settings, words):
    with pytest.raises(ConfigError, match=words):
        ForgettingGuard(**settings)


def test_what_it_cannot_guard_is_refused(tmp_path, data, folder):
    trained = {"train": instruct_stub.SourceSettings(str(folder / "train.json"))}
    without = instruct_stub.questions(folder, validate_on=trained)
    with pytest.raises(ConfigError, match="needs plain text"):
        fit(tmp_path, without, ForgettingGuard())
    module = instruct_stub.LitTinyText(data)
    module.untouched = None
    with pytest.raises(ConfigError, match="this decoder is new"):
        instruct_stub.trainer(tmp_path, ForgettingGuard()).fit(module, data)
    with pytest.raises(ConfigError, match="not LitStub on InstructData"):
        instruct_stub.trainer(tmp_path, ForgettingGuard()).fit(LitStub(), data)


@pytest.mark.parametrize(("stage", "drifts"), [(1, False), (2, True)])
def test_wings_on_a_decoder_from_a_file(tmp_path, monkeypatch, stage, drifts):
    """In stage 1 the decoder is frozen and text has no picture: nothing can be forgotten. In stage 2 it can."""
    # With AVX2 alone PyTorch serves what has no read-outs, and rounds otherwise.
    monkeypatch.setattr("vision_suite.ops.attention.cpu_isa", lambda: "avx512")
    data = instruct_tiny.squares(instruct_tiny.write_squares(tmp_path / "squares"))
    torch.manual_seed(0)
    shape = DecoderShape(width=32, depth=3, heads=2, positions=128)
    new_decoder(shape, data.vocabulary_size).save_pretrained(tmp_path / "decoder")
    data.chat.tokenizer.save_pretrained(tmp_path / "decoder")
    wings = WingsConfig(rank=4, s_max=128, stage=stage)
    module = instruct_tiny.module(data, decoder=DecoderConfig(source=str(tmp_path / "decoder")), wings=wings)
    trainer = instruct_tiny.trainer(tmp_path, callbacks=[ForgettingGuard(every=3)], max_steps=4)
    trainer.fit(module, data)
    found = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert (found["train/drift_kl"] > 1e-6) == drifts
    assert (found["train/drift_kl"] == 0.0) == (not drifts)
    assert found["train/drift_agreement"] <= 1.0
    # The third batch has no pictures: the attention is that of the fourth.
    lines = list(csv.DictReader((tmp_path / "log/version_0/metrics.csv").open()))
    seen = {
        name: [line["step"] for line in lines if line.get(f"train/{name}")] for name in ("drift_kl", "attention_shift")
    }
    assert seen == {"drift_kl": ["2"], "attention_shift": ["3"]}
    assert 0 <= found["train/attention_shift"] <= 2
