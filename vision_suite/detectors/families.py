"""Families of open-vocabulary detectors in transformers: how each is asked for names, and what it answers.

A family reads the network's own outputs: results made for people merge or cut names, see
`vision_suite.detectors.span`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from vision_suite.detectors.span import join_names, prompt_name, span_boxes, token_spans
from vision_suite.errors import ConfigError


class Found(NamedTuple):
    """Boxes of one picture.

    Attributes:
        corners: (N, 4) x1, y1, x2, y2 in pixels.
        scores: (N,) scores.
        names: (N,) int64 indices of names.
    """

    corners: Tensor
    scores: Tensor
    names: Tensor


class Family(ABC):
    """Networks that take names in the same way.

    Args:
        processor: Its processor.
        model: The network, in evaluation mode.
        box_threshold: Probability that a box must have to count at all, where the family knows one.

    Attributes:
        template: Text that a name is put into.
        room: Tokens that all names of one prompt may take.
    """

    template: ClassVar[str] = "{}"
    room: int

    def __init__(self, processor: Any, model: Any, box_threshold: float) -> None:
        self.processor, self.model, self.box_threshold = processor, model, box_threshold

    @abstractmethod
    def cost(self, text: str) -> int:
        """Tokens of `room` that a name takes; more than `room` where it cannot be asked."""

    @abstractmethod
    def scores(self, images: Sequence[Image.Image], texts: Sequence[Sequence[str]]) -> list[list[float]]:
        """Scores of the texts of each picture."""

    @abstractmethod
    def found(self, image: Image.Image, texts: Sequence[str], min_score: float) -> Found:
        """Boxes of one picture above a score."""

    def _run(self, images: Sequence[Image.Image], text: Any, **settings: Any) -> Any:
        """Outputs of the network."""
        inputs = self.processor(images=list(images), text=text, return_tensors="pt", **settings)
        with torch.inference_mode():
            return self.model(**inputs.to(self.model.device))

    def _length(self, text: str) -> int:
        """Tokens of a text with the special ones."""
        return len(self.processor.tokenizer(text)["input_ids"])


class Grounding(Family):
    """GroundingDINO and MM-GroundingDINO: one prompt of names with periods, scored by the span rule."""

    def __init__(self, processor: Any, model: Any, box_threshold: float) -> None:
        super().__init__(processor, model, box_threshold)
        if not processor.tokenizer.is_fast:
            raise ConfigError("the detector's tokenizer tells no offsets, which the span rule needs: use a fast one")
        # The network cuts longer prompts without a word.
        self.room = min(int(model.config.max_text_len), int(processor.tokenizer.model_max_length)) - 2

    def cost(self, text: str) -> int:
        """Tokens of a name and of its period."""
        return self._length(text) - 2 + 1

    def scores(self, images: Sequence[Image.Image], texts: Sequence[Sequence[str]]) -> list[list[float]]:
        """Scores by the span rule."""
        output, spans = self._ask(images, texts)
        probabilities = output.logits.float().sigmoid().cpu()
        rows = zip(probabilities, spans, strict=True)
        return [span_boxes(row, own, self.box_threshold).amax(dim=0).tolist() for row, own in rows]

    def found(self, image: Image.Image, texts: Sequence[str], min_score: float) -> Found:
        """Boxes whose span has a score above the least one, a box for each name that it shows."""
        output, spans = self._ask([image], [texts])
        scores = span_boxes(output.logits[0].float().sigmoid().cpu(), spans[0], self.box_threshold)
        boxes, names = (scores > min_score).nonzero(as_tuple=True)
        corners = _corners(output.pred_boxes[0].float().cpu()[boxes], image)
        return Found(corners, scores[boxes, names], names)

    def _ask(self, images: Sequence[Image.Image], texts: Sequence[Sequence[str]]) -> tuple[Any, list[list[list[int]]]]:
        prompts = [join_names(own) for own in texts]
        tokens = [self.processor.tokenizer(prompt, return_offsets_mapping=True) for prompt, _ in prompts]
        spans = [token_spans(own["offset_mapping"], places) for own, (_, places) in zip(tokens, prompts, strict=True)]
        output = self._run(images, [prompt for prompt, _ in prompts], padding=True)
        return output, spans


class Owl(Family):
    """OWL-ViT and OWLv2: each name is a query of its own, in a sentence of up to 16 tokens."""

    template = "a photo of a {}"

    def __init__(self, processor: Any, model: Any, box_threshold: float) -> None:
        super().__init__(processor, model, box_threshold)
        self.limit = int(model.config.text_config.max_position_embeddings)
        self.room = 100  # queries of one pass; they do not see one another

    def cost(self, text: str) -> int:
        """One query, or too much for a sentence beyond the text encoder's length."""
        return 1 if self._length(text) <= self.limit else self.room + 1

    def scores(self, images: Sequence[Image.Image], texts: Sequence[Sequence[str]]) -> list[list[float]]:
        """Best score of each query; the queries that fill up shorter lists are left out."""
        output = self._run(images, [list(own) for own in texts])
        best = output.logits.float().amax(dim=1).sigmoid().cpu()
        return [row[: len(own)].tolist() for row, own in zip(best, texts, strict=True)]

    def found(self, image: Image.Image, texts: Sequence[str], min_score: float) -> Found:
        """Boxes of the network's own post-processing: each has its best name only."""
        output = self._run([image], [list(texts)])
        return _post_processed(self.processor, output, image, min_score)


class OmDet(Family):
    """OmDet-Turbo: each name is a class of its own, and all of them stand in a task of up to 77 tokens."""

    def __init__(self, processor: Any, model: Any, box_threshold: float) -> None:
        super().__init__(processor, model, box_threshold)
        # The processor cuts names and the task "Detect a, b." at this length without a word.
        self.limit = 77
        self.room = self.limit - self._length("Detect .")

    def cost(self, text: str) -> int:
        """Tokens of a name and of its comma in the task."""
        return self._length(text) - 2 + 1

    def scores(self, images: Sequence[Image.Image], texts: Sequence[Sequence[str]]) -> list[list[float]]:
        """Best score of each class; pictures go one by one, since classes that fill up a list change the scores."""
        return [self._best(image, own) for image, own in zip(images, texts, strict=True)]

    def _best(self, image: Image.Image, texts: Sequence[str]) -> list[float]:
        output = self._run([image], [list(texts)])
        found: list[float] = output.decoder_class_logits[0].float().amax(dim=0).sigmoid().tolist()
        return found

    def found(self, image: Image.Image, texts: Sequence[str], min_score: float) -> Found:
        """Boxes of the network's own post-processing."""
        output = self._run([image], [list(texts)])
        return _post_processed(self.processor, output, image, min_score)


FAMILIES: Mapping[str, type[Family]] = {
    "grounding-dino": Grounding,
    "mm-grounding-dino": Grounding,
    "owlvit": Owl,
    "owlv2": Owl,
    "omdet-turbo": OmDet,
}


def family_of(processor: Any, model: Any, box_threshold: float) -> Family:
    """The family of a network.

    Raises:
        ConfigError: It belongs to none.
    """
    kind = str(model.config.model_type)
    if kind not in FAMILIES:
        raise ConfigError(f"a {kind} is asked in another way than {', '.join(FAMILIES)}: use one of these")
    return FAMILIES[kind](processor, model, box_threshold)


def asked_text(family: Family, name: str) -> str:
    """The text that stands for a name; empty for a name without words."""
    words = prompt_name(name)
    return family.template.format(words) if words else ""


def _corners(boxes: Tensor, image: Image.Image) -> Tensor:
    """Corners in pixels of boxes (N, 4) given by centre, width and height as shares of the picture."""
    centre, half = boxes[:, :2], boxes[:, 2:] / 2
    size = torch.tensor([image.width, image.height] * 2, dtype=boxes.dtype)
    return torch.cat([centre - half, centre + half], dim=1) * size


def _post_processed(processor: Any, output: Any, image: Image.Image, min_score: float) -> Found:
    """Boxes by a processor, without text labels, which it takes by index from lists that may be too short."""
    found = processor.post_process_grounded_object_detection(
        output, threshold=min_score, target_sizes=[(image.height, image.width)]
    )[0]
    return Found(found["boxes"].float().cpu(), found["scores"].float().cpu(), found["labels"].long().cpu())
