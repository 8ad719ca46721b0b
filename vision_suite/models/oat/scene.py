"""A scene as tokens: appearance and position of each object, the target, and the start of gaze."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from vision_suite.errors import ConfigError, DataError
from vision_suite.models.oat.appearance import Appearance
from vision_suite.models.oat.paths import present_objects
from vision_suite.models.oat.positions import PositionCode
from vision_suite.types import Condition, ScanpathBatch

TargetToken = Literal["object", "given"]


@dataclass(frozen=True)
class SceneTokens:
    """Tokens of a batch of scenes; rows are objects, the background where there is one, and the end.

    Attributes:
        rows: (B, S, E) encoder input.
        fixated: (B, S, E) decoder input behind a fixation on each row.
        start: (B, E) first decoder input.
        usable: (B, S) bool, False for objects that do not exist.
    """

    rows: Tensor
    fixated: Tensor
    start: Tensor
    usable: Tensor


class SceneEmbedding(nn.Module):
    """Tokens of scenes: appearance and position side by side (OAT, object embedding).

    The last row is the target, a second copy of the object with flag 1, and pointing at it ends a path. Without a
    target it is a learned none-token. A background row, at the start of gaze, is learned.

    Args:
        appearance: The appearance embedding, of width ``width``.
        position: The position code.
        width: Width of the appearance vector.
        background: Add a background row.
        conditions: Add the condition to the last row, which may be the none-token.
        embed_dim: Width E of a token.
        target_token: ``object`` copies the target object with its position, and marks fixations on a target, as the
            authors do; ``given`` knows only ``target_features`` or ``target_crop``, and nothing marks targets.
    """

    def __init__(
        self,
        appearance: Appearance,
        position: PositionCode,
        *,
        width: int,
        embed_dim: int,
        background: bool = False,
        conditions: bool = False,
        target_token: TargetToken = "object",
    ) -> None:
        super().__init__()
        if target_token not in ("object", "given"):
            raise ConfigError(f"target_token={target_token!r} is not known: choose object or given")
        self.appearance, self.position, self.target_token = appearance, position, target_token
        self.background = nn.Parameter(torch.randn(width)) if background else None
        self.none = nn.Parameter(torch.randn(width)) if conditions else None
        self.condition = nn.Embedding(len(Condition), embed_dim) if conditions else None

    def forward(self, batch: ScanpathBatch) -> SceneTokens:
        """Tokens of every scene.

        Raises:
            DataError: The batch lacks entries that the settings need.
        """
        if lacking := [name for name in ("position", "start", "target") if name not in batch]:
            raise DataError(f"the batch has no {', '.join(lacking)}: see vision_suite.types.ScanpathBatch")
        present = present_objects(batch)
        _check_target(batch["target"], present)
        appearance = self._objects(batch, present)
        position, start, size = self.coordinates(batch, self.position.reach)
        mark = self._marks(batch, present)
        zero, one, plain = torch.zeros_like(start[:, 0]), torch.ones_like(start[:, 0]), torch.zeros_like(start)
        seen = torch.cat([appearance, self.position(position, torch.zeros_like(position[..., 0]), size)], dim=-1)
        fixated = torch.cat([appearance, self.position(position, mark, size)], dim=-1)
        at_start = self.position(start, zero, plain)
        rows, decoder_rows, usable = [seen], [fixated], [present]
        if self.background is not None:
            row = torch.cat([self.background.expand(len(start), -1), at_start], dim=-1)[:, None]
            rows.append(row)
            decoder_rows.append(row)
            usable.append(torch.ones_like(present[:, :1]))
        target, where, extent = self._target(batch, appearance, position, start, size)
        end = torch.cat([target, self.position(where, one, extent)], dim=-1)
        if self.condition is not None:
            end = end + self.condition(_condition(batch))
        first = torch.cat([self.appearance.start().to(appearance.dtype).expand(len(start), -1), at_start], dim=-1)
        # Nothing is read behind the end; its row only keeps columns and rows aligned.
        return SceneTokens(
            torch.cat([*rows, end[:, None]], dim=1),
            torch.cat([*decoder_rows, torch.zeros_like(end)[:, None]], dim=1),
            first,
            torch.cat([*usable, torch.ones_like(present[:, :1])], dim=1),
        )

    def _objects(self, batch: ScanpathBatch, present: Tensor) -> Tensor:
        """(B, N, width); padding is never read and stays 0."""
        if "features" in batch and self.appearance.takes_features:
            appearance = self.appearance.project(batch["features"][present])
        elif "crops" in batch and self.appearance.takes_crops:
            appearance = self.appearance(batch["crops"][present])
        else:
            wanted = " or ".join(_wanted(self.appearance, "crops", "features"))
            raise DataError(f"the batch has no {wanted}, which the network's appearance needs: choose another one")
        out = appearance.new_zeros(*present.shape, appearance.shape[-1])
        out[present] = appearance
        return out

    def _target(
        self, batch: ScanpathBatch, appearance: Tensor, position: Tensor, start: Tensor, size: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Appearance, position and size of the last row."""
        if self.target_token == "object":
            missing = batch["target"] < 0
            pick = batch["target"].clamp(min=0)[:, None, None]
            found, where, extent = (
                values.gather(1, pick.expand(-1, 1, values.shape[-1]))[:, 0] for values in (appearance, position, size)
            )
        else:
            missing = _condition(batch) == Condition.FREE
            if "target_features" in batch and self.appearance.takes_features:
                found = self.appearance.project(batch["target_features"])
            elif "target_crop" in batch and self.appearance.takes_crops:
                found = self.appearance(batch["target_crop"])
            elif bool(missing.all()):
                found = torch.zeros_like(appearance[:, 0])
            else:
                wanted = " or ".join(_wanted(self.appearance, "target_crop", "target_features"))
                raise DataError(
                    f"target_token=given needs {wanted} in the batch; target_token=object copies the target"
                )
            where, extent = start, torch.zeros_like(start)
        if self.none is None:
            if bool(missing.any()):
                raise DataError(
                    "a trial has no target, which the network needs: name one, or train with conditions=true for "
                    "target-absent and free viewing"
                )
            return found, where, extent
        lost = missing[:, None]
        return (
            torch.where(lost, self.none.to(found.dtype), found),
            torch.where(lost, start, where),
            torch.where(lost, 0.0, extent),
        )

    def _marks(self, batch: ScanpathBatch, present: Tensor) -> Tensor:
        """(B, N) 1.0 for objects whose fixation is marked."""
        if self.target_token == "given":
            return torch.zeros(present.shape, device=present.device)
        if "targets" in batch:
            return batch["targets"].float()
        number = torch.arange(present.shape[1], device=present.device)
        return (number == batch["target"][:, None]).float()

    @staticmethod
    def coordinates(batch: ScanpathBatch, reach: float) -> tuple[Tensor, Tensor, Tensor]:
        """Positions (B, N, 2) and start (B, 2), in pitches, and log sizes (B, N, 2); all of padding is 0.

        Args:
            batch: Scenes.
            reach: Largest extent in pitches; wider scenes are shrunk.
        """
        present = present_objects(batch)
        position = torch.where(present[..., None], batch["position"], 0.0)
        start = batch["start"]
        if reach < float("inf"):
            both = torch.cat([torch.where(present[..., None], position, torch.nan), start[:, None]], dim=1)
            low = torch.where(both.isnan(), torch.inf, both).amin(dim=1)
            high = torch.where(both.isnan(), -torch.inf, both).amax(dim=1)
            extent = (high - low).amax(dim=1).clamp(min=1e-6)
            # A wider scene would be periodic in the code.
            shrink = (reach / extent).clamp(max=1.0)
            position, start = position * shrink[:, None, None], start * shrink[:, None]
        size = torch.zeros_like(position)
        if "boxes" in batch:
            sides = (batch["boxes"][..., 2:] - batch["boxes"][..., :2]).flip(-1).clamp(min=1.0).log()
            middle = torch.where(present[..., None], sides, torch.nan).nanmedian(dim=1, keepdim=True).values
            size = torch.where(present[..., None], sides - middle, 0.0)
        return position, start, size


def _check_target(target: Tensor, present: Tensor) -> None:
    count = present.shape[1]
    there = present.gather(1, target.clamp(0, count - 1)[:, None])[:, 0]
    if bool(((target >= count) | ((target >= 0) & ~there)).any()):
        raise DataError(f"target {target.tolist()}: a scene lacks its target; objects are 0 to {count - 1}, -1 is none")


def _condition(batch: ScanpathBatch) -> Tensor:
    """(B,) int64; where the batch does not say, the target is present."""
    return batch["condition"] if "condition" in batch else torch.zeros_like(batch["target"])


def _wanted(appearance: Appearance, crops: str, features: str) -> list[str]:
    return [crops] * appearance.takes_crops + [features] * appearance.takes_features
