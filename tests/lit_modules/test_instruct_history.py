"""Chains of questions after the model's own answers: prompts against ones that are put together turn by turn."""

import instruct_tiny
import pytest
import torch

from vision_suite.datasets.loading import BatchKey
from vision_suite.lit_modules.instruct_evaluation import AnswerConfig
from vision_suite.lit_modules.instruct_history import with_own_history
from vision_suite.models.mllm.scoring import with_features
from vision_suite.types.instruct import Message


@pytest.fixture(scope="module")
def chains(tmp_path_factory):
    return instruct_tiny.write_chains(instruct_tiny.write_squares(tmp_path_factory.mktemp("set") / "squares"))


@pytest.fixture
def data(chains):
    asked = {"chains": instruct_tiny.source(chains / "chains.jsonl")}
    return instruct_tiny.squares(chains, test_on=asked, max_length=128)


def net_of(data, **answers):
    net = instruct_tiny.module(data, answers=AnswerConfig(max_new_tokens=3, **answers))
    torch.nn.init.normal_(net.model.embedding.weight, std=1.0)  # or all answers are alike
    net.model.image_token_id = data.chat.image_token_id
    return net.eval()


def alone(net, data, row, messages):
    """The answer to one prompt, written with its pictures and nothing beside it."""
    encoded = data.chat.prompt(messages)
    used = list(dict.fromkeys(number for number in encoded.image_of_token if number >= 0))
    batch = {"input_ids": torch.tensor([encoded.ids])}
    if used:
        batch["image"] = torch.stack([row["image"][number] for number in used])
    ids = net.model.generate(
        batch, eos_token_id=list(data.chat.end_ids), pad_token_id=data.chat.pad_id, max_new_tokens=3, do_sample=False
    )
    return data.chat.spoken(ids[0].tolist())


def test_prompts_hold_what_the_model_wrote(data):
    data.setup("test")
    net, rows = net_of(data), data.rows("test")
    batches = data._batches("test", 0)
    batch = with_features(net.model, batches[BatchKey(list(range(len(rows))), 0, 0)])
    found = with_own_history(net.model, data.chat, batch, rows, net.answers.generation(data.chat))
    told = 0
    for place, row in enumerate(rows):
        single = batches[BatchKey([place], 0, 0)]
        messages = []
        for message in row.messages:
            if message.role == "assistant":
                message = Message("assistant", (alone(net, data, single, messages),))
                told += 1
            messages.append(message)
        expected = data.chat.prompt(messages)
        length = len(expected.ids)
        assert found["input_ids"][place, :length].tolist() == expected.ids
        assert found["attention_mask"][place].sum() == length
        own = found["image_of_token"][place]
        if (own >= 0).any():
            numbers = own[own >= 0].unique()
            torch.testing.assert_close(found["features"][numbers], net.model.tower_features(single["image"]))
    assert told == 4
    assert found["index"].tolist() == batch["index"].tolist()


def scored(data, tmp_path, **answers):
    net = net_of(data, **answers)
    instruct_tiny.trainer(tmp_path).test(net, datamodule=data, verbose=False)
    return net.report


def test_histories_are_reported_beside_each_other(data, tmp_path):
    gold, model, both = (scored(data, tmp_path, history=each) for each in ("gold", "model", "both"))
    names = [{task.name for task in report.tasks} for report in (gold, model, both)]
    assert names[0] == {"iit/T", "iit/TT", "iit/TV", "iit/VVT", "iit/V"}
    assert names[1] == {f"{name}/model-history" for name in names[0]}
    assert names[2] == names[0] | names[1]
    assert both.metrics["iit"] == gold.metrics["iit"]
    assert both.metrics["iit_model_history"] == model.metrics["iit_model_history"]
    assert both.metrics["loss"] == pytest.approx(gold.metrics["loss"])
    for kind in ("T", "V"):  # nothing comes before the question
        assert both.metrics[f"accuracy/iit/{kind}"] == both.metrics[f"accuracy/iit/{kind}/model-history"]


def test_written_answers_after_the_models_own(data, tmp_path):
    report = scored(data, tmp_path, history="both", choices="both")
    assert {"accuracy/iit/TV/generate", "accuracy/iit/TV/model-history/generate"} <= set(report.metrics)


def test_special_tokens_that_are_spelt_out_do_not_stand_in_a_conversation(data):
    words = data.chat.tokenizer.get_vocab()
    end = data.chat.tokenizer.convert_ids_to_tokens(data.chat.end_ids[0])
    data.chat.decode = lambda ids: f"two {end} three"
    assert data.chat.spoken([words["two"]]).split() == ["two", "three"]
