"""Beam search for likely scanpaths, with a length normalisation."""

from __future__ import annotations

import torch
from torch import Tensor

from vision_suite.errors import ConfigError
from vision_suite.models.oat.decoding import seconds
from vision_suite.models.oat.generated import GenerationRecord, Prefix, Scanpaths, evaluating, first_without_end
from vision_suite.models.oat.network import OAT
from vision_suite.models.oat.relative import MEMORY
from vision_suite.models.oat.transformer import Past
from vision_suite.types import ScanpathBatch


def beam_search(
    model: OAT, batch: ScanpathBatch, max_length: int, num_beams: int = 5, *, length_power: float = 1.0
) -> Scanpaths:
    """The likeliest paths found by keeping the best few at every step, best first.

    Paths are ranked by ``log p / n ** length_power``, n the number of predicted steps, the end included. A finished
    path stays as long as its rank allows; the search stops when all are finished. Durations are medians.

    Args:
        model: The network; dropout is off in here.
        batch: Scenes. Its first ``given`` fixations begin every path.
        max_length: Most fixations of a path, given ones included.
        num_beams: Paths K that are kept, and returned. Where a scene has fewer possible paths the rest have a
            log-probability of -inf and no fixation.
        length_power: 0 ranks by probability alone, which prefers short paths.

    Raises:
        ConfigError: A number is out of range.
    """
    if num_beams < 1 or not 0 <= length_power < float("inf"):
        raise ConfigError(
            f"num_beams={num_beams} must be 1 or more and length_power={length_power} a finite number of 0 or more"
        )
    with evaluating(model):
        prefix = Prefix.of(model, batch, max_length)
        scenes = model.encode(batch)
        count, width = scenes.usable.shape
        record = GenerationRecord(scenes, max_length, num_beams)
        past = [Past() for _ in model.decoder]
        # One beam is the start; the others must lose against its continuations.
        total = torch.full((count, num_beams), -torch.inf, device=scenes.start.device)
        total[:, 0] = 0.0
        done = torch.zeros_like(total, dtype=torch.bool)
        inputs = scenes.start[:, None].expand(-1, num_beams, -1)
        recent = torch.full((*total.shape, MEMORY), width, device=total.device)
        scene = torch.arange(count, device=total.device)[:, None]
        for step in range(max_length):
            states = model.step(scenes, inputs, past)
            logits = first_without_end(model.score(states, scenes, recent), step)
            gain = logits.float().log_softmax(dim=-1)
            forced = step < prefix.given
            if step < prefix.columns.shape[1]:
                gain = torch.where(forced[:, None, None], _only(prefix.columns[:, step], width), gain)
            # A finished path has one continuation, itself, written as another end that costs nothing.
            stay = torch.full_like(gain, -torch.inf)
            stay[..., record.end] = 0.0
            gain = torch.where(done[..., None], stay, gain)
            predicted = (record.length - prefix.given[:, None]).clamp(min=0) + 1
            score = (total[..., None] + gain) / predicted[..., None].float() ** length_power
            best = score.flatten(1).topk(num_beams, dim=1).indices
            parent, column = best // width, best % width
            won = gain[scene, parent, column]
            total, finished = total[scene, parent] + won, done[scene, parent]
            record.select(parent)
            flat = (scene * num_beams + parent).flatten()
            for layer in past:
                layer.select(flat)
            going = ~finished & total.isfinite()
            duration = None
            if model.timing is not None:
                duration = seconds(model.predict_timing(states[scene, parent], scenes, column), None)
                if step < prefix.columns.shape[1]:
                    duration = torch.where(forced[:, None], prefix.duration[:, step, None], duration)
            row, beam = going.nonzero(as_tuple=True)
            value = None if duration is None else duration[going]
            record.write(step, row, beam, column[going], won[going], value)
            done = finished | (column == record.end) | ~total.isfinite()
            if bool(done.all()):
                break
            recent = torch.cat([column[..., None], recent[scene, parent, :-1]], dim=-1)
            inputs = scenes.fixated.gather(1, column[..., None].expand(-1, -1, model.embed_dim))
        record.clear(~total.isfinite())
        return record.finish(model, batch)


def _only(column: Tensor, width: int) -> Tensor:
    """(B, 1, C) log-probabilities that allow one column of each scene."""
    one = torch.full((len(column), width), -torch.inf, device=column.device)
    return one.scatter(1, column[:, None], 0.0)[:, None]
