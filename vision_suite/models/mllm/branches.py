"""Log-probabilities of several continuations of one beginning, which is computed once (SENTINEL's pairs, candidates).

A row [prefix, branch 1, ..., branch n] holds the beginning with its pictures once. Branches do not see each other,
their positions follow the prefix, and its last token predicts the first id of each. Equal to rows of their own up to
rounding; where a model cannot be served, `branch_logps` refuses and `paired_logps` computes those.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from vision_suite.errors import ConfigError, DataError, check_number
from vision_suite.layers.branches import find_branches
from vision_suite.models.mllm.network import NAME, Mllm
from vision_suite.models.mllm.scoring import continued, with_features
from vision_suite.ops.logprobs import token_logps
from vision_suite.types.instruct import IGNORED, InstructBatch
from vision_suite.types.preference import PreferenceBatch

OTHERWISE = "compute rows of their own (paired_logps)"
# Largest difference of an id's log-probability between both ways that rounding explains.
ROUNDING = {torch.float64: 1e-6, torch.float32: 1e-3, torch.float16: 0.05, torch.bfloat16: 0.2}


def branch_logps(model: Mllm, batch: PreferenceBatch, *, dummy: bool = False) -> Tensor:
    """Log-probability of each branch behind its prefix, prefixes computed once.

    Args:
        model: Network, with or without wings or LoRA, whose decoder uses the suite's attention.
        batch: Beginnings and their continuations. With ``branch_weights`` sums are weighted.
        dummy: Run a blank picture where the batch has none, see `Mllm.hidden`.

    Returns:
        (B, n) sums over the ids of each branch, float32 (float64 for float64); 0 for a branch of padding alone.

    Raises:
        ConfigError: The model cannot be computed so, see `check_branches`.
        DataError: The masks do not fit, or a branch holds a picture's placeholder.
    """
    check_branches(model)
    ids, mask = batch["branch_ids"], batch["branch_mask"]
    _check_ids(model, ids, mask)
    # What the last id of a branch would predict is not asked for.
    read = mask[:, :, 1:]
    branches = find_branches(batch["attention_mask"].bool(), read)
    given = cast("dict[str, Tensor]", batch)
    row = {name: value for name, value in given.items() if name in ("image", "features")}
    row["input_ids"] = branches.row(batch["input_ids"], ids[:, :, :-1])
    row["position_ids"] = branches.positions()
    # Padding is the operator's matter; a full mask keeps transformers from finding packed rows.
    row["attention_mask"] = torch.ones_like(row["input_ids"], dtype=torch.bool)
    hidden = model.hidden(cast("InstructBatch", row), dummy=dummy, branches=branches)
    prefix, (count, length) = batch["input_ids"].shape[1], ids.shape[1:]
    last = branches.prefix_kept.sum(1) - 1
    first = hidden[torch.arange(len(hidden), device=hidden.device), last][:, None, None].expand(-1, count, 1, -1)
    later = hidden[:, prefix:].reshape(len(hidden), count, length - 1, hidden.shape[2])
    states = torch.cat([first, later], 2).flatten(0, 1)
    labels = torch.where(mask, ids, IGNORED).flatten(0, 1)
    return _sums(model, states, labels, batch, shift=False)


def paired_logps(model: Mllm, batch: PreferenceBatch, *, dummy: bool = False) -> Tensor:
    """Log-probability of each branch behind its prefix, each in a row of its own; pictures are encoded once.

    Serves every model that `Mllm` serves. See `branch_logps` for the arguments, the result and what is raised.
    """
    ids, mask = batch["branch_ids"], batch["branch_mask"]
    _check_ids(model, ids, mask)
    count = ids.shape[1]
    answers = [row[kept].tolist() for row, kept in zip(ids.flatten(0, 1), mask.flatten(0, 1), strict=True)]
    repeated = repeat_rows(with_features(model, cast("InstructBatch", batch)), count)
    part = continued(repeated, answers, pad_id=int(ids[~mask][0]) if not bool(mask.all()) else 0)
    return _sums(model, model.hidden(part, dummy=dummy), part["labels"], batch, shift=True)


def repeat_rows(batch: InstructBatch, count: int) -> InstructBatch:
    """Each row several times, side by side, with its pictures.

    Args:
        batch: Prompts, padded on the right.
        count: Copies of each row.
    """
    entries = cast("dict[str, Tensor]", batch)
    names = ("input_ids", "attention_mask", "position_ids")
    found = {name: entries[name].repeat_interleave(count, 0) for name in names if name in entries}
    pictures = [name for name in ("image", "features") if len(entries.get(name, ()))]
    if pictures and "image_of_token" not in entries:
        raise DataError("the batch has pictures and does not say whose: give image_of_token")
    if "image_of_token" in entries:
        of_token = entries["image_of_token"]
        owned = [torch.unique(row[row >= 0]) for row in of_token]
        shifts, total = [], 0
        for row in owned:
            for _ in range(count):
                shifts.append(total - int(row[0]) if len(row) else 0)
                total += len(row)
        wide = of_token.repeat_interleave(count, 0)
        found["image_of_token"] = torch.where(wide >= 0, wide + wide.new_tensor(shifts)[:, None], -1)
        order = torch.cat([row for row in owned for _ in range(count)])
        found |= {name: entries[name][order] for name in pictures}
    found |= {name: entries[name] for name in ("image", "features") if name in entries and name not in found}
    return cast("InstructBatch", found)


def check_branches(model: Mllm) -> None:
    """Refuse a model whose branches would not be exact.

    Raises:
        ConfigError: The decoder's attention is not the suite's, it has windows or layers that are no attention, it
            attends both ways, or dropout is on.
    """
    config: Any = model.decoder.config.get_text_config()
    name = type(model.decoder).__name__
    attention = str(config._attn_implementation)
    if not attention.endswith(NAME):
        raise ConfigError(
            f"{name} uses the attention {attention!r}, shared prefixes need {NAME!r}: set decoder.attention, or "
            f"{OTHERWISE}"
        )
    kinds = sorted({"full_attention", *(getattr(config, "layer_types", None) or ())} - {"full_attention"})
    if getattr(config, "sliding_window", None) is not None:
        kinds.append(f"windows of {config.sliding_window} tokens")
    if getattr(config, "use_bidirectional_attention", None) or getattr(config, "is_causal", True) is False:
        kinds.append("attention that looks both ways")
    if kinds:
        raise ConfigError(f"{name} has {kinds[0]}, with which shared prefixes are not exact: {OTHERWISE}")
    if where := _dropout(model.decoder):
        raise ConfigError(f"dropout is on in {where}, two branches would draw apart: set it to 0, or {OTHERWISE}")


@torch.no_grad()
def verify_branches(model: Mllm, batch: PreferenceBatch, tolerance: float | None = None) -> float:
    """Compare shared prefixes with rows of their own on a batch, in evaluation mode and without gradients.

    Args:
        model: Network.
        batch: Beginnings and their continuations, such as the first batch of a training.
        tolerance: Largest difference of a branch's log-probability by its number of ids; by default what rounding
            explains in the model's type.

    Returns:
        The largest difference by number of ids.

    Raises:
        ConfigError: The difference is larger, so the model has something that `check_branches` does not know.
    """
    kind = next(model.decoder.parameters()).dtype
    if torch.is_autocast_enabled(model.head_weight.device.type) and kind != torch.float64:
        kind = torch.get_autocast_dtype(model.head_weight.device.type)
    tolerance = ROUNDING[kind] if tolerance is None else tolerance
    check_number("tolerance", tolerance, low=0)
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        difference = (branch_logps(model, batch) - paired_logps(model, batch)).abs()
    finally:
        for module, mode in modes.items():
            module.training = mode
    worst = float((difference / batch["branch_mask"].sum(2).clamp_min(1)).max())
    if not worst <= tolerance:
        raise ConfigError(
            f"{type(model.decoder).__name__} gives other log-probabilities with a shared prefix, by {worst:.2g} an id "
            f"(tolerance {tolerance:g}): {OTHERWISE}"
        )
    return worst


def _sums(model: Mllm, states: Tensor, labels: Tensor, batch: PreferenceBatch, *, shift: bool) -> Tensor:
    """Sums (B, n) of the log-probabilities of all branches, in their order."""
    mask = batch["branch_mask"]
    logps, rows = token_logps(states, model.head_weight, labels, shift=shift)
    if "branch_weights" in batch:
        logps = logps * batch["branch_weights"][mask].to(logps.dtype)
    return logps.new_zeros(len(labels)).index_add(0, rows, logps).view(mask.shape[:2])


def _check_ids(model: Mllm, ids: Tensor, mask: Tensor) -> None:
    if ids.dim() != 3 or mask.shape != ids.shape or not ids.shape[2]:
        raise DataError(f"branch_ids {list(ids.shape)} and branch_mask {list(mask.shape)} do not fit: give (B, n, T)")
    if bool(((ids == model.image_token_id) & mask).any()):
        raise DataError("a continuation holds a picture's placeholder: pictures belong to the prompt")


def _dropout(model: nn.Module) -> str:
    """Name of a part that drops values out in training; empty if none does."""
    for name, module in model.named_modules():
        rates = (getattr(module, each, 0.0) for each in ("p", "attention_dropout", "drop_prob"))
        if module.training and any(isinstance(rate, float) and rate > 0 for rate in rates):
            return f"decoder.{name}".rstrip(".")
    return ""
