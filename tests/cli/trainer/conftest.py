"""A place to run the trainer commands in, as a user would."""

import pytest
import yaml
from synthetic import write_market

TRAINER = {
    "accelerator": "cpu",
    "max_epochs": 1,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "log_every_n_steps": 1,
}


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A working folder with generated data and a configuration of the toy method; returns the configuration."""
    import toy_method  # noqa: F401  (short class names are found among imported classes)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VISION_SUITE_DATA", str(tmp_path / "cache"))
    write_market(tmp_path / "market", train_ids=4, test_ids=2)
    data = {"root": "market", "image_size": [32, 16], "batch_size": 4, "num_instances": 2, "cache": "memory"}
    config = {
        "trainer": TRAINER,
        "model": {"class_path": "toy_method.LitToy", "init_args": {"width": 6}},
        "data": {"class_path": "vision_suite.datasets.reid.data.ReIDData", "init_args": {"num_workers": 0, **data}},
    }
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(config))
    return "toy.yaml"
