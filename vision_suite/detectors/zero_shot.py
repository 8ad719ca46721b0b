"""Objects found by an open-vocabulary detector: any zero-shot detection model of transformers, by name or folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from vision_suite.detectors.boxes import ObjectBoxes, check_min_score
from vision_suite.detectors.overlap import one_box_each
from vision_suite.errors import ConfigError, DataError, MissingDependencyError
from vision_suite.network import hub_address, hub_is_off, local_folder, why_unreachable, without_network

WRONG = (OSError, ValueError, KeyError, RuntimeError, ImportError)  # what loading a model raises


class Detector:
    """A trained open-vocabulary detector, such as OWL-ViT, OWLv2 or Grounding DINO.

    Code that comes with a model is never run, and weights are read from safetensors only.

    Args:
        model: Name on the hub, or a local folder.
        queries: Words for the objects to look for.
        min_score: Score above which a box is kept.
        device: Device that it runs on: auto, cpu, cuda ...

    Raises:
        ConfigError: There is no query, or the score is out of range, or the device is not there.
        MissingDependencyError: transformers is not installed.
        DataError: The model cannot be loaded.
    """

    def __init__(self, model: str, queries: Sequence[str], min_score: float, device: str = "auto") -> None:
        self.queries = list(dict.fromkeys(query.strip() for query in queries if query.strip()))
        if not self.queries:
            raise ConfigError(f"detector={model!r} without words to look for: give --data.queries '[cup, book]'")
        check_min_score(min_score)
        self.device = chosen_device(device)
        self.name, self.min_score = model, min_score
        self._processor, self._model = load_zero_shot(model)
        self._model = self._model.to(self.device).eval()

    def __call__(self, picture: Image.Image) -> ObjectBoxes:
        """Objects of an RGB picture, best first.

        Of overlapping boxes one stays, whatever its word: see `vision_suite.detectors.overlap.one_box_each`.
        """
        with torch.inference_mode():
            inputs = self._processor(images=picture, text=[self.queries], return_tensors="pt").to(self.device)
            found = self._processor.post_process_grounded_object_detection(
                self._model(**inputs),
                threshold=self.min_score,
                target_sizes=[(picture.height, picture.width)],
                text_labels=[self.queries],
            )[0]
        corners, scores = found["boxes"].float().cpu(), found["scores"].float().cpu()
        corners, kept, notes = one_box_each(corners, scores, picture.size)
        labels = tuple(nearest_query(found["text_labels"][n], self.queries) for n in kept.tolist())
        return ObjectBoxes(corners.numpy(), labels, scores[kept].numpy().astype(np.float32), notes)


def nearest_query(text: str, queries: Sequence[str]) -> str:
    """The query that shares the largest part of its words with a detector's text, the first of equals.

    Grounding DINO answers with some words of a query, in lower case. The text itself is returned if no query shares a
    word with it.
    """
    words = set(text.lower().split())
    shares = [len(words & set(query.lower().split())) / len(words | set(query.lower().split())) for query in queries]
    best = max(range(len(queries)), key=shares.__getitem__)
    return queries[best] if shares[best] > 0 else text


def chosen_device(device: str) -> torch.device:
    """The device that a setting means: auto, cpu, cuda ...

    Raises:
        ConfigError: It cannot be used.
    """
    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    try:
        return torch.empty(0, device=chosen).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0][:80]
        raise ConfigError(f"device={device!r} cannot be used ({reason}): choose auto, cpu or cuda") from None


def load_zero_shot(name: str, given: str = "--data.detector") -> tuple[Any, Any]:
    """Processor and network, of a folder, of the hub's cache, or of the hub if it answers.

    Args:
        name: Name on the hub, or a local folder.
        given: Setting that gives it, for messages.

    Raises:
        MissingDependencyError: transformers is not installed.
        DataError: The model cannot be loaded.
    """
    try:
        from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor
    except ModuleNotFoundError as error:
        raise MissingDependencyError(f"detector={name!r}", "transformers") from error

    def load(source: str, *, local: bool) -> tuple[Any, Any]:
        rules = {"trust_remote_code": False, "local_files_only": local}
        processor = AutoProcessor.from_pretrained(source, **rules)  # type: ignore[no-untyped-call, unused-ignore]
        return processor, AutoModelForZeroShotObjectDetection.from_pretrained(source, use_safetensors=True, **rules)

    what = f"detector {name!r}"
    folder = local_folder(name, what)
    try:
        with without_network():
            return load(folder or name, local=True)
    except WRONG as error:
        if folder is not None:
            raise DataError(
                f"{what} cannot be loaded ({_reason(error)}): give a folder that holds a zero-shot detection model "
                "with its processor and safetensors"
            ) from None
    way_out = f"give {given} a folder that holds one, or load it once with the network up"
    off = "HF_HUB_OFFLINE is set" if hub_is_off() else why_unreachable(hub_address())
    if off is not None:
        raise DataError(
            f"{what} cannot be loaded: it is not in the hub's cache, and {hub_address()} cannot be used ({off}): "
            f"{way_out}"
        )
    try:
        return load(name, local=False)
    except WRONG as error:
        raise DataError(
            f"{what} cannot be loaded ({_reason(error)}): name a zero-shot detection model of {hub_address()}, or "
            f"{way_out}"
        ) from None


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
