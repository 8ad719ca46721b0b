"""LitSentinel on pairs about coloured squares: losses, references, what is logged, and the networks that it serves."""

import math
import warnings
from typing import ClassVar

import instruct_tiny
import numpy as np
import preference_tiny
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning import Callback

from vision_suite.errors import CheckpointError, ConfigError
from vision_suite.lit_modules.pair_log import PairLog, pair_sums
from vision_suite.lit_modules.preference_reference import AdapterReference, StartReference, make_reference
from vision_suite.lit_modules.sentinel import LitSentinel
from vision_suite.losses.preference import PreferenceLossConfig, preference_loss
from vision_suite.models.mllm.lora import LoraSettings
from vision_suite.models.wings.build import DecoderConfig, part_of
from vision_suite.models.wings.config import WingsConfig
from vision_suite.optim import OptimConfig

ALL = ("tower", "projector", "decoder")
LORA = {"lora": LoraSettings(rank=2, dropout=0.5, targets=("all-linear",))}


class Diary(Callback):
    """What every step logs."""

    def __init__(self):
        self.steps = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.steps.append({name: float(value) for name, value in trainer.callback_metrics.items()})


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return instruct_tiny.squares(instruct_tiny.write_squares(tmp_path_factory.mktemp("set") / "squares"))


@pytest.fixture(scope="module")
def batches(data):
    return [preference_tiny.batch(data, rows) for rows in ([4, 5, 6, 7], [8, 9, 10, 11])]


def fitted(data, batches, folder, *, epochs=3, trainer=None, **settings):
    net = preference_tiny.module(data, **{"train": ALL, **settings})
    diary = Diary()
    run = instruct_tiny.trainer(folder, max_epochs=epochs, callbacks=[diary], **(trainer or {}))
    run.fit(net, preference_tiny.loader(batches))
    return net, diary.steps


def dense(net, batch):
    """Log-probabilities (B, n) by the network's own logits, a row for each continuation."""
    found = torch.zeros(batch["branch_ids"].shape[:2], dtype=torch.float64)
    for row in range(len(found)):
        prompt = batch["input_ids"][row][batch["attention_mask"][row]]
        for side in range(2):
            answer = batch["branch_ids"][row, side][batch["branch_mask"][row, side]]
            ids = torch.cat([prompt, answer])[None]
            logits = net.model({"input_ids": ids, "image": batch["image"][row : row + 1]}).double().log_softmax(-1)
            found[row, side] = logits[0, len(prompt) - 1 : -1].gather(1, answer[:, None]).sum()
    return found


@pytest.mark.parametrize("shared_prefix", ["auto", "off"])
def test_the_loss_starts_at_log_2_and_falls(shared_prefix, data, batches, tmp_path):
    net, steps = fitted(data, batches, tmp_path, epochs=6, shared_prefix=shared_prefix)
    assert net._shares is (shared_prefix == "auto")
    assert steps[0]["train/loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert steps[-1]["train/loss"] < 0.6
    assert steps[-1]["train/reward_accuracy"] == 1.0
    assert steps[-1]["train/reference_drift"] <= 1e-6


def test_the_loss_by_hand(data, batches, tmp_path):
    """One step away from the reference, from dense log-softmaxes of whole rows."""
    batch, optim = batches[0], OptimConfig(lr=3e-3, weight_decay=0.0, schedule="constant")
    net = preference_tiny.module(data, train=ALL, optim=optim)
    net.model.tower.eval()
    before = dense(net, batch).detach()
    run = instruct_tiny.trainer(tmp_path, max_steps=1)
    run.fit(net, preference_tiny.loader([batch]))
    with torch.no_grad():
        after = dense(net, batch)
    gains = after - before
    expected = -torch.nn.functional.logsigmoid(0.1 * (gains[:, 0] - gains[:, 1]))
    net._log = type(net._log)()
    loss, sums = net.part_loss({**batch, "pairs": torch.tensor(len(batch["branch_ids"]))})
    assert float(loss) == pytest.approx(float(expected.mean()), rel=1e-4)
    assert float(sums["logps/chosen"]) == pytest.approx(float(after[:, 0].sum()), rel=1e-4)
    assert float(sums["reference/rejected"]) == pytest.approx(float(before[:, 1].sum()), rel=1e-4)
    assert float(sums["length/rejected"]) == batch["branch_mask"][:, 1].sum()


def test_the_reference_stays_while_the_model_moves(data, batches, tmp_path):
    net = preference_tiny.module(data, train=ALL)
    start = {name: value.clone() for name, value in net.model.state_dict().items()}
    instruct_tiny.trainer(tmp_path, max_epochs=2).fit(net, preference_tiny.loader(batches))
    trained = {name: value.clone() for name, value in net.model.named_parameters()}
    parts = {part_of(name) for name, value in trained.items() if not torch.equal(start[name], value)}
    assert parts == {"tower", "projector", "decoder"}
    with net.reference.active():
        assert all(torch.equal(start[name], value) for name, value in net.model.named_parameters())
    assert all(torch.equal(trained[name], value) for name, value in net.model.named_parameters())


def test_new_lora_that_is_not_trained_is_told(data, batches, tmp_path):
    net = preference_tiny.module(data, train=("projector",), **LORA)
    with pytest.warns(UserWarning, match="LoRA is new and not trained.*--model.train"):
        instruct_tiny.trainer(tmp_path, max_steps=1).fit(net, preference_tiny.loader(batches))
    assert set(net.trained) == {"projector"}
    trained_before = preference_tiny.module(data, train=("projector",), **LORA)
    with torch.no_grad():
        next(v for n, v in trained_before.model.named_parameters() if ".lora_B." in n).add_(0.1)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="LoRA is new")
        instruct_tiny.trainer(tmp_path, max_steps=1).fit(trained_before, preference_tiny.loader(batches))


def test_lora_alone(data, batches, tmp_path):
    """The reference is the network without its adapter; dropout of LoRA is off, or the first loss were another."""
    net = preference_tiny.module(data, **LORA)
    before = {name: value.clone() for name, value in net.model.named_parameters()}
    diary = Diary()
    run = instruct_tiny.trainer(tmp_path, max_epochs=6, callbacks=[diary])
    run.fit(net, preference_tiny.loader(batches))
    assert isinstance(net.reference, AdapterReference)
    assert {part_of(n) for n, value in net.model.named_parameters() if not torch.equal(value, before[n])} == {"lora"}
    assert diary.steps[0]["train/loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert diary.steps[-1]["train/loss"] < diary.steps[0]["train/loss"] - 1e-3


def test_a_trained_adapter_is_no_reference(data):
    net = preference_tiny.module(data, **LORA)
    with torch.no_grad():
        next(v for n, v in net.model.named_parameters() if ".lora_B." in n).add_(1.0)
    assert isinstance(make_reference(net.model, "auto", net.train_parts, {}), StartReference)
    with pytest.raises(ConfigError, match="this LoRA has been trained before"):
        make_reference(net.model, "adapter", net.train_parts, {})
    with pytest.raises(ConfigError, match="reference=adapter is the model before training"):
        make_reference(net.model, "adapter", ("lora", "projector"), {})


def test_wings_are_trained_too(data, batches, tmp_path):
    net, steps = fitted(data, batches, tmp_path, epochs=4, wings=WingsConfig(rank=4, s_max=128), train=None)
    assert set(net.trained) == {"projector", "visual", "textual", "router", "decoder"}
    assert steps[0]["train/loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert steps[-1]["train/loss"] < 0.69


@pytest.mark.parametrize(("kind", "first"), [("ipo", 25.0), ("hinge", 1.0), ("sigmoid_norm", math.log(2)), ("mdpo", 0)])
def test_other_losses(kind, first, data, batches, tmp_path):
    _, steps = fitted(data, batches, tmp_path, epochs=3, loss=PreferenceLossConfig(kind=kind))
    first = first or 3 * math.log(2)
    assert steps[0]["train/loss"] == pytest.approx(first, rel=1e-5)
    assert steps[-1]["train/loss"] < first


def test_ddpo_needs_weights(data, batches, tmp_path):
    settings = {"loss": PreferenceLossConfig(kind="ddpo", beta=0.5)}
    with pytest.raises(ConfigError, match=r"needs weights of single ids.*data.changed_weight"):
        fitted(data, batches, tmp_path, **settings)
    weighted = [{**batch, "branch_weights": torch.where(batch["branch_mask"], 5.0, 0.0)} for batch in batches]
    _, steps = fitted(data, weighted, tmp_path, **settings)
    assert steps[0]["train/loss"] == pytest.approx(math.log(2), abs=1e-6)
    # Weights that are not asked for change nothing.
    _, plain = fitted(data, batches, tmp_path, epochs=1)
    _, others = fitted(data, weighted, tmp_path, epochs=1)
    assert [step["train/loss"] for step in plain] == [step["train/loss"] for step in others]


def test_a_model_that_is_not_its_reference_is_refused(data, batches, tmp_path, monkeypatch):
    def away(self):
        with torch.no_grad():
            self.model.embedding.weight.add_(torch.randn_like(self.model.embedding.weight))

    started = LitSentinel.on_train_start
    monkeypatch.setattr(LitSentinel, "on_train_start", lambda self: (started(self), away(self)) and None)
    with pytest.raises(ConfigError, match="model and reference differ by"):
        fitted(data, batches, tmp_path)


def test_a_reference_that_moves_is_refused(data, batches, tmp_path):
    net = preference_tiny.module(data, train=("projector", "decoder"))

    class Meddler(Callback):
        """Changes a weight that is not trained, as an optimiser of another part could."""

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            with torch.no_grad():
                for each in pl_module.model.tower.parameters():
                    each.mul_(1.5)

    raw = [{**batch, "image": batch["image"]} for batch in batches]
    net.train_parts = ("tower", *net.train_parts)  # so that pictures, not tokens of the tower, are kept
    with pytest.raises(ConfigError, match="the reference has moved by"):
        instruct_tiny.trainer(tmp_path, max_epochs=1, callbacks=[Meddler()]).fit(net, preference_tiny.loader(raw))


def test_smaller_parts_have_the_same_gradient(data, batches, tmp_path):
    weights = []
    for parts in (1, 3):
        net = preference_tiny.module(data, train=ALL, recover_memory=True)
        net.parts = parts
        instruct_tiny.trainer(tmp_path, max_epochs=1).fit(net, preference_tiny.loader(batches))
        assert net.last_margins.shape == (4, 2)
        weights.append({name: value.detach() for name, value in net.model.named_parameters()})
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=1e-3, atol=2e-5, msg=name)


def sums_of(policy, reference, mask):
    found = preference_loss(policy, reference)
    return pair_sums(found, policy, reference, mask.sum(2))


def test_falling_log_probabilities_are_told_once():
    mask = torch.ones(3, 2, 4, dtype=torch.bool)
    reference = torch.full((3, 2), -5.0)
    log = PairLog()
    log.take(sums_of(reference - 0.9, reference, mask))
    assert not log.fall, "less than a nat"
    for _ in range(20):
        log.take(sums_of(reference - 3.0, reference, mask))
    assert "nats less likely than before training" in log.fall
    again = PairLog()
    again.load(log.state())
    assert not log.fall
    assert not again.fall


def test_the_correlation_with_length():
    """That of NumPy over the pairs of a batch; not defined where all lengths are alike."""
    generator = torch.Generator().manual_seed(0)
    policy, reference = torch.randn(2, 40, 2, generator=generator, dtype=torch.float64)
    lengths = torch.randint(1, 9, (40, 2, 1), generator=generator)
    mask = torch.arange(9) < lengths
    found = PairLog().take(sums_of(policy, reference, mask))
    gains = 0.1 * (policy - reference)
    expected = np.corrcoef(gains[:, 0] - gains[:, 1], (lengths[:, 0] - lengths[:, 1])[:, 0])[0, 1]
    assert found["length_correlation"] == pytest.approx(expected, rel=1e-9)
    assert found["reward_accuracy"] == pytest.approx(float((gains[:, 0] > gains[:, 1]).double().mean()))
    alike = PairLog().take(sums_of(policy, reference, torch.ones(40, 2, 9, dtype=torch.bool)))
    assert math.isnan(alike["length_correlation"])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"reference": "copy"}, "reference='copy'"),
        ({"shared_prefix": "yes"}, "shared_prefix='yes'"),
        ({"loss": {"kind": "mdpo"}, "reference": "stored"}, "draws corrupted pictures"),
    ],
)
def test_settings_that_do_not_fit(settings, words, data):
    with pytest.raises(ConfigError, match=words):
        preference_tiny.module(data, **settings)


def test_a_resumed_run_has_the_reference_of_its_start(data, batches, tmp_path):
    """Two epochs in one go, and in two: the same weights and the same numbers in the log."""
    whole, steps = fitted(data, batches, tmp_path / "whole", epochs=2)
    net = preference_tiny.module(data, train=ALL)
    run = instruct_tiny.trainer(tmp_path / "first", max_epochs=1)
    run.fit(net, preference_tiny.loader(batches))
    run.save_checkpoint(tmp_path / "first.ckpt")
    again, diary = preference_tiny.module(data, train=ALL), Diary()
    with torch.no_grad():
        for each in again.model.parameters():
            each.zero_()
    run = instruct_tiny.trainer(tmp_path / "second", max_epochs=2, callbacks=[diary])
    run.fit(again, preference_tiny.loader(batches), ckpt_path=tmp_path / "first.ckpt", weights_only=True)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name
    keys = ("train/loss", "train/reference/chosen", "train/rewards/rejected", "train/length_gap")
    assert [[step[key] for key in keys] for step in diary.steps] == [[step[key] for key in keys] for step in steps[2:]]


def test_a_llava_folder_is_decoder_tower_and_projector(tmp_path):
    transformers = pytest.importorskip("transformers")
    root = instruct_tiny.write_squares(tmp_path / "squares")
    data = instruct_tiny.squares(root, image_tokens=4)
    vision = transformers.CLIPVisionConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=2, image_size=64, patch_size=32,
        projection_dim=8,
    )  # fmt: skip
    text = transformers.LlamaConfig(
        vocab_size=data.vocabulary_size, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.LlavaForConditionalGeneration(
        transformers.LlavaConfig(
            vision_config=vision, text_config=text, image_token_id=data.chat.image_token_id, image_seq_length=4
        )
    )
    model.save_pretrained(tmp_path / "llava")
    batches = [preference_tiny.batch(data, [4, 5, 6, 7])]
    settings = {"decoder": DecoderConfig(source=str(tmp_path / "llava")), "tower": None, "train": None, **LORA}
    net, steps = fitted(data, batches, tmp_path, epochs=5, **settings)
    assert set(net.trained) == {"lora"}
    assert steps[0]["train/loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert steps[-1]["train/loss"] < 0.69
    theirs = model.model.multi_modal_projector.linear_1.weight
    assert torch.equal(net.model.projector.linear_1.weight, theirs)
    net.trainer.save_checkpoint(tmp_path / "lora.ckpt")
    stored = torch.load(tmp_path / "lora.ckpt", weights_only=True)["state_dict"]
    assert all(".lora_" in name for name in stored), "the rest is in the folder"
    loaded = LitSentinel.load_from_checkpoint(tmp_path / "lora.ckpt")
    for name, value in net.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name
    with pytest.raises(ConfigError, match="brings its own tower and projector"):
        preference_tiny.module(data, **{**settings, "tower": instruct_tiny.TOWER})


class Pairs(pl.LightningDataModule):
    """Batches with the log-probabilities of the model before training, kept by the checksum of its weights."""

    kept: ClassVar[dict[str, list[torch.Tensor]]] = {}

    def __init__(self, squares, batches):
        super().__init__()
        self.batches = [dict(batch) for batch in batches]
        for name in ("chat", "vocabulary_size", "image_tokens", "protocol", "preprocessing", "class_names"):
            setattr(self, name, getattr(squares, name))

    def use_reference(self, logps, weights):
        if weights not in self.kept:
            self.kept[weights] = [logps(batch).double() for batch in self.batches]
        for batch, found in zip(self.batches, self.kept[weights], strict=True):
            batch["reference_logps"] = found

    def train_dataloader(self):
        return preference_tiny.loader(self.batches)


def test_stored_log_probabilities_are_those_of_the_start(data, batches, tmp_path):
    plain, steps = fitted(data, batches, tmp_path / "plain", epochs=2)
    net, diary = preference_tiny.module(data, train=ALL, reference="stored"), Diary()
    run = instruct_tiny.trainer(tmp_path / "stored", max_epochs=1, callbacks=[diary])
    run.fit(net, datamodule=Pairs(data, batches))
    run.save_checkpoint(tmp_path / "stored.ckpt")
    again = preference_tiny.module(data, train=ALL, reference="stored")
    run = instruct_tiny.trainer(tmp_path / "again", max_epochs=2, callbacks=[diary])
    run.fit(again, datamodule=Pairs(data, batches), ckpt_path=tmp_path / "stored.ckpt", weights_only=True)
    assert len(Pairs.kept) == 1, "a run that goes on finds the numbers of its start"
    for one, other in zip(diary.steps, steps, strict=True):
        assert one["train/loss"] == pytest.approx(other["train/loss"], rel=1e-5)
    for name, value in plain.model.named_parameters():
        torch.testing.assert_close(again.model.get_parameter(name), value, rtol=1e-3, atol=1e-5, msg=name)
    Pairs.kept.clear()
    lost = preference_tiny.module(data, train=ALL, reference="stored")
    run = instruct_tiny.trainer(tmp_path / "lost", max_epochs=2)
    with pytest.raises(CheckpointError, match="are not stored any more"):
        run.fit(lost, datamodule=Pairs(data, batches), ckpt_path=tmp_path / "stored.ckpt", weights_only=True)
