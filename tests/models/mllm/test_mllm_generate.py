"""Generation with pictures by transformers' own loop, against one pass over everything for each token."""

import pytest
import torch
from mllm_tiny import END, IMAGE, PAD, TOKENS, batch_of, mllm, pictures, row

PROMPTS = [row(7, "p", 9), row(11, "p", 12, 13, "p", 14), row(16, 17)]
IMAGES = [1, 2, 0]
STEPS = 7
SETTINGS = {"max_new_tokens": STEPS, "do_sample": False, "eos_token_id": None, "pad_token_id": PAD}


def greedy(net, prompt, image):
    """Most probable ids one by one, by whole passes without a cache or a loop of transformers."""
    ids = list(prompt)
    for _ in range(STEPS):
        ids.append(int(net(batch_of([ids], image))[0, -1].argmax()))
        assert ids[-1] != IMAGE
    return ids[len(prompt) :]


def expected(net, image):
    parts = image.split(IMAGES)
    return [greedy(net, prompt, part if len(part) else None) for prompt, part in zip(PROMPTS, parts, strict=True)]


@pytest.mark.parametrize("attention", ["vision_suite", "sdpa"])
@pytest.mark.parametrize("side", ["left", "right"])
@torch.no_grad()
def test_greedy_answers_are_those_of_whole_passes(side, attention):
    net, image = mllm(attention=attention), pictures(3)
    calls = net.tower.network.calls
    written = net.generate(batch_of(PROMPTS, image, side), **SETTINGS)
    assert net.tower.network.calls == calls + 1  # pictures are encoded once
    assert written.tolist() == expected(net, image)


@pytest.mark.parametrize(
    "settings", [{"use_cache": False}, {"prefill_chunk_size": 3}, {"prompt_lookup_num_tokens": 2}], ids=str
)
@torch.no_grad()
def test_other_ways_through_the_loop_write_the_same(settings):
    net, image = mllm(attention="sdpa"), pictures(3)
    if "prompt_lookup_num_tokens" in settings:  # one prompt at a time
        written = net.generate(batch_of(PROMPTS[1:2], image[1:3]), **SETTINGS, **settings)
        assert written.tolist() == expected(net, image)[1:2]
    else:
        assert net.generate(batch_of(PROMPTS, image), **SETTINGS, **settings).tolist() == expected(net, image)


@torch.no_grad()
def test_beams_in_a_batch_are_those_alone_and_without_cache():
    net, image = mllm(), pictures(3)
    beams = {**SETTINGS, "num_beams": 3}
    together = net.generate(batch_of(PROMPTS, image), **beams)
    assert together.tolist() == net.generate(batch_of(PROMPTS, image), **beams, use_cache=False).tolist()
    for number, part in enumerate(image.split(IMAGES)):
        alone = net.generate(batch_of([PROMPTS[number]], part if len(part) else None), **beams)
        assert alone.tolist() == together[number : number + 1].tolist()
    one = net.generate(batch_of(PROMPTS, image), **SETTINGS)
    assert (score(net, together, image) >= score(net, one, image) - 1e-9).all()


def score(net, written, image):
    """Log-probability of written answers."""
    parts, result = image.split(IMAGES), []
    for prompt, answer, part in zip(PROMPTS, written.tolist(), parts, strict=True):
        logits = net(batch_of([prompt + answer], part if len(part) else None))[0].log_softmax(-1)
        places = range(len(prompt) - 1, len(prompt) + len(answer) - 1)
        result.append(sum(float(logits[place, each]) for place, each in zip(places, answer, strict=True)))
    return torch.tensor(result)


@torch.no_grad()
def test_sampled_answers_keep_to_their_prompts():
    net, image = mllm(), pictures(3)
    torch.manual_seed(0)
    sampled = net.generate(batch_of(PROMPTS, image), **{**SETTINGS, "do_sample": True}, top_k=1, num_return_sequences=2)
    assert sampled.tolist() == [answer for answer in expected(net, image) for _ in range(2)]


@torch.no_grad()
def test_answers_end_and_are_padded():
    net, image = mllm(), pictures(3)
    answers = expected(net, image)
    end = answers[0][2]
    written = net.generate(batch_of(PROMPTS, image), **{**SETTINGS, "eos_token_id": end})
    for answer, got in zip(answers, written.tolist(), strict=True):
        stop = answer.index(end) + 1 if end in answer else len(answer)
        assert got == (answer[:stop] + [PAD] * STEPS)[: written.shape[1]]


@torch.no_grad()
def test_a_failed_generation_leaves_the_decoder_as_it_was():
    net, image = mllm(), pictures(3)
    with pytest.raises(ValueError, match="nonsense"):
        net.generate(batch_of(PROMPTS, image), nonsense=1)
    assert not net.decoder._forward_pre_hooks
    assert END < TOKENS < IMAGE
