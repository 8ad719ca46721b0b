"""The projector that all methods of `wings_forgetting` start from: it tells the pictures' names in the decoder's words.

Beside a frozen decoder, a projector of this size needs some 20,000 rows before a picture's name comes through; runs of
a few thousand rows then compare blind models. Here the projector is trained without the decoder, in seconds: each of
its tokens becomes like the embedding of the picture's name, and unlike those of the other names.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import AutoTokenizer

from vision_suite.layers.decoders import load_decoder
from vision_suite.models.mllm.projector import Projector, ProjectorConfig, embedding_std
from vision_suite.models.mllm.tower import Tower, TowerConfig, build_tower

BATCH, RATE, DECAY = 128, 3e-3, 0.01
SHARPNESS = 20.0  # of the cosines that are compared


class Named(NamedTuple):
    """Pictures with their names.

    Attributes:
        features: (N, T, W) tokens of the tower.
        names: N names.
    """

    features: Tensor
    names: list[str]


class Words(NamedTuple):
    """Names in the decoder's embeddings.

    Attributes:
        names: C names.
        embeddings: (C, d) mean embedding of the tokens of each name, as it stands inside a sentence.
        std: Standard deviation of all embeddings.
    """

    names: list[str]
    embeddings: Tensor
    std: float

    def likeness(self, tokens: Tensor) -> Tensor:
        """Cosines (N, T, C) of projected tokens (N, T, d) with the names; what all names share is taken off first."""
        centre = self.embeddings.mean(0)
        words = nn.functional.normalize(self.embeddings - centre, dim=-1)
        return nn.functional.normalize(tokens - centre, dim=-1) @ words.T


def aligned(fitted: Named, words: Words, seed: int, steps: int) -> Projector:
    """Train a projector towards the names' embeddings.

    Args:
        fitted: Pictures to train on.
        words: Names.
        seed: Seed of weights and order.
        steps: Number of steps of 128 pictures.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tokens, width = fitted.features.shape[1:]
        config = ProjectorConfig(kind="mlp2x_gelu", norm=True)
        projector = Projector(
            config, width, words.embeddings.shape[1], tokens=tokens, embedding_std=words.std
        )  # fmt: skip
        target = torch.tensor([words.names.index(name) for name in fitted.names])
        optimizer = torch.optim.AdamW(projector.parameters(), lr=RATE, weight_decay=DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
        for _ in range(steps):
            rows = torch.randint(len(target), (BATCH,))
            projected = projector(fitted.features[rows])
            likeness = SHARPNESS * words.likeness(projected)
            told_apart = nn.functional.cross_entropy(likeness.flatten(0, 1), target[rows].repeat_interleave(tokens))
            wanted = words.embeddings[target[rows]].unsqueeze(1).expand_as(projected)
            loss = told_apart + nn.functional.mse_loss(projected, wanted) / words.std**2
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return projector


@torch.no_grad()
def nearest_right(projector: Projector, pictures: Named, words: Words) -> float:
    """Share of pictures whose tokens are on average nearest to their own name."""
    found = words.likeness(projector(pictures.features)).mean(1).argmax(-1).tolist()
    return float(np.mean([words.names[each] == name for each, name in zip(found, pictures.names, strict=True)]))


def names_of(decoder: Path, names: list[str]) -> Words:
    """The embeddings of names in a decoder's folder."""
    tokenizer: Any = AutoTokenizer.from_pretrained(decoder)
    embedding: Any = load_decoder(decoder).get_input_embeddings()
    weight = embedding.weight.detach()
    means = [weight[tokenizer(f" {name}", add_special_tokens=False)["input_ids"]].mean(0) for name in names]
    return Words(names, torch.stack(means), embedding_std(embedding))


def pictures_of(tower: Tower, table: Path, root: Path) -> Named:
    """Pictures of a table of questions with one answer each, as LLaVA JSON or lines of this suite's questions."""
    if table.suffix == ".json":
        rows = json.loads(table.read_text(encoding="utf-8"))
        found = [(row["image"], row["conversations"][1]["value"]) for row in rows]
    else:
        turns = [json.loads(line)["turns"][-1] for line in table.read_text(encoding="utf-8").splitlines()]
        found = [(turn["images"][0], turn["answer"]) for turn in turns if turn["source"] == "name"]
    features = [tower_features(tower, [root / path for path, _ in found[first : first + BATCH]])
                for first in range(0, len(found), BATCH)]  # fmt: skip
    return Named(torch.cat(features), [name for _, name in found])


@torch.no_grad()
def tower_features(tower: Tower, paths: list[Path]) -> Tensor:
    """Tokens (N, T, W) of pictures."""
    pixels = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])
    image = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(each).view(-1, 1, 1) for each in (tower.mean, tower.std))
    return tower((image - mean) / std)


def write_start(target: Path, tower_file: Path, data: Path, seed: int, steps: int) -> float:
    """Write the projector of a seed as a file for ``--init_from``.

    Args:
        target: The file.
        tower_file: Checkpoint of mllm/conv_tower.
        data: Folder of the prepared data.
        seed: Seed.
        steps: Number of steps.

    Returns:
        Share of validation pictures whose tokens are nearest to their own name.
    """
    torch.set_num_threads(1)  # small products: more threads take longer
    scenes = data / "emoji-scenes-closed"
    tower = build_tower(TowerConfig(kind="conv", checkpoint=str(tower_file))).eval()
    fitted, validated = (
        pictures_of(tower, scenes / name, scenes) for name in ("train_name.json", "questions_val.jsonl")
    )
    words = names_of(data / "smollm2", sorted(set(fitted.names)))
    projector = aligned(fitted, words, seed, steps)
    target.parent.mkdir(parents=True, exist_ok=True)
    torch.save({f"projector.{name}": value for name, value in projector.state_dict().items()}, target)
    return nearest_right(projector, validated, words)
