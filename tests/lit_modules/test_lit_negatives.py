"""Detectors train on batches in which nothing happens."""

import json

import pytest
import torch
from lit_training import QUIET
from pytorch_lightning import Trainer
from synthetic_tad import write_feature_set

from vision_suite.datasets.tad.data import TADData
from vision_suite.lit_modules.csa import LitCSA
from vision_suite.lit_modules.recognizer import LitRecognizer


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["detector", "recogniser"])
def test_a_batch_without_any_action_gives_finite_losses_and_weights(tmp_path, kind):
    root = write_feature_set(tmp_path / "set", videos=4)
    contents = json.loads((root / "annotations.json").read_text())
    contents["database"]["clip00"]["annotations"] = []
    (root / "annotations.json").write_text(json.dumps(contents))
    data = TADData(str(root), num_cells=20, batch_size=1, num_workers=0, seed=1)
    module = LitCSA(2, 8, 20, max_duration=10) if kind == "detector" else LitRecognizer(2, 8, 20, width=4, depth=1)
    seen = []
    own = module.training_step

    def step(batch, batch_idx):
        loss = own(batch, batch_idx)
        seen.append((batch["label"].shape[1], float(loss.detach())))
        return loss

    module.training_step = step
    Trainer(logger=False, enable_checkpointing=False, max_epochs=1, limit_val_batches=0, **QUIET).fit(module, data)
    assert sorted(count for count, _ in seen) == [0, 2]
    assert all(torch.isfinite(torch.tensor(loss)) for _, loss in seen)
    assert all(torch.isfinite(weight).all() for weight in module.parameters())
