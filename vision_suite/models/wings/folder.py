"""Whole models in a folder: adapter, projector, tower, LoRA, tokenizer, and the base or its name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from vision_suite.errors import CheckpointError, ConfigError
from vision_suite.layers.decoders import load_decoder
from vision_suite.models.mllm.lora import load_lora, lora_parameters, save_lora
from vision_suite.models.mllm.network import Mllm
from vision_suite.models.mllm.projector import Projector, ProjectorConfig
from vision_suite.models.mllm.tower import Tower, TowerConfig, build_tower, has_random_weights
from vision_suite.models.mllm.trunks import load
from vision_suite.models.wings.adapter import base_weights, fingerprint, load_projector, load_wings, wings_tensors
from vision_suite.models.wings.attach import Attached, attach, find
from vision_suite.models.wings.config import WingsConfig
from vision_suite.models.wings.pattern import text_model
from vision_suite.prepared import find_folder, share_as_usual
from vision_suite.records import as_record
from vision_suite.text.chat import ChatFormat

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from transformers import PreTrainedModel

SETTINGS, TENSORS, TOWER, TOWER_RUN = (
    "wings_config.json",
    "wings_adapter.safetensors",
    "tower.safetensors",
    "tower.ckpt",
)
BASE, LORA, TOKENIZER = "base", "lora", "tokenizer"
APPEARANCE = "appearance"
PROJECTOR = "projector."
FORMAT = 1
KINDS: dict[str, type | tuple[type, ...]] = {  # what each setting of a file must be
    "wings": (dict, type(None)), "base": dict, "image_token_id": int, "chat": dict, "vocabulary_sha256": str,
}  # fmt: skip
BASE_KINDS: dict[str, type | tuple[type, ...]] = {"source": str, "base_frozen": bool, "fingerprint": str}
SIZES: dict[str, type | tuple[type, ...]] = {"tower_width": int, "tokens": int}
CHAT = {"image_tokens", "template", "system", "image_token"}  # settings of `ChatFormat`


def save_model(
    folder: Path, net: Mllm, chat: ChatFormat, appearance: DataclassInstance | None = None, *, base: str = ""
) -> None:
    """Write a model as a folder that `load_model` and ``vision-suite chat`` read.

    ``wings_adapter.safetensors`` holds the wings' tensors and the projector, ``lora/`` LoRA in peft's layout.

    Args:
        folder: Folder to write into; it is made if it is missing.
        net: Model.
        chat: Its format of conversations; the tokenizer is written too.
        appearance: Form in which it sees pictures, `vision_suite.datasets.conversations.pictures.Appearance`; None
            for that of its tower, padded to a square.
        base: Name or path of the decoder, as `vision_suite.layers.decoders.load_decoder` takes it, if its own weights
            were not trained; empty to write them too.

    Raises:
        ConfigError: The tower was not built by `build_tower`.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    decoder: PreTrainedModel = net.decoder
    has_wings = isinstance(getattr(text_model(decoder), "_wings", None), Attached)
    tensors = wings_tensors(decoder) if has_wings else {}
    settings: dict[str, Any] = {
        "format": FORMAT,
        "wings": asdict(find(decoder).config) if has_wings else None,
        "base": {
            "source": base or BASE,
            "base_frozen": bool(base),
            "fingerprint": fingerprint(decoder),
            **_shape(decoder),
        },
        "image_token_id": net.image_token_id,
        "chat": chat.settings,
        "vocabulary_sha256": chat.vocabulary_sha256,
        "lora": bool(lora_parameters(decoder)),
    }
    if appearance is not None:
        settings[APPEARANCE] = asdict(appearance)
    if net.projector is not None:
        tensors |= {f"{PROJECTOR}{name}": value for name, value in net.projector.state_dict().items()}
        settings["projector"] = asdict(net.projector.config)
        settings["embedding"] = {"tower_width": net.projector.tower_width, "tokens": net.projector.tower_tokens}
    if net.tower is not None:
        config, settings["tower_weights"] = _save_tower(folder, net)
        settings["tower"] = asdict(config)
    save_file({name: value.contiguous() for name, value in tensors.items()}, folder / TENSORS)
    share_as_usual(folder)
    if lora_parameters(decoder):
        save_lora(decoder, folder / LORA)
    if not base:
        decoder.save_pretrained(str(folder / BASE), state_dict=base_weights(decoder))
        share_as_usual(folder / BASE)
    chat.tokenizer.save_pretrained(str(folder / TOKENIZER))
    (folder / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n")


def load_model(
    folder: Path, *, base: str = "", attention: str = "vision_suite", dtype: torch.dtype = torch.float32
) -> tuple[Mllm, ChatFormat]:
    """Read a model that `save_model` wrote, in evaluation mode.

    Args:
        folder: Its folder.
        base: Name or path of the decoder, where it is not the one that was recorded.
        attention: Name of an attention function of transformers.
        dtype: Type of the decoder's weights, its wings and the projector.

    Raises:
        CheckpointError: A file is missing or malformed, or the decoder is not the base that the wings were trained on.
        DataError: The decoder is not there.
        MissingDependencyError: A package of the extra ``language`` is missing.
    """
    settings = _read_settings(folder)
    recorded = settings["base"]
    source: str | Path = base or recorded["source"]
    if not base and not recorded["base_frozen"]:
        source = folder / BASE
    decoder = load_decoder(source, attention=attention, dtype=dtype)
    if fingerprint(decoder) != recorded["fingerprint"]:
        raise CheckpointError(
            f"{folder}: it was trained on {recorded['source']!r}, and {source} has other weights: give that base"
        )
    tensors = _read_tensors(folder / TENSORS)
    projected = {name.removeprefix(PROJECTOR): each for name, each in tensors.items() if name.startswith(PROJECTOR)}
    wings = {name: each for name, each in tensors.items() if not name.startswith(PROJECTOR)}
    if settings["wings"] is not None:
        attach(decoder, as_record(WingsConfig, settings["wings"], "wings"))
        load_wings(decoder, wings, str(folder / TENSORS))
    elif wings:
        raise CheckpointError(f"{folder / TENSORS} has wings, and {SETTINGS} no settings of them")
    if settings.get("lora", (folder / LORA).is_dir()):
        load_lora(decoder, folder / LORA)
    projector = None
    if "projector" in settings:
        config = as_record(ProjectorConfig, settings["projector"], "projector")
        sizes = settings["embedding"]
        projector = Projector(config, sizes["tower_width"], decoder.config.hidden_size, tokens=sizes["tokens"])
        load_projector(projector, projected, str(folder / TENSORS))
        projector.to(dtype)
    tower = _load_tower(folder, settings) if "tower" in settings else None
    chat = ChatFormat.load(folder / TOKENIZER, **settings["chat"])
    if (chat.vocabulary_sha256, chat.image_token_id) != (settings["vocabulary_sha256"], settings["image_token_id"]):
        raise CheckpointError(f"{folder / TOKENIZER} is not the tokenizer of {SETTINGS}: copy the folder whole again")
    return Mllm(decoder, tower, projector, settings["image_token_id"]).eval(), chat


def stored_appearance(source: str | Path) -> dict[str, Any] | None:
    """Form in which a model of `save_model` sees pictures, by name; None where it is not recorded.

    Args:
        source: As `open_model` takes it.

    Raises:
        CheckpointError: The settings are malformed.
    """
    found = find_folder(source)
    if found is None or not (found / SETTINGS).is_file():
        return None
    return cast("dict[str, Any] | None", _read_settings(found).get(APPEARANCE))


def open_model(source: str | Path, *, attention: str = "vision_suite") -> tuple[Mllm, ChatFormat]:
    """A model of `save_model`, or a plain language model, which reads no pictures.

    Args:
        source: Folder of `save_model`, or what `vision_suite.layers.decoders.load_decoder` takes.
        attention: Name of an attention function of transformers.

    Raises:
        CheckpointError: Files are malformed, or do not fit.
        DataError: There is nothing of that name.
        MissingDependencyError: A package of the extra ``language`` is missing.
    """
    found = find_folder(source)
    if found is not None and (found / SETTINGS).is_file():
        return load_model(found, attention=attention)
    decoder = load_decoder(source, attention=attention)
    chat = ChatFormat.load(source)
    return Mllm(decoder, None, None, chat.image_token_id).eval(), chat


def longest_row(net: Mllm) -> int:
    """Largest number of tokens that decoder and wings can read."""
    longest = int(getattr(net.decoder.config, "max_position_embeddings", 2048))
    known = getattr(text_model(net.decoder), "_wings", None)
    if isinstance(known, Attached) and known.config.router == "position" and known.config.stage == 2:
        longest = min(longest, known.config.s_max)
    return longest


def _save_tower(folder: Path, net: Mllm) -> tuple[TowerConfig, bool]:
    """Write what the tower is built of, as far as it is not named; its settings, and whether weights were written."""
    from safetensors.torch import save_file

    tower = net.tower
    assert tower is not None
    if tower.config is None:
        raise ConfigError("the tower was made by hand: only towers of build_tower can be saved")
    config, run = tower.config, Path(tower.config.checkpoint).expanduser()
    if config.structure is not None:  # built without its files, which are not read again then
        config = replace(config, checkpoint="")
    elif config.checkpoint and run.is_file():
        shutil.copyfile(run, folder / TOWER_RUN)
        config = replace(config, checkpoint=TOWER_RUN)
    named = config.structure is None and not has_random_weights(tower)
    written = not named or any(parameter.requires_grad for parameter in tower.parameters())
    if written:
        save_file({name: value.contiguous() for name, value in tower.state_dict().items()}, folder / TOWER)
        share_as_usual(folder)
    return config, written


def _load_tower(folder: Path, settings: Mapping[str, Any]) -> Tower:
    """Build a tower, and fill it with its weights as far as its settings do not name them."""
    record = as_record(TowerConfig, settings["tower"], "tower")
    size = record.image_size
    checkpoint = str(folder / TOWER_RUN) if record.checkpoint == TOWER_RUN else record.checkpoint
    tower = build_tower(replace(record, image_size=None if size is None else (size[0], size[1]), checkpoint=checkpoint))
    unnamed = record.structure is not None or has_random_weights(tower)
    if settings.get("tower_weights", unnamed or (folder / TOWER).is_file()):
        load(tower, _read_tensors(folder / TOWER), folder / TOWER)
    return tower


def _shape(decoder: Any) -> dict[str, int]:
    config = decoder.config
    return {"width": config.hidden_size, "layers": config.num_hidden_layers, "heads": config.num_attention_heads}


def _read_settings(folder: Path) -> dict[str, Any]:
    path = folder / SETTINGS
    try:
        settings = json.loads(path.read_bytes())
        version = settings["format"]
    except FileNotFoundError:
        raise CheckpointError(f"{folder}: no {SETTINGS}: give a folder that save_model wrote") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path} is malformed ({type(error).__name__}): give another folder") from error
    if version != FORMAT:
        raise CheckpointError(f"{path} has the format {version!r:.20}, this version reads {FORMAT}")
    parts = [(settings, KINDS), (settings.get("base"), BASE_KINDS)]
    parts += [(settings.get("embedding"), SIZES)] if "projector" in settings else []
    parts += [(settings, {APPEARANCE: dict})] if APPEARANCE in settings else []
    wrong = [
        name for part, kinds in parts for name, kind in kinds.items()
        if not (isinstance(part, dict) and name in part and isinstance(part[name], kind))
    ]  # fmt: skip
    wrong = wrong or [f"chat.{name}" for name in sorted(set(settings["chat"]) - CHAT)]
    if wrong:
        raise CheckpointError(f"{path} is malformed ({wrong[0]} is missing or wrong): give another folder")
    return cast("dict[str, Any]", settings)


def _read_tensors(path: Path) -> Mapping[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read ({' '.join(str(error).split())[:150]})") from error
    broken = next((name for name, value in tensors.items() if not bool(value.isfinite().all())), None)
    if broken is not None:
        raise CheckpointError(f"{path}: {broken} holds values that are not finite: use another file")
    return tensors
