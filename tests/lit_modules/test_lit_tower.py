"""The tower's module: it learns to tell identities apart, and a language model can take the tower out of its file."""

import lit_training
import pytest
import synthetic
import torch
import torch.nn.functional as F
from pytorch_lightning.callbacks import LambdaCallback

from vision_suite.errors import ConfigError
from vision_suite.lit_modules.tower import LitTower
from vision_suite.models.mllm.conv_tower import ConvTower
from vision_suite.optim import OptimConfig
from vision_suite.types import RetrievalReport
from vision_suite.weights import init_from


def module(**settings):
    torch.manual_seed(0)
    return LitTower(6, width=16, image_size=(32, 16), optim=OptimConfig(lr=5e-3), **settings)


def test_it_trains_is_scored_and_hands_its_tower_on(tmp_path):
    data = lit_training.market_data(synthetic.write_market(tmp_path / "set", val_ids=2), validation="official")
    lit = module()
    losses = []
    keep = LambdaCallback(on_train_batch_end=lambda trainer, *_: losses.append(trainer.callback_metrics["train/loss"]))
    trainer = lit_training.trainer(tmp_path, max_epochs=10, enable_checkpointing=False, callbacks=[keep])
    trainer.fit(lit, datamodule=data)
    assert len(losses) == 40
    assert sum(losses[-8:]) < 0.6 * sum(losses[:8])
    assert 0 < trainer.callback_metrics["val/mAP"] <= 1
    trainer.test(lit, datamodule=data, verbose=False)
    assert isinstance(lit.report, RetrievalReport)
    assert lit.report.protocol["stage"] == "test"
    predicted = trainer.predict(lit, datamodule=data)
    assert predicted[0]["feature"].shape[1] == 16
    path = tmp_path / "tower.ckpt"
    trainer.save_checkpoint(path)
    tower = ConvTower(16, (32, 16))
    started = init_from(tower, path)
    assert started.missing == ()
    assert all(torch.equal(value, lit.model.state_dict()[name]) for name, value in tower.state_dict().items())


def test_the_loss_is_the_cross_entropy_of_scaled_cosines():
    lit = module(scale=8.0, label_smoothing=0.1).train()
    lit.log = lit.log_dict = lambda *args, **kwargs: None
    batch = {"image": torch.randn(4, 3, 32, 16), "identity": torch.tensor([0, 0, 5, 3])}
    loss = lit.training_step(batch, 0)
    mean = lit.model(batch["image"])[:, 0]
    feature = (mean - mean.mean(0)) / (mean.var(0, unbiased=False) + lit.neck.eps).sqrt()
    logits = 8.0 * F.cosine_similarity(feature[:, None], lit.classifier.weight[None], dim=2)
    right = logits.log_softmax(1)
    expected = -(0.9 * right[range(4), batch["identity"]] + 0.1 * right.mean(1)).mean()
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize(("settings", "words"), [({"scale": 0}, "scale=0"), ({"label_smoothing": 1}, "smoothing=1")])
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        module(**settings)
