"""Language models that read pictures in the hub: WINGS and its baselines, and those of preference learning."""

from __future__ import annotations

import hashlib
import json
import pkgutil
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from vision_suite.errors import CheckpointError
from vision_suite.hub.method import ENTRY, HubMethod, Settings, Tensors
from vision_suite.hub.preprocess import of_pictures
from vision_suite.hub.settings import without_files

BUILD = "vision_suite.models.wings.build"
PARTS = ("decoder", "tower", "projector", "wings", "lora")
WORDS, WRITTEN = 6, 8  # ids of the sample, and of its answer


def build(settings: Settings) -> nn.Module:
    """The network; nothing is read from files."""
    found: Any = pkgutil.resolve_name(BUILD)
    as_record = pkgutil.resolve_name("vision_suite.records:as_record")
    kinds = {
        "tower": "vision_suite.models.mllm:TowerConfig", "projector": "vision_suite.models.mllm:ProjectorConfig",
        "wings": "vision_suite.models.wings.config:WingsConfig", "lora": "vision_suite.models.mllm.lora:LoraSettings",
    }  # fmt: skip
    parts = {
        name: as_record(pkgutil.resolve_name(kind), settings[name], name)
        for name, kind in kinds.items()
        if settings.get(name) is not None
    }
    decoder = as_record(found.DecoderConfig, settings["decoder"], "decoder")
    if decoder.structure is not None:
        decoder = replace(decoder, source=ENTRY)
    if "tower" in parts and parts["tower"].structure is None:
        raise CheckpointError("tower has no structure, so it would be read from files: push the checkpoint again")
    network: nn.Module = found.build_network(settings["vocabulary_size"], decoder, **parts).model
    cast("Any", network).image_token_id = settings["image_token_id"]
    return network


def settings(module: Settings, network: nn.Module) -> dict[str, Any]:
    """Settings of the parts, without the names of files."""
    found = {name: without_files(module[name]) for name in PARTS if module.get(name) is not None}
    source = (module.get("decoder") or {}).get("source")
    if source and not found["decoder"].get("structure"):
        raise CheckpointError("the checkpoint does not record the decoder's configuration: save it with this version")
    for name, part in found.items():
        if isinstance(part.get("structure"), dict):
            known = {key: value for key, value in part["structure"].items() if key not in ("vocabulary", "fingerprint")}
            part["structure"] = known
        if name == "decoder":
            part.pop("checkpoint_activations", None)
    found.setdefault("decoder", {})
    token = int(cast("Any", network).image_token_id)
    return {"vocabulary_size": module.get("vocabulary_size", 0), "image_token_id": token, **found}


def outputs(network: nn.Module, batch: Mapping[str, Tensor]) -> Tensors:
    """Logits of every next id, and the likeliest answer."""
    net = cast("Any", network)
    written = net.generate(batch, max_new_tokens=WRITTEN, do_sample=False, pad_token_id=0)
    return {"logits": net(batch).float(), "answer_ids": written}


def example(network: nn.Module, preprocess: Settings) -> Tensors:
    """A row of ids behind a picture, where the network reads pictures."""
    net, random = cast("Any", network), torch.Generator().manual_seed(0)
    ids = torch.randint(1, net.embedding.num_embeddings, (1, WORDS), generator=random)
    if 0 <= net.image_token_id < net.embedding.num_embeddings:
        ids = ids.masked_fill(ids == net.image_token_id, 0)
    batch: Tensors = {}
    if net.tower is not None:
        ids = torch.cat([torch.full((1, net.projector.tokens), net.image_token_id), ids], 1)
        batch["image"] = torch.randn(1, 3, *net.tower.image_size, generator=random)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids, dtype=torch.bool), **batch}


def preprocess(task: str, state: Settings, settings: Settings) -> dict[str, Any]:
    """Steps of pictures, and the tokenizer and chat format by their checksums."""
    stored = state["preprocessing"]
    known = (state.get("facts") or {}).get("vocabulary_size") or {}
    chat = json.dumps({name: stored.get(name) for name in ("template", "system")}, sort_keys=True)
    own = {
        "chat_template_sha256": hashlib.sha256(chat.encode()).hexdigest(),
        "tokenizer": {
            "sha256": known.get("sha256", ""), "ids": known.get("count", settings.get("vocabulary_size", 0)),
            "image_tokens": stored.get("image_tokens", 0),
        },
    }  # fmt: skip
    return {**of_pictures(stored), **own} if stored.get("image_tokens") else own


METHODS = tuple(
    HubMethod(
        name=name,
        network="vision_suite.models.mllm.Mllm",
        modules=modules,
        tasks=(task,),
        outputs=outputs,
        example=example,
        preprocess=preprocess,
        settings=settings,
        build=build,
    )
    for name, modules, task in (
        ("wings", ("LitWings", "LitProjector"), "instruct"),
        ("sentinel", ("LitSentinel",), "preference"),
    )
)
