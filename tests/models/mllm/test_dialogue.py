"""Conversations turn by turn: each answer is that of the whole prompt, pictures in their places, pieces in order."""

import pytest
import torch

from vision_suite.errors import ConfigError, DataError
from vision_suite.layers.decoders import DecoderShape, new_decoder
from vision_suite.models.mllm import Mllm, Projector, ProjectorConfig, TowerConfig, build_tower
from vision_suite.models.mllm.dialogue import Dialogue, TextStream, user_parts
from vision_suite.text.chat import ChatFormat
from vision_suite.text.tokenizers import word_tokenizer
from vision_suite.types.instruct import Message

WORDS = "what is this a red fox dog and an old clock on my desk or the other one"


def model():
    tower = build_tower(TowerConfig("conv")).requires_grad_(False)
    chat = ChatFormat(word_tokenizer([WORDS]), image_tokens=tower.tokens, system="")
    torch.manual_seed(0)
    shape = DecoderShape(width=32, depth=2, heads=4, positions=128, tied=False)
    decoder = new_decoder(shape, chat.vocabulary_size, pad_id=chat.pad_id, end_ids=chat.end_ids)
    for weight in decoder.parameters():  # so large that every token matters
        if weight.ndim == 2:
            torch.nn.init.normal_(weight, std=0.4)
    projector = Projector(ProjectorConfig(), tower.width, 32, tokens=tower.tokens)
    torch.nn.init.normal_(projector.layers[-1].weight, std=0.5)
    return Mllm(decoder, tower, projector, chat.image_token_id).eval(), chat


def images(number):
    return list(torch.randn(number, 3, 64, 64, generator=torch.Generator().manual_seed(0)))


@torch.no_grad()
def greedy(net, chat, messages, pictures, steps):
    """Answer by whole passes over everything."""
    ids = chat.prompt(messages).ids
    start = len(ids)
    for _ in range(steps):
        batch = {"input_ids": torch.tensor([ids])}
        if pictures:
            batch["image"] = torch.stack(pictures)
        logits = net(batch)[0, -1]
        logits[chat.image_token_id] = -torch.inf  # a placeholder is never written
        ids = [*ids, int(logits.argmax())]
        if ids[-1] in chat.end_ids:
            break
    return chat.decode(ids[start:])


def test_every_turn_is_that_of_the_whole_conversation():
    net, chat = model()
    dialogue, pictures = Dialogue(net, chat, max_length=128, max_new_tokens=6, do_sample=False), images(3)
    calls = []
    net.tower.register_forward_hook(lambda module, args, out: calls.append(len(args[0])))
    turns = [("what is this", pictures[:1]), ("and an old dog", []), ("<image> or <image> the other", pictures[1:])]
    messages, shown = [], []
    for text, own in turns:
        pieces = []
        answer = dialogue.say(text, own, pieces.append)
        messages.append(Message("user", user_parts(text, len(shown), len(own))))
        shown += own
        assert answer == greedy(net, chat, messages, shown, 6)
        assert "".join(pieces) == answer
        messages.append(Message("assistant", (answer,)))
    assert dialogue.messages == messages
    assert dialogue.left_out == 0
    assert calls[:3] == [1, 1, 1]


def test_oldest_turns_and_their_pictures_are_left_out():
    net, chat = model()
    first, second = images(2)
    turns = [Message("user", user_parts("what is this", 0, 1))]
    room = len(chat.prompt(turns).ids) + 4
    dialogue = Dialogue(net, chat, max_length=room + 4, max_new_tokens=4, do_sample=False)
    dialogue.say("what is this", [first])
    answer = dialogue.say("a red fox", [second])
    assert dialogue.left_out == 2
    assert answer == greedy(net, chat, [Message("user", user_parts("a red fox", 0, 1))], [second], 4)
    with pytest.raises(DataError, match="longer than the"):
        dialogue.say("a red fox " * 9)
    assert len(dialogue.messages) == 4
    dialogue.reset()
    assert not dialogue.messages


def test_a_turn_that_failed_leaves_no_trace():
    net, chat = model()
    dialogue = Dialogue(net, chat, max_length=64, max_new_tokens=4, do_sample=False)
    with pytest.raises(DataError, match="2 <image> markers, and 1 pictures"):
        dialogue.say("<image> or <image>", images(1))
    plain = dialogue.say("what is this")
    assert plain == greedy(net, chat, [Message("user", ("what is this",))], [], 4)
    with pytest.raises(ConfigError, match="must be below max_length"):
        Dialogue(net, chat, max_length=4, max_new_tokens=4)


def test_a_system_turn_is_kept():
    net, chat = model()
    dialogue = Dialogue(net, chat, max_length=64, max_new_tokens=4, do_sample=False, system="a red fox")
    for _ in range(2):
        answer = dialogue.say("what is this")
        messages = [Message("system", ("a red fox",)), Message("user", ("what is this",))]
        assert answer == greedy(net, chat, messages, [], 4)
        dialogue.reset()


@pytest.mark.parametrize(
    ("text", "count", "parts"),
    [
        ("what?", 0, ("what?",)),
        ("what?", 2, (4, "\n", 5, "\nwhat?")),
        ("a <image> b", 1, ("a ", 4, " b")),
        ("a <image>", 2, (4, "\na ", 5)),
        ("<image><image>", 2, (4, 5)),
    ],
)
def test_parts_of_a_turn(text, count, parts):
    assert user_parts(text, 4, count) == parts


def test_characters_of_several_ids_come_whole():
    class Bytes:
        def decode(self, ids):
            return bytes(ids).decode(errors="replace")

    pieces = []
    stream = TextStream(Bytes(), pieces.append)
    stream.put(torch.tensor([[1, 2, 3]]))  # the prompt
    for each in "aé🦊b".encode():
        stream.put(torch.tensor([each]))
    stream.end()
    assert pieces == ["a", "é", "🦊", "b"]
