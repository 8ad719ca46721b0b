"""A picture of the reward margins of the pairs that a run has trained on last."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import WandbLogger

from vision_suite.callbacks.run_dir import run_dir
from vision_suite.drafts import drafted
from vision_suite.errors import ConfigError, check_number
from vision_suite.lit_modules.sentinel import LitSentinel
from vision_suite.viz.margins import margin_picture


class PairMargins(Callback):
    """Draws ``margins.png`` at the end of training: margins of this process's last pairs, and their lengths.

    Args:
        pairs: Number of pairs that are kept.
    """

    def __init__(self, pairs: int = 2000) -> None:
        check_number("pairs", pairs, low=1, whole=True)
        self._kept: deque[tuple[float, float]] = deque(maxlen=pairs)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse modules without pairs.

        Raises:
            ConfigError: The module does not learn from pairs.
        """
        if not isinstance(pl_module, LitSentinel):
            raise ConfigError(f"PairMargins is for LitSentinel, not for {type(pl_module).__name__}: leave it out")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take the margins of a batch."""
        assert isinstance(pl_module, LitSentinel)
        self._kept.extend(pl_module.last_margins.tolist())

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw them."""
        if not trainer.is_global_zero or not self._kept:
            return
        margins, gaps = np.array(self._kept, dtype=np.float64).T
        picture = margin_picture(margins, gaps, title=f"Last {len(margins):,} pairs of training")
        folder = run_dir(trainer)
        folder.mkdir(parents=True, exist_ok=True)
        with drafted(folder / "margins.png") as draft:
            picture.save(draft, format="PNG")
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image(key="margins", images=[picture])

    def state_dict(self) -> dict[str, Any]:
        """The kept margins and differences of lengths."""
        return {"kept": [list(each) for each in self._kept]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up those of an earlier part of the run."""
        self._kept.extend((float(margin), float(gap)) for margin, gap in state_dict["kept"])
