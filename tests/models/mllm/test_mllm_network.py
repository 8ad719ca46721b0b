"""Pictures in a language model's rows: against the decoder on hand-made embeddings, and rows against each other."""

import pytest
import torch
from mllm_tiny import IMAGE, TOKENS, batch_of, decoder, mllm, packed, pictures, row

from vision_suite.errors import ConfigError, DataError
from vision_suite.models.mllm import Mllm

ROWS = [row(7, 8, "p", 9, 10), row(11, "p", 12, "p", 13, 14, 15), row(16, 17, 18)]


def by_hand(net, ids, image):
    """Logits of one row: words and projected pictures joined piece by piece."""
    embed, pieces, used = net.decoder.get_input_embeddings(), [], 0
    place = 0
    while place < len(ids):
        if ids[place] == IMAGE:
            features = net.tower.network.conv(image[used : used + 1]).flatten(2).transpose(1, 2)
            pieces.append(net.projector.layers(features)[0])
            used, place = used + 1, place + TOKENS
        else:
            pieces.append(embed(torch.tensor([ids[place]])))
            place += 1
    return net.decoder(inputs_embeds=torch.cat(pieces)[None], use_cache=False).logits[0]


def alone(net, rows, image):
    """The same of several rows, with the pictures that belong to each."""
    result, used = [], 0
    for each in rows:
        count = each.count(IMAGE) // TOKENS
        result.append(by_hand(net, each, image[used : used + count]))
        used += count
    return result


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "mistral"])
@torch.no_grad()
def test_rows_are_those_of_hand_made_embeddings(kind):
    net, image = mllm(kind), pictures(3)
    logits = net(batch_of(ROWS, image))
    for number, expected in enumerate(alone(net, ROWS, image)):
        torch.testing.assert_close(logits[number, : len(expected)], expected, atol=1e-10, rtol=0)


@torch.no_grad()
def test_hidden_states_and_head_give_the_logits():
    net, batch = mllm(), batch_of(ROWS, pictures(3))
    torch.testing.assert_close(net.hidden(batch) @ net.head_weight.T, net(batch), atol=1e-12, rtol=0)


@pytest.mark.parametrize("attention", ["vision_suite", "sdpa", "eager"])
@torch.no_grad()
def test_packed_rows_are_the_rows_alone(attention):
    net, image = mllm(attention=attention), pictures(3)
    logits = net(packed(ROWS, image, padding=3))[0]
    expected = torch.cat(alone(net, ROWS, image))
    # transformers' eager softmax is in float32 whatever the model's type.
    torch.testing.assert_close(logits[: len(expected)], expected, atol=1e-5 if attention == "eager" else 1e-10, rtol=0)


@torch.no_grad()
def test_features_of_the_tower_replace_the_pictures():
    net, image = mllm(), pictures(3)
    features = net.tower_features(image)
    calls = net.tower.network.calls
    batch = {**batch_of(ROWS), "features": features}
    torch.testing.assert_close(net(batch), net(batch_of(ROWS, image)), atol=0, rtol=0)
    assert net.tower.network.calls == calls + 1  # only that of the batch with pictures
    without = mllm(with_tower=False)
    torch.testing.assert_close(without(batch), net(batch), atol=0, rtol=0)


def test_numbers_that_differ_are_refused():
    net = mllm()
    with pytest.raises(DataError, match="12 placeholders of pictures and 8 picture tokens"):
        net(batch_of(ROWS, pictures(2)))
    with pytest.raises(DataError, match="12 placeholders of pictures and 0"):
        net(batch_of(ROWS))
    with pytest.raises(ConfigError, match="no vision tower"):
        mllm(with_tower=False)(batch_of(ROWS, pictures(3)))


@pytest.mark.parametrize("cached", [False, True])
def test_a_batch_without_pictures_reaches_every_parameter(cached):
    net = mllm()
    text = [row(7, 8, 9), row(10, 11)]
    batch = batch_of(text)
    if cached:
        batch["features"] = torch.zeros(0, TOKENS, net.tower.width, dtype=torch.float64)
        net.tower.requires_grad_(False)
    logits = net(batch, dummy=True)
    torch.testing.assert_close(logits, net(batch_of(text)), atol=0, rtol=0)
    logits.sum().backward()
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    assert all(parameter.grad is not None for parameter in trained)
    assert all(not parameter.grad.any() for parameter in net.projector.parameters())
    assert net.tower.network.calls == (1 if cached else 2)  # one counts its tokens when it is built


def test_frozen_tower_keeps_its_mode_and_records_nothing():
    net = mllm()
    net.tower.requires_grad_(False)
    net.train()
    assert net.training
    assert net.decoder.training
    assert not net.tower.training
    assert not net.tower_features(pictures(1)).requires_grad
    assert net.encode(pictures(1)).requires_grad
    net.tower.requires_grad_(True)
    assert net.train().tower.training
    assert net.tower_features(pictures(1)).requires_grad


@pytest.mark.parametrize("name", ["final_logit_softcapping", "logit_scale", "logits_scaling"])
def test_decoders_that_shape_their_logits_are_refused(name):
    """Losses are computed from hidden states, so such a model would be trained on other logits than it writes with."""
    own = decoder()
    setattr(own.config, name, 0.5)
    with pytest.raises(ConfigError, match=name):
        Mllm(own, None, None, IMAGE)
