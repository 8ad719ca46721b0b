"""A projector that learns the words of the answers: what is trained, what its tokens are like, and what is refused."""

import instruct_tiny
import pytest
import torch

from vision_suite.errors import ConfigError, DataError
from vision_suite.lit_modules.projector import LitProjector
from vision_suite.models.mllm import ProjectorConfig
from vision_suite.models.mllm.answer_words import AnswerWords
from vision_suite.models.wings.build import DecoderConfig, part_of
from vision_suite.optim import OptimConfig
from vision_suite.types.instruct import IGNORED


def module(data, folder, **settings):
    torch.manual_seed(0)
    return LitProjector(
        data.vocabulary_size, data.image_tokens, decoder=DecoderConfig(source=str(folder)), tower=instruct_tiny.TOWER,
        projector=ProjectorConfig(), optim=OptimConfig(lr=1e-2, weight_decay=0.0, schedule="constant"), **settings,
    )  # fmt: skip


def nearest(net, data):
    """Share of pictures of the training rows whose tokens are nearest to their own colour."""
    net.eval()
    words = AnswerWords(net.model.embedding, [], data.chat.end_ids)
    right = []
    for batch in data.train_dataloader():
        if "image" not in batch and "features" not in batch:
            continue
        pictures = net.model.picture_embeddings(batch)
        if pictures is None:
            continue
        colours = {name: data.chat.answer(name, end_of_turn=False) for name in instruct_tiny.COLOURS}
        all_words = torch.stack([net.model.embedding.weight[ids].mean(0) for ids in colours.values()])
        own, of_own = words.of(batch)
        mean = pictures.mean(1)
        chosen = all_words[torch.cdist(mean, all_words).argmin(1)]
        right += (chosen == own[of_own]).all(1).tolist()
    return sum(right) / len(right)


def test_tokens_become_the_words_of_the_answers(data, folder, tmp_path):
    net = module(data, folder)
    net.load_base()
    before = {name: value.detach().clone() for name, value in net.model.named_parameters()}
    trainer = instruct_tiny.trainer(tmp_path, max_steps=200)
    trainer.fit(net, datamodule=data)
    moved = {part_of(name) for name, value in net.model.named_parameters() if not torch.equal(before[name], value)}
    assert moved == {"projector"}
    with torch.no_grad():
        assert nearest(net, data) == 1.0
        net.model.load_state_dict(before, strict=False)
        assert nearest(net, data) < 0.6
    trainer.test(net, datamodule=data, verbose=False)
    assert "accuracy/next" in net.report.metrics, "the decoder is evaluated as elsewhere"


def test_answers_of_other_lengths_are_told_apart_too(data, folder, tmp_path):
    net = module(data, folder)
    instruct_tiny.trainer(tmp_path, max_steps=1).fit(net, datamodule=data)
    colours = {tuple(data.chat.answer(name, end_of_turn=False)) for name in instruct_tiny.COLOURS}
    assert set(net._answers.place) == colours, "rows without pictures have no part"


def test_answers_of_a_batch_that_are_new_come_behind():
    embedding = torch.nn.Embedding(10, 4)
    words = AnswerWords(embedding, [(1,), (2, 3), (1,), (4,), ()], [9], most=2)
    assert list(words.place) == [(1,), (2, 3)]
    batch = {
        "labels": torch.tensor([[IGNORED, 2, 3, 9], [IGNORED, 7, 9, IGNORED], [IGNORED, 5, 9, IGNORED]]),
        "image_of_token": torch.tensor([[2, 2, -1, -1], [0, 1, -1, -1], [-1, -1, -1, -1]]),
    }
    found, own = words.of(batch)
    assert own.tolist() == [2, 2, 1], "in the order of the pictures, two of them in the second row"
    torch.testing.assert_close(
        found, torch.stack([embedding.weight[1], embedding.weight[[2, 3]].mean(0), embedding.weight[7]])
    )
    assert not found.requires_grad
    assert words.of({**batch, "image_of_token": torch.full((3, 4), -1)})[1].tolist() == []


def test_what_is_no_answer_is_refused():
    words = AnswerWords(torch.nn.Embedding(10, 4), [(1,)], [9])
    batch = {"labels": torch.tensor([[IGNORED, 9]]), "image_of_token": torch.tensor([[0, -1]])}
    with pytest.raises(DataError, match="no words to answer: leave such rows out"):
        words.of(batch)
    with pytest.raises(DataError, match=r"set data\.packed to false"):
        words.of({**batch, "segments": torch.zeros(1, 2)})


def test_a_projector_needs_both_sides(data, folder):
    with pytest.raises(ConfigError, match=r"give --model\.tower and --model\.projector"):
        LitProjector(data.vocabulary_size, decoder=DecoderConfig(source=str(folder)))
    with pytest.raises(ConfigError, match="sharpness"):
        module(data, folder, sharpness=0.0)
