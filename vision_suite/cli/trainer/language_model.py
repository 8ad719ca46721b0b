"""Language models of checkpoints with what belongs to them: the format of conversations and the form of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, get_args

from vision_suite.cli.trainer.modules import load_module, stored_data
from vision_suite.datasets.conversations.pictures import Appearance, Square
from vision_suite.datasets.conversations.settings import ChatSettings, stored_settings
from vision_suite.datasets.pictures.images import Interpolation
from vision_suite.datasets.saved import MISSING, SavedPreprocessing
from vision_suite.errors import CheckpointError, ConfigError
from vision_suite.models.mllm import Mllm
from vision_suite.models.wings.folder import SETTINGS, open_model, stored_appearance
from vision_suite.text.chat import ChatFormat


class LanguageModel(NamedTuple):
    """A network, the format of its conversations, and the form in which it sees pictures."""

    net: Mllm
    chat: ChatFormat
    appearance: Appearance


def model_of_checkpoint(path: Path) -> LanguageModel:
    """Load the language model of a run's checkpoint.

    Args:
        path: Checkpoint file.

    Raises:
        ConfigError: It is of a model without a language model.
        CheckpointError: It is broken, or does not hold the settings of its data.
    """
    loaded = load_module(path)
    net: object = dict(loaded.module.named_children()).get("model")
    if not isinstance(net, Mllm):
        raise ConfigError(
            f"{path} is of {type(loaded.module).__name__}, which is no language model: give one of LitWings"
        )
    stored = stored_settings(SavedPreprocessing(stored_data(loaded.contents, path).get("preprocessing", {})))
    missing = [name for name, value in stored.items() if value is MISSING]
    if missing:
        raise CheckpointError(f"{path} does not hold the data's {missing[0]}, without which no text becomes ids")
    chat = ChatSettings(*(stored[name] for name in ("tokenizer", "image_tokens", "template", "system"))).load()
    net.image_token_id = chat.image_token_id
    form = ("image_size", "mean", "std", "interpolation", "square")
    return LanguageModel(net, chat, Appearance(*(_tuple(stored[name]) for name in form)))


def model_of_folder(source: str) -> tuple[Mllm, ChatFormat, Appearance | None]:
    """Load a model of `save_model`, or a plain language model, which has no form of pictures.

    A folder that records no form of pictures has that of its tower, padded to a square.

    Args:
        source: As `vision_suite.models.wings.folder.open_model` takes it.

    Raises:
        CheckpointError: Files are malformed, or do not fit.
        DataError: There is nothing of that name.
    """
    stored = stored_appearance(source)
    recorded = None if stored is None else _appearance(stored, f"{source}/{SETTINGS}")
    net, chat = open_model(source)
    tower = net.tower
    usual = None if tower is None else Appearance(tower.image_size, tower.mean, tower.std)
    return net, chat, recorded or usual


def _appearance(stored: dict[str, Any], where: str) -> Appearance:
    """The form of pictures that a folder records."""
    saved = SavedPreprocessing(stored)
    try:
        found = {
            "size": saved.size("size"),
            "mean": saved.numbers("mean", 3),
            "std": saved.numbers("std", 3, above=0),
            "interpolation": saved.choice("interpolation", get_args(Interpolation)),
            "square": saved.choice("square", get_args(Square)),
        }
        saved.check_all_read("chat")
    except CheckpointError as error:
        raise CheckpointError(f"{where}: {error}") from None
    missing = [name for name, value in found.items() if value is MISSING]
    if missing:
        raise CheckpointError(f"{where} is malformed (appearance.{missing[0]} is missing): give another folder")
    return Appearance(**{name: _tuple(value) for name, value in found.items()})


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
