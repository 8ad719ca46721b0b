"""Sentences that a model writes next, sampled side by side behind one prompt."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from vision_suite.errors import check_number
from vision_suite.models.mllm.network import Mllm
from vision_suite.models.mllm.prefix import Prefix
from vision_suite.text.sentences import ends_sentence
from vision_suite.types.instruct import Chat, InstructBatch


class Candidate(NamedTuple):
    """A sentence that was sampled.

    Attributes:
        text: The sentence, without white space at its ends; empty if the answer ends at once.
        ids: Its ids, without the one that ends the answer.
        logp: Log-probability of the ids under the model, at temperature 1.
        ended: The answer ended behind it; false where the sentence was cut by `max_new_tokens`.
    """

    text: str
    ids: tuple[int, ...]
    logp: float
    ended: bool


@torch.no_grad()
def sample_sentences(
    model: Mllm,
    chat: Chat,
    prompt: InstructBatch,
    count: int,
    *,
    seed: int = 0,
    temperature: float = 0.7,
    max_new_tokens: int = 512,
) -> list[Candidate]:
    """Sample the next sentence several times (SENTINEL, section 3.1).

    The prompt is read once. A sentence is cut where its text ends one by the rules of `vision_suite.text.sentences`
    and the id that would follow agrees, so that ``3.5`` and ``Mr. Smith`` stay whole; that id also tells whether the
    model ends its answer there.

    Args:
        model: Network, in evaluation mode.
        chat: Format of the conversations.
        prompt: One row: the question and the beginning of the answer.
        count: Number of sentences.
        seed: Seed of the random draws; equal seeds give equal sentences.
        temperature: Temperature of sampling; 0 takes the likeliest id each time.
        max_new_tokens: Longest sentence in ids.

    Returns:
        ``count`` candidates, in order, not necessarily distinct.

    Raises:
        ConfigError: A number is out of range, or the prompt is packed.
    """
    check_number("count", count, low=1, whole=True)
    check_number("temperature", temperature, low=0)
    check_number("max_new_tokens", max_new_tokens, low=1, whole=True)
    prefix = Prefix(model, prompt, count)
    device = prefix.last.device
    generator = torch.Generator().manual_seed(seed)
    written: list[list[int]] = [[] for _ in range(count)]
    logps = [0.0] * count
    found: dict[int, Candidate] = {}
    active = list(range(count))
    while True:
        logits = (prefix.last @ model.head_weight.T).double().cpu()
        normaliser = logits.logsumexp(1)  # with the picture's placeholder, which training knows but nobody writes
        if 0 <= model.image_token_id < logits.shape[1]:
            logits[:, model.image_token_id] = -torch.inf
        # Every row has its draw at every step, whichever rows are finished: a row's sentence depends on no other.
        draws = torch.rand(count, generator=generator, dtype=torch.float64)[active]
        chosen = _drawn(logits, draws, temperature)
        own = (logits.gather(1, chosen[:, None])[:, 0] - normaliser).tolist()
        kept = []
        for place, (row, id) in enumerate(zip(active, chosen.tolist(), strict=True)):
            text = chat.decode(written[row])
            ended = id in chat.end_ids
            if ended or ends_sentence(text, chat.decode([*written[row], id])[len(text) :]):
                found[row] = Candidate(text.strip(), tuple(written[row]), logps[row], ended)
            elif len(written[row]) == max_new_tokens:
                found[row] = Candidate(text.strip(), tuple(written[row]), logps[row], False)
            else:
                written[row].append(id)
                logps[row] += own[place]
                kept.append(place)
        if not kept:
            return [found[row] for row in range(count)]
        if len(kept) < len(active):
            prefix.select(kept)
            active = [active[place] for place in kept]
        prefix.follow(torch.tensor([[written[row][-1]] for row in active], device=device))


def _drawn(logits: Tensor, draws: Tensor, temperature: float) -> Tensor:
    """Ids (R,) by their cumulative probabilities, or the likeliest ones."""
    if not temperature:
        return logits.argmax(1)
    cumulative = (logits / temperature).softmax(1).cumsum(1)
    return torch.searchsorted(cumulative, (draws * cumulative[:, -1])[:, None], right=True)[:, 0].clamp_max(
        logits.shape[1] - 1
    )
