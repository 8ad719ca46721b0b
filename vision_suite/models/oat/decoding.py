"""Scanpaths from OAT: each scene encoded once, keys and values kept, all paths of all scenes in one batch.

The authors run encoder and decoder anew for every step of every path; results here are the same up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vision_suite.errors import ConfigError
from vision_suite.models.oat.generated import GenerationRecord, Prefix, Scanpaths, evaluating, first_without_end
from vision_suite.models.oat.network import OAT
from vision_suite.models.oat.relative import MEMORY
from vision_suite.models.oat.transformer import Past
from vision_suite.types import ScanpathBatch

PACK_BELOW = 0.8  # unfinished paths are packed together when no scene keeps more than this share of its paths


def greedy(model: OAT, batch: ScanpathBatch, max_length: int) -> Scanpaths:
    """The likeliest next object at every step, one path a scene; durations are medians.

    Args:
        model: The network; dropout is off in here.
        batch: Scenes. Its first ``given`` fixations begin every path; further recorded ones are not read.
        max_length: Most fixations of a path, given ones included.

    Raises:
        ConfigError: ``max_length`` is too short.
    """
    return _roll_out(model, batch, max_length, 1, None, 1.0)


def sample(
    model: OAT,
    batch: ScanpathBatch,
    max_length: int,
    num_samples: int = 100,
    *,
    temperature: float = 1.0,
    generator: torch.Generator | Sequence[torch.Generator] | None = None,
) -> Scanpaths:
    """Paths drawn from the network's distribution.

    The random numbers are ``torch.rand(max_length, B, num_samples)``; each step takes the column at which the
    cumulative distribution passes its number. Durations take further numbers, normal ones.

    Args:
        model: The network; dropout is off in here.
        batch: Scenes, as for `greedy`.
        max_length: Most fixations of a path, given ones included.
        num_samples: Paths K of each scene (authors: 100).
        temperature: Divides the logits; log-probabilities are reported for 1 all the same.
        generator: Source of random numbers, on the CPU; or one for each scene, whose paths then do not depend on the
            batch it is in.

    Raises:
        ConfigError: The temperature is not finite and above 0, a number is too small, or there are not B generators.
    """
    if not 0 < temperature < float("inf"):
        raise ConfigError(f"temperature={temperature} must be a finite number above 0; greedy() is its limit at 0")
    if num_samples < 1 or max_length < 1:
        raise ConfigError(f"num_samples={num_samples} and max_length={max_length} must be 1 or more")
    count = len(batch["position"])
    if generator is None or isinstance(generator, torch.Generator):
        draws = _draws((max_length, count, num_samples), generator, model.timing is not None)
    elif len(generator) == count:
        own = [_draws((max_length, num_samples), one, model.timing is not None) for one in generator]
        draws = torch.stack(own, dim=2)
    else:
        raise ConfigError(f"{len(generator)} generators for {count} scenes: give one, or one for each scene")
    return _roll_out(model, batch, max_length, num_samples, draws.to(batch["position"].device), temperature)


def _draws(shape: tuple[int, ...], generator: torch.Generator | None, normal: bool) -> Tensor:
    """(1 or 2, *shape) uniform numbers, and normal ones where durations are drawn."""
    uniform = torch.rand(shape, generator=generator)
    return torch.stack([uniform, torch.randn(shape, generator=generator)] if normal else [uniform])


def inverse_cdf(log_prob: Tensor, draw: Tensor) -> Tensor:
    """Columns at which cumulative distributions pass given numbers.

    Args:
        log_prob: (..., C), any constant added.
        draw: (...,) in [0, 1), of float32's grid, so that a product with the whole mass stays below it.

    Returns:
        (...,) int64, never a column of probability 0.
    """
    total = log_prob.double().softmax(dim=-1).cumsum(dim=-1)
    wanted = draw[..., None].double() * total[..., -1:]
    return torch.searchsorted(total, wanted, right=True)[..., 0]


def _roll_out(
    model: OAT, batch: ScanpathBatch, max_length: int, num_paths: int, draws: Tensor | None, temperature: float
) -> Scanpaths:
    """Grow all paths together; ``draws`` (1 or 2, L, B, K) are uniform and normal numbers, None for the likeliest."""
    with evaluating(model):
        prefix = Prefix.of(model, batch, max_length)
        scenes = model.encode(batch)
        record = GenerationRecord(scenes, max_length, num_paths)
        past = [Past() for _ in model.decoder]
        # Places of the running batch: which scene and path they hold, and whether that is unfinished.
        scene, path = torch.meshgrid(
            *(torch.arange(n, device=scenes.start.device) for n in record.length.shape), indexing="ij"
        )
        live = torch.ones_like(scene, dtype=torch.bool)
        inputs = scenes.start[:, None].expand(-1, num_paths, -1)
        recent = torch.full((*scene.shape, MEMORY), scenes.usable.shape[1], device=scene.device)
        for step in range(max_length):
            states = model.step(scenes, inputs, past)
            logits = first_without_end(model.score(states, scenes, recent), step)
            if draws is None:
                column = logits.argmax(dim=-1)
            else:
                column = inverse_cdf(logits / temperature, draws[0, step][scene, path])
            log_prob = logits.float().log_softmax(dim=-1).gather(2, column[..., None])[..., 0]
            duration = None
            if model.timing is not None:
                noise = None if draws is None else draws[1, step][scene, path]
                duration = seconds(model.predict_timing(states, scenes, column), noise)
            if step < prefix.columns.shape[1]:
                forced = step < prefix.given[scene]
                column = torch.where(forced, prefix.columns[scene, step], column)
                log_prob = torch.where(forced, 0.0, log_prob)
                if duration is not None:
                    duration = torch.where(forced, prefix.duration[scene, step], duration)
            record.write(
                step, scene[live], path[live], column[live], log_prob[live],
                None if duration is None else duration[live],
            )  # fmt: skip
            live = live & (column != record.end)
            if not bool(live.any()):
                break
            recent = torch.cat([column[..., None], recent[..., :-1]], dim=-1)
            inputs = scenes.fixated.gather(1, column[..., None].expand(-1, -1, model.embed_dim))
            most = int(live.sum(dim=1).max())
            if most <= PACK_BELOW * live.shape[1] or bool((~live.any(dim=1)).any()):
                kept = live.any(dim=1).nonzero()[:, 0]
                order = (~live[kept]).long().argsort(dim=1, stable=True)[:, :most]
                for layer in past:
                    layer.select((kept[:, None] * live.shape[1] + order).flatten())
                scene, path, live, inputs, recent = (
                    values[kept[:, None], order] for values in (scene, path, live, inputs, recent)
                )
                scenes = scenes.select(kept)
        return record.finish(model, batch)


def seconds(timing: Tensor, noise: Tensor | None) -> Tensor:
    """Durations of log-normal distributions: medians, or draws by standard normal numbers; (..., 2) to (...)."""
    mean, log_scale = timing.unbind(-1)
    return mean.exp() if noise is None else (mean + log_scale.exp() * noise).exp()
