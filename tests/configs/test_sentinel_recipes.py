"""Configurations of SENTINEL: the paper's settings, controls that differ in one thing, and settings that are known."""

import pytest
import yaml

from vision_suite.cli import main
from vision_suite.cli.configs import named_configs

CONTROLS = {"sentinel/scenes_dpo": {"unit": "caption"}, "sentinel/scenes_random": {"shuffle_labels": True}}


def whole(name):
    path = named_configs()[name]
    contents = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {
        key: yaml.safe_load((path.parent / value).read_text(encoding="utf-8")) if isinstance(value, str) else value
        for key, value in contents.items()
    }


def test_the_papers_table():
    """Peng et al., Table 10: LLaVA-1.5-7B."""
    config = whole("sentinel/llava_7b")
    model, data, trainer = config["model"]["init_args"], config["data"]["init_args"], config["trainer"]
    assert (model["optim"]["lr"], model["optim"]["weight_decay"], model["optim"]["schedule"]) == (2e-6, 0.0, "cosine")
    assert (model["lora"]["rank"], model["lora"]["alpha"], model["loss"]["beta"]) == (128, 256, 0.1)
    assert data["batch_size"] * trainer["devices"] == 64
    assert (trainer["max_epochs"], trainer["gradient_clip_val"], config["seed_everything"]) == (1, 1.0, 42)
    assert set(model["lora"]["targets"]) == {f"{part}_proj" for part in ("q", "k", "v", "o", "gate", "up", "down")}


@pytest.mark.parametrize("name", sorted(CONTROLS))
def test_controls_differ_in_one_thing(name):
    base, control = whole("sentinel/scenes_cdpo"), whole(name)
    settings = control["data"]["init_args"]
    assert {key: settings.pop(key) for key in CONTROLS[name]} == CONTROLS[name]
    assert control == base


@pytest.mark.parametrize(
    ("captions", "tuning", "same"),
    [
        ("scenes_sft", "scenes_cdpo", ("decoder", "tower", "projector", "train")),
        ("smollm2_sft", "smollm2_lora", ("decoder", "tower", "projector")),
    ],
)
def test_pairs_train_the_model_that_learnt_captions(captions, tuning, same):
    start, pairs = whole(f"sentinel/{captions}"), whole(f"sentinel/{tuning}")
    for key in same:
        assert start["model"]["init_args"][key] == pairs["model"]["init_args"][key]
    for key in ("tokenizer", "image_tokens", "image_size", "system"):
        assert start["data"]["init_args"][key] == pairs["data"]["init_args"][key]


@pytest.mark.parametrize("name", ["sentinel/scenes_cdpo", "sentinel/smollm2_lora", "sentinel/llava_7b"])
def test_every_setting_is_known(name, capsys):
    with pytest.raises(SystemExit) as leave:
        main(["fit", "-c", name, "--print_config"])
    assert not leave.value.code
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["model"]["init_args"]["loss"]["beta"] == whole(name)["model"]["init_args"]["loss"]["beta"]
