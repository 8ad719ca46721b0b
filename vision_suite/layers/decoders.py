"""Decoders: language models of transformers, from a folder, a hub, a GGUF file, or new ones of a given shape."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vision_suite.errors import CheckpointError, ConfigError, MissingDependencyError, SuiteError, check_number
from vision_suite.layers.drop_in import NAME, register_with_transformers
from vision_suite.layers.quiet import without_bars
from vision_suite.network import cached_first
from vision_suite.prepared import language_folder, share_as_usual

if TYPE_CHECKING:
    from transformers import PreTrainedModel

EXTRA = "language"
SUFFIX = ".gguf"
LLAVA = "llava"  # type of LLaVA-1.5's models, which are read whole
FEATURE = "a language model"


@dataclass(frozen=True)
class DecoderShape:
    """Sizes of a new decoder of Llama's architecture.

    Attributes:
        width: Channels of a token.
        depth: Number of layers.
        heads: Number of query heads.
        key_heads: Number of key and value heads, of which each serves several query heads; None for one a query head.
        mlp: Hidden channels of the feed-forward layers; None for 8/3 of the width, rounded up to a multiple of 8.
        positions: Longest row in tokens.
        tied: Share the embedding with the output layer.
    """

    width: int = 128
    depth: int = 4
    heads: int = 4
    key_heads: int | None = None
    mlp: int | None = None
    positions: int = 512
    tied: bool = True

    def __post_init__(self) -> None:
        """Refuse sizes that do not fit together."""
        for name in ("width", "depth", "heads", "key_heads", "mlp", "positions"):
            value = getattr(self, name)
            if value is not None or name not in ("key_heads", "mlp"):
                check_number(f"shape.{name}", value, low=1, whole=True)
        if self.width % (2 * self.heads):
            raise ConfigError(f"shape.width={self.width} must be a multiple of twice shape.heads={self.heads}")
        if self.key_heads is not None and self.heads % self.key_heads:
            raise ConfigError(f"shape.heads={self.heads} must be a multiple of shape.key_heads={self.key_heads}")


def load_decoder(source: str | Path, *, attention: str = NAME, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """Load a causal language model, in evaluation mode as transformers returns it.

    Only safetensors and GGUF files are read, and no code that lies beside them is run. A model out of a GGUF file is
    an ordinary one: its weights are dequantised and it can be trained and saved.

    Args:
        source: Folder in transformers' layout, name of a prepared set such as ``smollm2``, name of a hub
            (``owner/name``), or a ``.gguf`` file.
        attention: Name of an attention function of transformers; ``vision_suite`` for the suite's operator.
        dtype: Type of the weights.

    Raises:
        MissingDependencyError: transformers, or for a GGUF file gguf or accelerate, is not installed.
        DataError: There is nothing of that name.
        CheckpointError: The files cannot be read, are of no known kind, or lack weights.
        ConfigError: The model cannot use that attention.
    """
    _require("transformers")
    found = language_folder(source)
    if isinstance(found, Path) and found.suffix == SUFFIX:
        model = _read_gguf(found, dtype)
    else:
        model = _read_folder(found, dtype)
    model.tie_weights()
    return _with_attention(model, attention)


def new_decoder(
    shape: DecoderShape,
    vocabulary_size: int,
    *,
    pad_id: int | None = None,
    end_ids: tuple[int, ...] = (),
    attention: str = NAME,
) -> PreTrainedModel:
    """Build a decoder of Llama's architecture with random weights from torch's generator, in evaluation mode.

    Args:
        shape: Sizes.
        vocabulary_size: Number of ids.
        pad_id: Id of padding.
        end_ids: Ids that end an answer.
        attention: Name of an attention function of transformers.

    Raises:
        MissingDependencyError: transformers is not installed.
        ConfigError: The vocabulary is empty, or the attention is not known.
    """
    _require("transformers")
    from transformers import LlamaConfig, LlamaForCausalLM

    check_number("vocabulary_size", vocabulary_size, low=1, whole=True)
    config = LlamaConfig(
        vocab_size=vocabulary_size,
        hidden_size=shape.width,
        intermediate_size=shape.mlp or -(-shape.width // 3) * 8,
        num_hidden_layers=shape.depth,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_heads or shape.heads,
        max_position_embeddings=shape.positions,
        tie_word_embeddings=shape.tied,
        pad_token_id=pad_id,
        bos_token_id=None,
        eos_token_id=list(end_ids) or None,
    )
    model: Any = LlamaForCausalLM(config)
    return _with_attention(model.eval(), attention)


def empty_decoder(
    source: str | Path,
    *,
    attention: str = NAME,
    dtype: torch.dtype = torch.float32,
    config: dict[str, Any] | None = None,
) -> PreTrainedModel:
    """Build a decoder as the configuration of a language model says, its parameters not yet set.

    Args:
        source: Folder in transformers' layout, name of a prepared set, name of a hub, or a ``.gguf`` file.
        attention: Name of an attention function of transformers; ``vision_suite`` for the suite's operator.
        dtype: Type of the weights.
        config: Configuration by `decoder_config`; the source is not read then.

    Raises:
        MissingDependencyError: transformers is not installed.
        DataError: There is nothing of that name.
        CheckpointError: The configuration cannot be read.
        ConfigError: The model cannot use that attention.
    """
    _require("transformers")
    from transformers import AutoConfig
    from transformers.initialization import no_init_weights

    found = source if config is not None else language_folder(source)
    with _readable(found):
        if config is not None:
            known = AutoConfig.for_model(**config)
        elif isinstance(found, Path) and found.suffix == SUFFIX:
            _require("gguf")
            known = AutoConfig.from_pretrained(
                str(found.parent), gguf_file=found.name, trust_remote_code=False, local_files_only=True
            )
        else:

            def load(local: bool) -> Any:
                return AutoConfig.from_pretrained(str(found), trust_remote_code=False, local_files_only=local)

            known = load(True) if isinstance(found, Path) else cached_first(load, found)
        # Memory that nobody writes to is not taken.
        with no_init_weights():
            model: PreTrainedModel = _auto(known).from_config(known, dtype=dtype, trust_remote_code=False)
    model.tie_weights()
    return _with_attention(model, attention)


def decoder_config(model: PreTrainedModel) -> dict[str, Any]:
    """Configuration of a decoder in plain containers, from which `empty_decoder` builds it."""
    found: dict[str, Any] = json.loads(model.config.to_json_string(use_diff=True))
    found.pop("auto_map", None)  # names of code beside the weights, which is never run
    return {**found, "model_type": model.config.model_type}


def dequantise(gguf: Path, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write the model and the tokenizer of a GGUF file as a folder in transformers' layout, weights as safetensors.

    Args:
        gguf: File to read.
        folder: Folder to write into; it is made if it is missing.
        dtype: Type of the weights.

    Raises:
        MissingDependencyError: transformers, gguf or accelerate is not installed.
        CheckpointError: The file cannot be read or is of no known architecture.
    """
    _require("transformers")
    from transformers import AutoTokenizer

    model = _read_gguf(gguf, dtype)
    with _readable(gguf), without_bars():
        tokenizer = AutoTokenizer.from_pretrained(
            str(gguf.parent), gguf_file=gguf.name, trust_remote_code=False, local_files_only=True
        )
    model.tie_weights()
    with without_bars():
        model.save_pretrained(folder)
        share_as_usual(folder)
        tokenizer.save_pretrained(folder)


def _read_folder(found: Path | str, dtype: torch.dtype) -> PreTrainedModel:
    """A model of a folder or a hub, of which what is stored on this machine comes first."""
    from transformers import AutoConfig

    rules = {"dtype": dtype, "use_safetensors": True, "trust_remote_code": False, "output_loading_info": True}

    def load(local: bool) -> Any:
        known = AutoConfig.from_pretrained(str(found), trust_remote_code=False, local_files_only=local)
        return _auto(known).from_pretrained(str(found), local_files_only=local, **rules)

    with _readable(found), without_bars():
        model, report = load(True) if isinstance(found, Path) else cached_first(load, found)
    if missing := sorted(report["missing_keys"]):
        raise CheckpointError(
            f"{found}: no weights for {missing[0]} ({len(missing)} missing): give a folder of a complete language model"
        )
    loaded: PreTrainedModel = model
    return loaded


def _auto(config: Any) -> Any:
    """Transformers' class that finds the class of a model: LLaVA's has its vision tower beside the decoder."""
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    return AutoModelForImageTextToText if config.model_type == LLAVA else AutoModelForCausalLM


def _read_gguf(path: Path, dtype: torch.dtype) -> PreTrainedModel:
    """A model without the record of its quantisation, with which transformers would refuse to train or save it."""
    for package in ("gguf", "accelerate"):
        _require(package)
    import transformers
    from transformers import AutoModelForCausalLM

    kind: Any = AutoModelForCausalLM
    # Releases that can keep the blocks packed must be told not to.
    settings = getattr(transformers, "GgufConfig", None)
    more: dict[str, Any] = {} if settings is None else {"quantization_config": settings(dequantize=True)}
    rules = {"dtype": dtype, "local_files_only": True, "trust_remote_code": False, **more}
    with _readable(path), without_bars():
        model = kind.from_pretrained(str(path.parent), gguf_file=path.name, **rules)
    model.hf_quantizer = None
    for holder, name in ((model.config, "quantization_config"), (model, "quantization_method")):
        if hasattr(holder, name):
            delattr(holder, name)
    loaded: PreTrainedModel = model
    return loaded


def _with_attention(model: PreTrainedModel, attention: str) -> PreTrainedModel:
    if attention == NAME:
        register_with_transformers()
    try:
        model.set_attn_implementation(attention)
    except (ValueError, ImportError) as error:
        raise ConfigError(f"attention={attention!r} is not for {type(model).__name__}: {_one_line(error)}") from error
    if model.config._attn_implementation != attention:
        raise ConfigError(f"{type(model).__name__} does not look its attention up by name: it cannot use {attention!r}")
    return model


def _require(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise MissingDependencyError(FEATURE, package, EXTRA)


@contextmanager
def _readable(source: Path | str) -> Iterator[None]:
    """Turn whatever a reader raises for a file or a name into one line."""
    try:
        yield
    except SuiteError:
        raise
    except Exception as error:  # damaged files make the readers fail in any way
        raise CheckpointError(f"{source}: no language model can be read from it ({_one_line(error)})") from error


def _one_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]
