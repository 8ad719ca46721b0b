"""Form that a decoder must have so that wings can be attached: its layers, its attention, its widths."""

from __future__ import annotations

import ast
import inspect
import textwrap
from typing import Any

from torch import nn

from vision_suite.errors import ConfigError
from vision_suite.models.wings.config import WingsConfig

# Norm, attention and residual sum, in the words of transformers' decoder layers.
STEPS = (
    "residual = {x}",
    "{x} = self.input_layernorm({x})",
    "{x} = self.self_attn()",
    "{x} = residual + {x}",
)


def text_model(model: nn.Module) -> nn.Module:
    """The part of a model that has token embeddings and decoder layers.

    Raises:
        ConfigError: If there is none, or more than one.
    """
    found = [
        part
        for part in model.modules()
        if hasattr(part, "embed_tokens") and isinstance(getattr(part, "layers", None), nn.ModuleList)
    ]
    if len(found) != 1:
        raise ConfigError(
            f"{type(model).__name__} has {len(found)} decoders with embed_tokens and layers: wings need exactly one"
        )
    return found[0]


def check_decoder(text: nn.Module, config: WingsConfig) -> None:
    """Refuse a decoder that wings cannot serve, in one line.

    Args:
        text: Text model.
        config: Settings.

    Raises:
        ConfigError: If its layers, attention or widths are of another form.
    """
    name, shape, layers = type(text).__name__, _config(text), _layers(text)
    for index in range(len(layers)) if config.layers is None else config.layers:
        if index >= len(layers):
            raise ConfigError(f"wings.layers names layer {index}, {name} has {len(layers)}: count from 0")
        layer = layers[index]
        attention = getattr(layer, "self_attn", None)
        if not isinstance(attention, nn.Module):
            raise ConfigError(
                f"layer {index} of {name} ({type(layer).__name__}) has no self_attn: leave it out of wings.layers"
            )
        if "get_interface" not in _source(attention):
            raise ConfigError(f"{type(attention).__name__} does not look its attention up by name: it cannot be read")
        if config.query == "post_attn" and not adds_attention_to_its_input(layer):
            raise ConfigError(
                f"{type(layer).__name__} is not norm, attention and a plain sum: use wings.query=attn_input, which "
                "needs no sum"
            )
        if config.stats != "eager" and getattr(attention, "sinks", None) is not None:
            raise ConfigError(f"{type(attention).__name__} has attention sinks: use wings.stats=eager")
        value, key = getattr(attention, "v_head_dim", None), getattr(attention, "qk_head_dim", None)
        if config.stats == "operator" and value != key:
            raise ConfigError(
                f"{type(attention).__name__} has values of width {value} and keys of {key}: use wings.stats=exact"
            )
    kinds = getattr(shape, "layer_types", None)
    if getattr(shape, "sliding_window", None) is not None and (kinds is None or "sliding_attention" in kinds):
        raise ConfigError(
            f"{name} attends to a window of {shape.sliding_window} tokens: set config.sliding_window to null before "
            "the model is built, where rows are shorter"
        )
    if "mrope_section" in (getattr(shape, "rope_parameters", None) or {}):
        raise ConfigError(f"{name} has positions of several axes: wings need one position per token")
    heads = int(shape.num_attention_heads)
    if shape.hidden_size % (2 * heads):
        raise ConfigError(
            f"{name} is {shape.hidden_size} wide with {heads} heads: wings need a width that is an even multiple of "
            "the heads"
        )


def adds_attention_to_its_input(layer: nn.Module) -> bool:
    """Tell whether a layer's forward is norm, attention and the sum with its input, as its source says."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(type(layer).forward))))
    except (OSError, TypeError, SyntaxError):
        return False
    function = tree.body[0]
    if not isinstance(function, ast.FunctionDef) or len(function.args.args) < 2:
        return False
    said = [_said(statement) for statement in function.body]
    steps = [step.format(x=function.args.args[1].arg) for step in STEPS]
    return any(said[start : start + len(steps)] == steps for start in range(len(said)))


def _said(statement: ast.stmt) -> str:
    """A statement as text; of a call of the attention only the first result and the name remain."""
    if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
        return ""
    target, value = statement.targets[0], statement.value
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "self.self_attn":
        if not isinstance(target, ast.Tuple):
            return ""
        return f"{ast.unparse(target.elts[0])} = self.self_attn()"
    return ast.unparse(statement)


def _config(module: nn.Module) -> Any:
    return module.config


def _layers(text: nn.Module) -> list[nn.Module]:
    layers = text.layers
    return list(layers) if isinstance(layers, nn.ModuleList) else []


def _source(module: nn.Module) -> str:
    try:
        return inspect.getsource(inspect.unwrap(type(module).forward))
    except (OSError, TypeError):
        return ""
