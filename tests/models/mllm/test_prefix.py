"""Prompts that are read once, and sentences sampled behind them, against whole passes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mllm_tiny import END, IMAGE, PAD, batch_of, mllm, pictures, row

from vision_suite.errors import ConfigError
from vision_suite.models.mllm.prefix import Prefix
from vision_suite.models.mllm.sampling import sample_sentences
from vision_suite.models.mllm.scoring import choice_logps
from vision_suite.models.wings.attach import attach
from vision_suite.models.wings.config import WingsConfig

PROMPTS = [row(7, "p", 9), row(11, "p", 12, 13, "p", 14), row(16, 17)]
IMAGES = [1, 2, 0]
CHOICES = [[[20, 21], [22]], [[23, 24, 25], [26], [27, 28]], [[29]]]


def network(wings):
    net = mllm()
    if wings:
        attach(net.decoder, WingsConfig(rank=4, stage=2))
        torch.manual_seed(5)
        for name, each in net.decoder.named_parameters():
            if "wings" in name:
                torch.nn.init.normal_(each, std=0.2)
        net = net.double()
    return net


def whole(net, prompt, image, answer):
    """Log-probability of an answer by one pass over everything."""
    logits = net(batch_of([prompt + answer], image))[0].log_softmax(-1)
    return sum(float(logits[len(prompt) + n - 1, each]) for n, each in enumerate(answer))


@pytest.mark.parametrize("wings", [False, True])
@pytest.mark.parametrize("side", ["left", "right"])
@torch.no_grad()
def test_choices_behind_one_prompt_are_those_of_whole_passes(side, wings):
    net, image = network(wings), pictures(3)
    found = choice_logps(net, batch_of(PROMPTS, image, side), CHOICES)
    for number, (prompt, part) in enumerate(zip(PROMPTS, image.split(IMAGES), strict=True)):
        for place in range(3):
            if place < len(CHOICES[number]):
                expected = whole(net, prompt, part if len(part) else None, CHOICES[number][place])
                assert float(found[number, place]) == pytest.approx(expected, abs=1e-9)
            else:
                assert float(found[number, place]) == -torch.inf


@given(st.lists(st.lists(st.integers(7, 60), max_size=4), min_size=1, max_size=4))
@settings(max_examples=15, deadline=None)
@torch.no_grad()
def test_rows_that_follow_in_steps_are_those_of_one_pass(parts):
    """Ids in calls of their own, of different lengths, and rows chosen on the way."""
    net, image = mllm(), pictures(3)
    prefix = Prefix(net, batch_of(PROMPTS, image), 2)
    prefix.select([1, 3, 4])
    rows = [list(PROMPTS[0]), list(PROMPTS[1]), list(PROMPTS[2])]
    for part in parts:
        longest = max(len(part), 1)
        ids, kept = torch.zeros(3, longest, dtype=torch.int64), torch.zeros(3, longest, dtype=torch.bool)
        for number in range(3):
            own = part[: max(len(part) - number, 0)]
            ids[number, : len(own)], kept[number, : len(own)] = torch.tensor(own, dtype=torch.int64), True
            rows[number] += own
        prefix.follow(ids, kept)
    for number, part in enumerate(image.split(IMAGES)):
        expected = net.hidden(batch_of([rows[number]], part if len(part) else None))[0, -1]
        torch.testing.assert_close(prefix.last[number], expected, rtol=1e-9, atol=1e-9)


def test_packed_rows_are_refused():
    batch = {**batch_of(PROMPTS[2:]), "segments": torch.zeros(1, 2, dtype=torch.int64)}
    with pytest.raises(ConfigError, match="one prompt a row"):
        Prefix(mllm(), batch)


class Words:
    """Ids as words; 30 to 39 end sentences."""

    end_ids = (END,)

    def decode(self, ids):
        return "".join("." if 30 <= id < 40 else f" W{id}" for id in ids if id not in (END, IMAGE, PAD))


@torch.no_grad()
def test_sentences_are_cut_and_their_ends_known():
    net, prompt = mllm(), batch_of(PROMPTS[:1], pictures(1))
    found = sample_sentences(net, Words(), prompt, 24, seed=3, temperature=1.0, max_new_tokens=12)
    assert found == sample_sentences(net, Words(), prompt, 24, seed=3, temperature=1.0, max_new_tokens=12)
    assert found[:7] != sample_sentences(net, Words(), prompt, 24, seed=4, temperature=1.0, max_new_tokens=12)[:7]
    for each in found:
        assert each.text == Words().decode(each.ids).strip()
        assert each.ended or each.text.endswith(".") or len(each.ids) == 12
        assert "." not in each.text[:-1].replace("..", "")
        assert not {END, IMAGE} & set(each.ids)
        expected = whole(net, PROMPTS[0], pictures(1), list(each.ids)) if each.ids else 0.0
        assert each.logp == pytest.approx(expected, abs=1e-8)
    kinds = {(each.ended, each.text.endswith(".")) for each in found}
    assert len(kinds) > 1, "the draw shows more than one way to end"


@torch.no_grad()
def test_without_temperature_the_likeliest_sentence_is_written():
    net, prompt = mllm(), batch_of(PROMPTS[:1], pictures(1))
    (found,) = sample_sentences(net, Words(), prompt, 1, temperature=0, max_new_tokens=5)
    expected = net.generate(prompt, max_new_tokens=5, do_sample=False, eos_token_id=END, pad_token_id=PAD)[0].tolist()
    assert list(found.ids) == expected[: len(found.ids)]


@torch.no_grad()
def test_draws_follow_the_model():
    """Shares of first ids of many short samples, against the distribution."""
    net, prompt = mllm(), batch_of(PROMPTS[2:])
    logits = net(prompt)[0, -1]
    logits[IMAGE] = -torch.inf
    share = (logits / 2.0).softmax(0)
    found = sample_sentences(net, Words(), prompt, 4000, seed=1, temperature=2.0, max_new_tokens=1)
    counts = torch.zeros_like(share)
    for each in found:
        counts[each.ids[0] if each.ids else END] += 1
    error = (share * (1 - share) / 4000).sqrt()
    assert ((counts / 4000 - share).abs() <= 4.5 * error + 1e-3).all()
