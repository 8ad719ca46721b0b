"""LitWings on conversations about coloured squares: what is trained, its losses and its evaluation."""

import instruct_tiny
import pytest
import torch

from vision_suite.cli.trainer.memory import check_network
from vision_suite.errors import ConfigError
from vision_suite.layers import base_weights
from vision_suite.layers.decoders import load_decoder
from vision_suite.lit_modules.instruct_evaluation import AnswerConfig
from vision_suite.models.mllm.lora import LoraSettings
from vision_suite.models.mllm.parts import select_rows
from vision_suite.models.mllm.scoring import choice_logps, continued
from vision_suite.models.wings.build import DecoderConfig, part_of
from vision_suite.models.wings.config import WingsConfig
from vision_suite.optim import OptimConfig

STAGE_1 = WingsConfig(rank=4, s_max=128, stage=1)


def weights(net):
    return {name: value.detach().clone() for name, value in net.model.named_parameters()}


def moved(before, net):
    """Parts whose weights have changed."""
    return {part_of(name) for name, value in net.model.named_parameters() if not torch.equal(before[name], value)}


def fitted(data, folder, tmp_path, steps=3, callbacks=(), **settings):
    net = instruct_tiny.module(data, **{"decoder": DecoderConfig(source=str(folder)), **settings})
    net.load_base()
    before = weights(net)
    run = instruct_tiny.trainer(tmp_path, max_steps=steps, callbacks=callbacks)
    run.fit(net, datamodule=data)
    return net, before, run


@pytest.mark.long
def test_learns_from_scratch(squares, data, tmp_path):
    parts = ("tower", "projector", "visual", "textual", "router", "decoder")
    net = instruct_tiny.module(data, train=parts)
    run = instruct_tiny.trainer(tmp_path, max_epochs=40)
    run.fit(net, datamodule=data)
    run.test(net, datamodule=data, verbose=False)
    assert net.report.metrics["accuracy/colours"] >= 0.75
    assert "kl" not in net.report.metrics, "a decoder from scratch has no untouched one"


@pytest.mark.parametrize(
    ("settings", "trained"),
    [
        ({"wings": STAGE_1}, {"projector", "visual"}),
        ({}, {"projector", "visual", "textual", "router", "decoder"}),
        ({"wings": None}, {"projector", "decoder"}),
        ({"wings": None, "lora": LoraSettings(rank=2)}, {"projector", "lora"}),
        ({"wings": None, "train": ("projector",)}, {"projector"}),
        ({"wings": STAGE_1, "train": ("projector", "visual", "decoder")}, {"projector", "visual", "decoder"}),
    ],
)
def test_parts_that_are_trained(settings, trained, data, folder, tmp_path):
    net, before, _ = fitted(data, folder, tmp_path, **settings)
    assert set(net.trained) == trained
    assert moved(before, net) == trained


def test_rates_by_part(data, folder):
    factors = {"projector": 2.0, "decoder": 0.04, "wings": 1.0}
    optim = OptimConfig(lr=5e-4, weight_decay=0.0, schedule="constant", lr_factors=factors)
    net = instruct_tiny.module(data, decoder=DecoderConfig(source=str(folder)), optim=optim)
    from vision_suite.lit_modules.instruct_checks import group_lines
    from vision_suite.optim import build_optimizer

    optimizer, _ = build_optimizer(net, optim, total=0, global_batch=1)
    lines = list(group_lines(net, {"optimizer": optimizer}))
    assert any(line.startswith("trained at 0.0005,") and "visual" in line and "router" in line for line in lines)
    assert any(line.startswith("trained at 0.001,") and "projector" in line for line in lines)
    assert any(line.startswith("trained at 2e-05,") and line.endswith("decoder 26,496") for line in lines)


def test_the_network_is_estimated_without_its_weights(data, folder, monkeypatch):
    monkeypatch.setattr(base_weights, "load_decoder", pytest.fail)
    made = []

    def make():
        made.append(instruct_tiny.module(data, decoder=DecoderConfig(source=str(folder))))

    check_network(make, "LitWings", {})
    assert len(made) == 1, "the constructor ran to its end on tensors without contents"


def test_a_step_counts_ids_not_rows(squares, folder, tmp_path):
    """Two micro-batches of a step weigh by their ids: the gradient is that of the whole step."""
    data = instruct_tiny.squares(squares)
    net = instruct_tiny.module(data, decoder=DecoderConfig(source=str(folder)))
    net.load_base()
    net.model.image_token_id = data.chat.image_token_id
    batches = instruct_tiny.planned(data, [[0, 1, 8], [9]], 0, 1).dataset
    whole = instruct_tiny.planned(data, [[0, 1, 8, 9]], 0, 1).dataset[0]
    for batch in batches:
        batch["step_targets"] = whole["step_targets"]
    net.trainer = instruct_tiny.trainer(tmp_path)
    losses = [float(net.part_loss(batch)[0]) for batch in batches]
    assert sum(losses) == pytest.approx(float(net.part_loss(whole)[0]), rel=1e-6)
    logits = net.model(whole)[:, :-1].flatten(0, 1)
    mean = torch.nn.functional.cross_entropy(logits, whole["labels"][:, 1:].flatten())
    assert sum(losses) == pytest.approx(float(mean), rel=1e-5)


def test_packed_rows_have_the_same_loss(squares, folder, tmp_path):
    losses = []
    for packed in (False, True):
        data = instruct_tiny.squares(squares, packed=packed)
        net = instruct_tiny.module(data, decoder=DecoderConfig(source=str(folder)))
        net.load_base()
        net.model.image_token_id = data.chat.image_token_id
        net.trainer = instruct_tiny.trainer(tmp_path)
        batch = data_batch(data, packed)
        losses.append(float(net.part_loss(batch)[0]))
        parts = [float(net.part_loss(part)[0]) for part in net.cut(batch, 2)]
        assert len(parts) == 2
        assert sum(parts) == pytest.approx(losses[-1], rel=1e-5)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def data_batch(data, packed):
    data.setup("fit")
    data._train_sampler(0, 1)
    from vision_suite.datasets.loading import BatchKey

    batch = data._batches("fit", 0)[BatchKey([0, 9, 3, 10], 0, 0)]
    return {**batch, "step_targets": torch.tensor(8)}


def test_replay_kl(squares, folder, tmp_path):
    """Zero before the first step; afterwards the sum over text rows of what dense softmaxes give."""
    data = instruct_tiny.squares(squares)
    net = instruct_tiny.module(data, decoder=DecoderConfig(source=str(folder)), wings=None, replay_kl=2.0)
    net.load_base()
    net.model.image_token_id = data.chat.image_token_id
    net.trainer = instruct_tiny.trainer(tmp_path)
    batch = data_batch(data, packed=False)
    assert float(net.part_loss(batch)[1]["kl"]) == pytest.approx(0.0, abs=1e-6)
    with torch.no_grad():
        for name, parameter in net.model.named_parameters():
            if part_of(name) == "decoder":
                parameter.add_(0.05 * torch.randn_like(parameter))
    loss, sums = net.part_loss(batch)
    text = select_rows(batch, [1, 3])
    kept = text["labels"][:, 1:] != -100
    own, other = (
        model(input_ids=text["input_ids"], attention_mask=text["attention_mask"]).logits[:, :-1][kept].log_softmax(-1)
        for model in (net.model.decoder, load_decoder(folder))
    )
    kl = (other.exp() * (other - own)).sum()
    assert sums["replayed"] == kept.sum()
    assert float(sums["kl"]) == pytest.approx(float(kl), rel=1e-4)
    assert float(loss) == pytest.approx(float((sums["nll"] + 2 * kl) / 8), rel=1e-4)
    loss.backward()
    assert net.model.embedding.weight.grad is not None


def test_drift_and_interpolation(data, folder, tmp_path):
    optim = OptimConfig(lr=1e-2, weight_decay=0.0, schedule="constant")
    net, _, run = fitted(data, folder, tmp_path, steps=4, wings=None, optim=optim)
    tuned = weights(net)
    found = {}
    for share in (1.0, 0.5, 0.0):
        net.interpolate = share
        run.test(net, datamodule=data, verbose=False)
        found[share] = dict(net.report.metrics)
        assert all(torch.equal(tuned[name], value) for name, value in net.model.named_parameters()), "put back"
    assert found[1.0]["kl"] > found[0.5]["kl"] > found[0.0]["kl"]
    assert found[0.0]["kl"] == pytest.approx(0.0, abs=1e-9)
    assert found[0.0]["agreement"] == 1.0
    reference = load_decoder(folder)
    ids = torch.tensor([data.chat.plain("one two three four five").ids])
    loss = reference(input_ids=ids, labels=ids).loss
    assert found[0.0]["perplexity/text"] == pytest.approx(float(loss.exp()), rel=1e-4)


def test_a_frozen_decoder_forgets_nothing(data, folder, tmp_path, monkeypatch):
    # With AVX2 alone PyTorch serves what has no read-outs, and rounds otherwise.
    monkeypatch.setattr("vision_suite.ops.attention.cpu_isa", lambda: "avx512")
    net, _, run = fitted(data, folder, tmp_path, wings=STAGE_1)
    run.test(net, datamodule=data, verbose=False)
    assert net.report.metrics["kl"] == pytest.approx(0.0, abs=1e-9)
    assert net.report.metrics["agreement"] == 1.0
    assert len(net.report.masses) == 2, "layers"


@torch.no_grad()
def test_one_id_choices_as_any_others(data, folder):
    """Letters are read of one distribution; the way for texts gives the same, and so does a whole pass of each."""
    net = instruct_tiny.module(data, decoder=DecoderConfig(source=str(folder)))
    net.load_base()
    net.model.eval()
    net.model.image_token_id = data.chat.image_token_id
    data.setup("test")
    rows = [index for index, row in enumerate(data.rows("test")) if row.choices]
    from vision_suite.datasets.loading import BatchKey

    batch = data._batches("test", 0)[BatchKey(rows, 0, 0)]
    ids = [[data.chat.answer(letter, end_of_turn=False) for letter in "AB"] for _ in rows]
    quick = choice_logps(net.model, batch, ids)
    for number in range(2):
        whole = continued(batch, [each[number] for each in ids], data.chat.pad_id)
        logits = net.model(whole).log_softmax(-1)
        for row, each in enumerate(ids):
            start = int(batch["attention_mask"][row].sum())
            assert float(quick[row, number]) == pytest.approx(float(logits[row, start - 1, each[number][0]]), abs=1e-4)
    longer = [[[*each, 5] for each in both] for both in ids]
    slow = choice_logps(net.model, batch, [[*both, ids[row][0]] for row, both in enumerate(longer)])
    torch.testing.assert_close(slow[:, 2], quick[:, 0], rtol=1e-4, atol=1e-4)


def test_a_frozen_tower_of_random_weights_is_told(data, folder, tmp_path):
    with pytest.warns(UserWarning, match="the vision tower is frozen at random weights"):
        fitted(data, folder, tmp_path, steps=1, wings=STAGE_1)


def test_curves_of_few_tasks_and_no_curve_of_target_numbers(data, folder, tmp_path):
    net = instruct_tiny.module(data, decoder=DecoderConfig(source=str(folder)))
    instruct_tiny.trainer(tmp_path, limit_val_batches=1.0).validate(net, datamodule=data, verbose=False)
    (panel,) = (panel for panel in net.panels if panel.heading == "Right answers")
    assert panel.curves == {f"val/accuracy/{task.name}": task.name for task in net.report.tasks if task.kind != "text"}
    assert panel.curves
    (training,) = (panel for panel in net.panels if panel.heading == "Training loss")
    assert training.curves["train/targets"] == ""


def test_stage_2_starts_from_stage_1(data, folder, tmp_path):
    first, _, run = fitted(data, folder, tmp_path, wings=STAGE_1)
    path = tmp_path / "stage1.ckpt"
    run.save_checkpoint(path)
    second = instruct_tiny.module(data, decoder=DecoderConfig(source=str(folder)))
    second.start_from(path)
    one, two = weights(first), weights(second)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_predictions(data, folder, tmp_path):
    net, _, run = fitted(data, folder, tmp_path)
    batches = run.predict(net, datamodule=data)
    for batch in batches:
        texts = [bool(data.rows("predict")[index].text) for index in batch["index"].tolist()]
        assert batch["answer_ids"].shape == (len(texts), 4)
        for row, is_text in enumerate(texts):
            assert (batch["answer_ids"][row] >= 0).any() != is_text
            if "routing" in batch:
                count = int((batch["answer_ids"][row] >= 0).sum())
                shares = batch["routing"][row]
                assert shares.shape == (2, 4, 2)
                torch.testing.assert_close(shares[:, :count].sum(-1), torch.ones(2, count))
                assert shares[:, count:].isnan().all()


def test_memory_runs_short(data, folder, tmp_path, monkeypatch):
    """A pass over more than two rows finds no memory; the weights are those of whole batches."""
    whole, _, _ = fitted(data, folder, tmp_path)
    from vision_suite.models.mllm import Mllm

    hidden = Mllm.hidden

    def short(model, batch, **settings):
        if len(batch["input_ids"]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return hidden(model, batch, **settings)

    monkeypatch.setattr(Mllm, "hidden", short)
    with pytest.warns(UserWarning, match="memory ran short at step 0"):
        parts, _, _ = fitted(data, folder, tmp_path)
    for name, value in whole.model.named_parameters():
        torch.testing.assert_close(parts.model.get_parameter(name), value, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"train": ("wing",)}, "train='wing'"),
        ({"train": ("lora",)}, "the network has no lora"),
        ({"wings": STAGE_1, "train": ("router",)}, "takes no part in wings.stage=1"),
        ({"replay_kl": 1.0}, "this decoder is new"),
        ({"tower": None}, "need a vision tower"),
    ],
)
def test_settings_that_do_not_fit(settings, words, data):
    with pytest.raises(ConfigError, match=words):
        instruct_tiny.module(data, **settings)


def test_data_of_another_tokenizer_or_size(squares, data, folder, tmp_path):
    run = instruct_tiny.trainer(tmp_path, max_steps=1)
    other = tmp_path / "words.txt"
    other.write_text((squares / "words.txt").read_text().replace("seven", "eight"))
    strange = instruct_tiny.squares(squares, tokenizer=str(other))
    with pytest.raises(ConfigError, match="is not that of the data"):
        run.fit(instruct_tiny.module(strange, decoder=DecoderConfig(source=str(folder))), datamodule=strange)
    large = instruct_tiny.squares(squares, image_size=(32, 32))
    with pytest.raises(ConfigError, match=r"--data.image_size=\[32, 32\], and the vision tower takes \[64, 64\]"):
        run.fit(instruct_tiny.module(large), datamodule=large)


def test_answers_of_both_kinds(data, folder, tmp_path):
    answers = AnswerConfig(choices="both", max_new_tokens=4, beams=2)
    net, _, run = fitted(data, folder, tmp_path, steps=1, answers=answers)
    run.test(net, datamodule=data, verbose=False)
    assert {"accuracy/next", "accuracy/next/generate", "accuracy/colours", "loss"} <= set(net.report.metrics)
    assert len(net.report.answers) == 16
