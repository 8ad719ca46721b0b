"""Open-vocabulary detectors of transformers, asked for the presence of named objects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from vision_suite.detectors.boxes import ObjectBoxes, check_min_score
from vision_suite.detectors.families import asked_text, family_of
from vision_suite.detectors.overlap import one_box_each
from vision_suite.detectors.protocol import ABSTAIN, Scores, check_requests, score_once
from vision_suite.detectors.span import BOX_THRESHOLD, chunks
from vision_suite.detectors.zero_shot import chosen_device, load_zero_shot
from vision_suite.errors import check_number


class _Prompt(NamedTuple):
    """Names that are asked about one picture at once: index of the picture, names, and their texts."""

    picture: int
    names: list[str]
    texts: list[str]


class HubDetector:
    """GroundingDINO, MM-GroundingDINO, OWL-ViT, OWLv2 or OmDet-Turbo as an `OpenVocabDetector`.

    Names are put into prompts that stay below the network's limit of tokens; a name that is too long alone, or has no
    words, is not judged (`ABSTAIN`). Code that comes with a model is never run.

    Args:
        model: Name on the hub, or a local folder.
        device: Device that it runs on: auto, cpu, cuda ...
        batch_size: Prompts in one pass.
        box_threshold: Probability that the best token of a box of GroundingDINO must exceed. A score above
            `vision_suite.detectors.span.TEXT_THRESHOLD` is then a presence by the reference's two thresholds; 0 lets
            every box count.

    Attributes:
        name: The model's name, with the box threshold where it is not the default one: other scores than those.
        vocabulary: None: any name.

    Raises:
        ConfigError: A setting is out of range, or the model is of another kind.
        MissingDependencyError: transformers is not installed.
        DataError: The model cannot be loaded.
    """

    vocabulary: frozenset[str] | None = None

    def __init__(
        self, model: str, device: str = "auto", batch_size: int = 4, box_threshold: float = BOX_THRESHOLD
    ) -> None:
        check_number("batch_size", batch_size, low=1, whole=True)
        check_number("box_threshold", box_threshold, low=0, below=1)
        self.name = model if box_threshold == BOX_THRESHOLD else f"{model} (box threshold {box_threshold:g})"
        self.batch_size = batch_size
        chosen = chosen_device(device)
        processor, network = load_zero_shot(model, "the detector's setting")
        self.family = family_of(processor, network.to(chosen).eval(), box_threshold)

    def score(self, images: Sequence[Image.Image], queries: Sequence[Sequence[str]]) -> Scores:
        """Scores from 0 to 1 of each picture's names; each picture and name goes through the network once.

        Args:
            images: B RGB pictures.
            queries: Names asked about each of them.

        Raises:
            DataError: The numbers of pictures and lists of names differ.
        """
        return score_once(images, queries, self._ask)

    def detect(
        self, images: Sequence[Image.Image], queries: Sequence[Sequence[str]], min_score: float
    ) -> list[ObjectBoxes]:
        """Boxes of each picture's names above a score, best first, one box for each object.

        Args:
            images: B RGB pictures.
            queries: Names looked for in each of them.
            min_score: Score that a box must exceed.

        Raises:
            ConfigError: The score is out of range.
            DataError: The numbers of pictures and lists of names differ.
        """
        check_min_score(min_score)
        check_requests(images, queries)
        return [self._boxes(image, names, min_score) for image, names in zip(images, queries, strict=True)]

    def _ask(self, images: Sequence[Image.Image], queries: Sequence[Sequence[str]]) -> Scores:
        """Scores of different pictures, each with different names."""
        scores: Scores = [dict.fromkeys(names, ABSTAIN) for names in queries]
        prompts = [prompt for row, names in enumerate(queries) for prompt in self._prompts(row, names)]
        for batch in self._batches(images, prompts):
            found = self.family.scores([images[p.picture] for p in batch], [p.texts for p in batch])
            for prompt, values in zip(batch, found, strict=True):
                scores[prompt.picture].update(zip(prompt.names, values, strict=True))
        return scores

    def _batches(self, images: Sequence[Image.Image], prompts: Sequence[_Prompt]) -> Iterator[list[_Prompt]]:
        """Prompts about pictures of one size: a picture that is filled up to a larger one gets other scores."""
        by_size: dict[tuple[int, int], list[_Prompt]] = {}
        for prompt in prompts:
            by_size.setdefault(images[prompt.picture].size, []).append(prompt)
        for alike in by_size.values():
            alike.sort(key=lambda prompt: len(prompt.texts))
            for start in range(0, len(alike), self.batch_size):
                yield alike[start : start + self.batch_size]

    def _prompts(self, picture: int, names: Sequence[str]) -> Iterator[_Prompt]:
        """Prompts of a picture, without the names that cannot be asked."""
        texts = {name: asked_text(self.family, name) for name in names}
        costs = {name: self.family.cost(text) for name, text in texts.items() if text}
        askable = [name for name, cost in costs.items() if cost <= self.family.room]
        for part in chunks(askable, costs.__getitem__, self.family.room):
            yield _Prompt(picture, part, [texts[name] for name in part])

    def _boxes(self, image: Image.Image, names: Sequence[str], min_score: float) -> ObjectBoxes:
        corners, scores, labels = [], [], []
        prompts = list(self._prompts(0, list(dict.fromkeys(names))))
        notes = {"names_not_asked": len(set(names)) - sum(len(prompt.names) for prompt in prompts)}
        for prompt in prompts:
            found = self.family.found(image, prompt.texts, min_score)
            corners.append(found.corners.numpy())
            scores.append(found.scores.numpy())
            labels += [prompt.names[number] for number in found.names.tolist()]
        return best_boxes(
            np.concatenate(corners) if corners else np.empty((0, 4)),
            np.concatenate(scores) if scores else np.empty(0),
            labels,
            image.size,
            notes,
        )


def best_boxes(
    corners: np.ndarray, scores: np.ndarray, labels: Sequence[str], size: tuple[int, int], notes: dict[str, int]
) -> ObjectBoxes:
    """Boxes cut at the border, and of overlapping ones of a name the best.

    Args:
        corners: (N, 4) x1, y1, x2, y2 in pixels.
        scores: (N,) scores.
        labels: N names.
        size: Width and height of the picture.
        notes: Counts to hand on.
    """
    order = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    classes = torch.tensor([order[label] for label in labels], dtype=torch.long)
    boxes, values = torch.from_numpy(np.float32(corners)), torch.from_numpy(np.float32(scores))
    inside, kept, counts = one_box_each(boxes, values, size, classes)
    named = tuple(labels[number] for number in kept.tolist())
    return ObjectBoxes(inside.numpy(), named, values[kept].numpy(), {**counts, **notes})
