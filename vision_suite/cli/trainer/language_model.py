"""Language models of checkpoints with what belongs to them: the format of conversations and the form of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from vision_suite.cli.trainer.modules import load_module, stored_data
from vision_suite.datasets.conversations.pictures import Appearance
from vision_suite.datasets.conversations.settings import ChatSettings, stored_settings
from vision_suite.datasets.saved import MISSING, SavedPreprocessing
from vision_suite.errors import CheckpointError, ConfigError
from vision_suite.models.mllm import Mllm
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


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
