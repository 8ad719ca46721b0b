"""Configurations of Wings: rates of the parts, baselines that are there, and settings that the command line knows."""

import pytest
import torch
import yaml

from vision_suite.cli import main
from vision_suite.cli.configs import named_configs
from vision_suite.lit_modules.wings import LitWings

NAMES = sorted(name for name in named_configs() if name.startswith("wings/"))
SMALL = [name for name in NAMES if name.startswith("wings/smollm2")]


def init_args(name):
    path = named_configs()[name]
    value = yaml.safe_load(path.read_text(encoding="utf-8"))["model"]
    model = yaml.safe_load((path.parent / value).read_text(encoding="utf-8")) if isinstance(value, str) else value
    return model["init_args"]


def test_the_baselines_are_there():
    kinds = {"stage1", "stage2", "projector_only", "visual_only", "lora", "full", "full_2e-4", "replay", "interpolated"}
    assert {f"wings/smollm2_{kind}" for kind in kinds} <= set(SMALL)


@pytest.mark.parametrize("name", SMALL)
def test_rates_of_the_decoder(name):
    """The decoder's rate is that of Wings' stage 2, or 2e-4 where the name or the method says so."""
    settings = init_args(name)
    optim = settings["optim"]
    factors = optim.get("lr_factors", {})
    rate = optim["lr"] * factors.get("decoder", 1.0)
    tuned = "decoder" in settings.get("train", ()) or (settings.get("wings") or {}).get("stage") == 2
    if tuned:
        high = any(word in name for word in ("2e-4", "replay", "interpolated"))
        assert rate == pytest.approx(2e-4 if high else 2e-5)


def test_the_authors_rates():
    """Zhang et al., Sec. 4 and App. A: 1e-3, then 2e-6 and 1e-5 for the projector; rank 64."""
    one, two = init_args("wings/qwen_7b_stage1"), init_args("wings/qwen_7b_stage2")
    assert one["optim"]["lr"] == 1e-3
    assert two["optim"]["lr"] == 2e-6
    assert two["optim"]["lr"] * two["optim"]["lr_factors"]["projector"] == pytest.approx(1e-5)
    assert one["wings"]["rank"] == two["wings"]["rank"] == 64
    assert one["optim"]["warmup"] == two["optim"]["warmup"] == 0.03


@pytest.mark.parametrize("name", ["wings/smollm2_stage2", "wings/smollm2_lora", "wings/qwen_7b_stage2"])
def test_every_setting_is_known(name, capsys):
    with pytest.raises(SystemExit) as leave:
        main(["fit", "-c", name, "--print_config"])
    assert not leave.value.code
    printed = yaml.safe_load(capsys.readouterr().out)
    given = init_args(name)
    assert printed["model"]["init_args"]["decoder"]["source"] == given["decoder"]["source"]


@pytest.mark.parametrize(("name", "learners"), [("wings/qwen_7b_stage1", 67_108_864), ("wings/qwen_7b_stage2", None)])
def test_the_large_networks_are_built_without_memory(name, learners):
    """Qwen1.5-7B-Chat and SigLIP on the meta device; sizes as the authors' modules have them."""
    settings = init_args(name)
    config = {
        "model_type": "qwen2", "vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 11008,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32, "tie_word_embeddings": False,
    }  # fmt: skip
    settings["decoder"]["structure"] = {"config": config}
    settings["tower"]["structure"] = {}
    with torch.device("meta"):
        net = LitWings(vocabulary_size=151646, image_tokens=729, **settings)
    assert net.model.projector.tokens == 729
    assert net.trained["projector"] == 21_504_000
    if learners:
        assert set(net.trained) == {"projector", "visual"}
        assert net.trained["visual"] == learners
    else:
        assert net.trained["visual"] + net.trained["textual"] == 134_217_728
        assert net.trained["router"] == 262_208
        assert net.trained["decoder"] == 7_721_324_544
