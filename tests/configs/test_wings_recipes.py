"""Configurations of Wings: rates of the parts, baselines that are there, and settings that the command line knows."""

import pytest
import yaml

from vision_suite.cli import main
from vision_suite.cli.configs import named_configs

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
