"""Configurations of the two small detectors: known settings, and designs that differ."""

import pytest
import yaml

from vision_suite.cli import main
from vision_suite.cli.configs import named_configs

DETECTORS = ("sentinel/detector_a", "sentinel/detector_b")


def contents(name):
    return yaml.safe_load(named_configs()[name].read_text(encoding="utf-8"))


def test_the_two_differ_in_seed_and_designs_alone():
    one, two = (contents(name) for name in DETECTORS)
    designs = [set(each["data"]["init_args"].pop("only")["train"]["design"]) for each in (one, two)]
    assert designs[0] - designs[1] == {"noto"}
    assert designs[1] - designs[0] == {"fluent-emoji-flat"}
    assert one.pop("seed_everything") != two.pop("seed_everything")
    assert one == two


@pytest.mark.parametrize("name", DETECTORS)
def test_every_setting_is_known(name, capsys):
    with pytest.raises(SystemExit) as leave:
        main(["fit", "-c", name, "--print_config"])
    assert not leave.value.code
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["data"]["init_args"]["only"] == contents(name)["data"]["init_args"]["only"]
