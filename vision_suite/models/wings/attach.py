"""Give a decoder wings, and take them away: `attach`, `detach`, and what is asked of a model that has them."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from vision_suite.errors import ConfigError, check_choice
from vision_suite.layers.branches import Branches
from vision_suite.layers.packed import Packed, find_packed
from vision_suite.models.wings.cache import WingsCache
from vision_suite.models.wings.config import WingsConfig
from vision_suite.models.wings.layer import Wings
from vision_suite.models.wings.learner import rotate
from vision_suite.models.wings.pattern import check_decoder, text_model
from vision_suite.models.wings.state import WingsNotes, WingsState, build_state
from vision_suite.models.wings.stats import attention_name
from vision_suite.models.wings.step import LowRankStep, Step, StepWeights


class Attached:
    """Knowledge of a text model with wings: settings, notes of the last pass, and the former attention.

    Args:
        text: Text model, which has ``embed_tokens`` and ``layers``.
        config: Settings.
        former: Name of its attention implementation before.
    """

    def __init__(self, text: nn.Module, config: WingsConfig, former: str) -> None:
        self.config, self.former = config, former
        self.on = True
        self.last: WingsNotes | None = None
        shape: Any = text.config
        self.layers = len(cast(nn.ModuleList, text.layers))
        self.width, self.heads = int(shape.hidden_size), int(shape.num_attention_heads)
        rope = getattr(shape, "rope_parameters", None) or {}
        self.theta = float(rope.get("rope_theta") or getattr(shape, "rope_theta", None) or 10000.0)
        self.names = list(inspect.signature(text.forward).parameters)
        self.composite_names: list[str] = []

    def before_text(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Hook before the text model: build the state and hand it to the layers."""
        given = {**dict(zip(self.names, args, strict=False)), **kwargs}
        is_image, segments = given.pop("is_image", None), given.get("segments")
        packed = find_packed(segments) if isinstance(segments, Tensor) else cast("Packed | None", segments)
        if packed is not None:
            given["segments"] = packed
        if not self.on:
            return (), given
        branches: Branches | None = given.get("branches")
        if branches is not None:
            # The decoder computes a prefix once, the learners once for each branch.
            packed = branches.packed()
            if self.config.leak:
                raise ConfigError(
                    "wings.leak lets tokens see later ones, so branches cannot share a prefix: set it off"
                )
        model: Any = module
        if given.get("output_attentions"):
            raise ConfigError(
                "output_attentions=True: a model with wings gives no attention maps, see wings.attach.masses"
            )
        if packed is not None and self.config.stats != "operator":
            raise ConfigError(f"packed rows and shared prefixes need wings.stats=operator, not {self.config.stats}")
        ids, x = given.get("input_ids"), given.get("inputs_embeds")
        if x is None:
            x = model.embed_tokens(ids)
            given["input_ids"], given["inputs_embeds"] = None, x
        self.check_checkpointing(model, x)
        if is_image is None:
            is_image = torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)
        cache = self.cache_of(model, given, packed)
        held = None if cache is None else cache.tokens()
        half = self.width // self.heads
        exponent = torch.arange(0, half, 2, dtype=torch.int64, device=x.device).float() / half
        state = build_state(
            x, is_image, self.config, 1.0 / (self.theta**exponent), attention_mask=given.get("attention_mask"),
            position_ids=given.get("position_ids"), packed=packed, past_positions=None if held is None else held[0],
            past_image=None if held is None else held[1],
        )  # fmt: skip
        self.last = state.notes
        given.update(wings=state, wings_cache=cache)
        if cache is not None:
            cache.add_tokens(state.positions[:, state.past :], is_image)
            if cache.low_rank:
                rotated = rotate(x.view(*x.shape[:2], self.heads, -1), state.cos, state.sin)
                cache.add_embeddings(x, rotated.flatten(2))
            given["wings_step"] = self.step(model, state, cache)
        return (), given

    @staticmethod
    def check_checkpointing(model: Any, x: Tensor) -> None:
        """Refuse checkpointing of the older kind where gradients flow into embeddings, which it would lose."""
        if not (getattr(model, "gradient_checkpointing", False) and model.training and x.requires_grad):
            return
        for layer in model.layers:
            settings = getattr(getattr(layer, "_gradient_checkpointing_func", None), "keywords", {})
            if settings.get("use_reentrant", False):
                raise ConfigError(
                    "gradient checkpointing with use_reentrant=True loses gradients of the embeddings that wings "
                    "read: give gradient_checkpointing_kwargs={'use_reentrant': False}"
                )

    def step(self, model: nn.Module, state: WingsState, cache: WingsCache) -> Step | None:
        """The quick way through the layers, where one token is added to a cache without gradients."""
        if state.x.shape[1] != 1 or not state.past or torch.is_grad_enabled():
            return None
        if cache.weights is None or cache.weights.config is not self.config:
            wings = self.slots(model)
            # Weights that lie in pieces on several devices are whole inside their layers only.
            if any(hasattr(value, "full_tensor") for value in wings[0].parameters()):
                return None
            cache.weights = StepWeights(wings)
        return (LowRankStep if cache.low_rank else Step)(cache.weights, state, cache, self.heads)

    def cache_of(self, model: Any, given: dict[str, Any], packed: Packed | None) -> WingsCache | None:
        """The wings' part of the cache; makes the model's own where it would."""
        use = given.get("use_cache")
        use = getattr(model.config, "use_cache", False) if use is None else use
        if getattr(model, "gradient_checkpointing", False) and model.training:
            use = False
        if packed is not None:
            if given.get("past_key_values") is not None:
                raise ConfigError("packed rows are computed whole: give no past_key_values, and use_cache=False")
            given["use_cache"] = use = False
        if given.get("past_key_values") is None:
            if not use:
                return None
            from transformers import DynamicCache

            given["past_key_values"] = DynamicCache(config=model.config)
        slots = self.layers if self.config.layers is None else len(self.config.layers)
        return WingsCache(given["past_key_values"], self.layers, slots, self.config.cache == "low_rank")

    @staticmethod
    def slots(model: nn.Module) -> list[Wings]:
        """Wings of all layers."""
        return [module for module in model.modules() if isinstance(module, Wings)]

    def before_composite(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Hook before a model that merges pictures into text itself: tell which tokens are of pictures.

        Placeholders that come without pictures, as a step of decoding may write one, are text.
        """
        given = {**dict(zip(self.composite_names, args, strict=False)), **kwargs}
        ids, pictures = given.get("input_ids"), given.get("pixel_values")
        if pictures is None:
            pictures = (given.get("mm_encoder_outputs") or {}).get("image")
        if "is_image" in kwargs or ids is None or pictures is None:
            return None
        return args, {**kwargs, "is_image": ids == cast(Any, module.config).image_token_id}


def attach(model: nn.Module, config: WingsConfig | None = None) -> list[Wings]:
    """Give a transformers model wings, in place.

    Their parameters lie under ``...self_attn.wings``; the model's own keep their names. A forward pass takes two
    more keywords: ``is_image`` (B, S) boolean, true for the new tokens that stand for pictures, and ``segments``
    (B, S) of packed rows, or ``branches`` of rows with a shared prefix. Models that merge pictures themselves (LLaVA)
    need neither.

    Args:
        model: A causal language model, its text model, or a model of text and pictures around one.
        config: Settings.

    Returns:
        The wings of each layer.

    Raises:
        ConfigError: If the model's layers or attention are of a form that wings cannot serve.
        MissingDependencyError: If transformers is not installed.
    """
    config = config or WingsConfig()
    text = text_model(model)
    if hasattr(text, "_wings"):
        raise ConfigError(f"{type(model).__name__} has wings already: detach them first")
    check_decoder(text, config)
    any_text: Any = text
    layers = cast(nn.ModuleList, text.layers)
    chosen = range(len(layers)) if config.layers is None else config.layers
    former = any_text.config._attn_implementation
    any_text.set_attn_implementation(attention_name(former, config.stats))
    known = Attached(text, config, former)
    wings = []
    for slot, index in enumerate(chosen):
        layer: Any = layers[index]
        part = Wings(config, known.width, known.heads, slot)
        # Matrices of the layer may be quantised, embeddings are not.
        device = next(layer.self_attn.parameters()).device
        part.to(device=device, dtype=any_text.embed_tokens.weight.dtype).train(layer.training)
        layer.self_attn.wings = part
        if config.query == "post_attn":
            layer.input_layernorm.register_forward_pre_hook(part.before_norm, with_kwargs=True)
        layer.self_attn.register_forward_pre_hook(part.before_attention, with_kwargs=True)
        layer.self_attn.register_forward_hook(part.after_attention, with_kwargs=True)
        wings.append(part)
    any_text._wings = known
    text.register_forward_pre_hook(known.before_text, with_kwargs=True)
    for module in model.modules():
        around = any(child is text for child in module.children())
        if around and getattr(getattr(module, "config", None), "image_token_id", None) is not None:
            known.composite_names = list(inspect.signature(module.forward).parameters)
            module.register_forward_pre_hook(known.before_composite, with_kwargs=True)
    set_stage(model, config.stage)
    return wings


def find(model: nn.Module) -> Attached:
    """Find the record of a model with wings.

    Raises:
        ConfigError: If it has none.
    """
    for module in model.modules():
        known = getattr(module, "_wings", None)
        if isinstance(known, Attached):
            return known
    raise ConfigError(f"{type(model).__name__} has no wings: call attach first")


def detach(model: nn.Module) -> None:
    """Take the wings away; the model is then what it was before, bit for bit."""
    known = find(model)
    for module in model.modules():
        for hooks in (module._forward_pre_hooks, module._forward_hooks):
            with_kwargs = (module._forward_pre_hooks_with_kwargs, module._forward_hooks_with_kwargs)
            for key, hook in list(hooks.items()):
                owner = getattr(hook, "__self__", None)
                if isinstance(owner, Wings | Attached):
                    del hooks[key]
                    for flags in with_kwargs:
                        flags.pop(key, None)
    text: Any = text_model(model)
    for layer in text.layers:
        if hasattr(layer.self_attn, "wings"):
            del layer.self_attn.wings
    text.set_attn_implementation(known.former)
    del text._wings


def set_stage(model: nn.Module, stage: Literal[1, 2]) -> None:
    """Choose what is computed and trained: 1 is the visual wing alone, 2 is both wings and the router."""
    known = find(model)
    known.config = replace(known.config, stage=stage)
    for part in Attached.slots(model):
        part.config = known.config
        part.visual.requires_grad_(True)
        part.textual.requires_grad_(stage == 2)
        part.router.requires_grad_(stage == 2)


def wings_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters of the wings, by their names in the model."""
    find(model)
    return {name: value for name, value in model.named_parameters() if ".wings." in f".{name}"}


@contextlib.contextmanager
def wings_off(model: nn.Module) -> Iterator[None]:
    """Context in which a model computes without its wings, as the model that it was."""
    known = find(model)
    before, known.on = known.on, False
    try:
        yield
    finally:
        known.on = before


def masses(model: nn.Module, queries: Literal["all", "after_image", "last"] = "all") -> Tensor:
    """Mean share of attention on text before pictures, pictures, text between and after them: (L, 4), rows sum to 1.

    Of the last forward pass of more than one token, over all rows (`row_masses` keeps them apart).

    Args:
        model: Model with wings.
        queries: Tokens to average over: ``all``, those ``after_image``, which see a picture and are none, or the
            ``last`` of each row.
    """
    shares, counted = _shares(model, queries)
    return (shares * counted[..., None]).sum((1, 2)) / counted.sum()


def row_masses(model: nn.Module, queries: Literal["all", "after_image", "last"] = "all") -> Tensor:
    """The same for each row: (B, L, 4), NaN where a row has no such token."""
    shares, counted = _shares(model, queries)
    return ((shares * counted[..., None]).sum(2) / counted.sum(-1)[:, None]).transpose(0, 1)


def routing(model: nn.Module) -> Tensor:
    """Weights (B, L, M, 2) of the visual and the text wing for each new token of the last forward pass.

    Raises:
        ConfigError: If there was none, or in stage 1, where nothing is routed.
    """
    notes = find(model).last
    if notes is None or not notes.routing:
        raise ConfigError("no routing weights: run the model once with its wings in stage 2")
    return torch.stack([notes.routing[slot] for slot in sorted(notes.routing)], 1)


def _shares(model: nn.Module, queries: str) -> tuple[Tensor, Tensor]:
    """Shares (L, B, M, 4) of the last forward pass, and which tokens count (B, M)."""
    check_choice("queries", queries, ("all", "after_image", "last"))
    notes = find(model).last
    if notes is None or not notes.masses:
        raise ConfigError("no shares of attention: run the model once with its wings, on more than one token")
    shares = torch.stack([notes.masses[slot] for slot in sorted(notes.masses)])
    counted = notes.queries(queries)
    return torch.where(counted[..., None], shares, 0.0), counted
