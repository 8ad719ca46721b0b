"""Named configurations of `vision-suite bootstrap`: each is read, and says in its first line what it does."""

import pytest

from vision_suite.cli.configs import description, named_configs
from vision_suite.cli.mining.config import read_config

NAMES = sorted(name for name in named_configs() if name.startswith("sentinel/mine_"))


@pytest.mark.parametrize("name", NAMES)
def test_it_is_read(name):
    config = read_config(name)
    assert description(named_configs()[name])
    assert set(config.thresholds) <= set(config.detectors)
    assert config.output.suffix == ".sqlite"


def test_scenes_are_mined_with_true_labels():
    config = read_config("sentinel/mine_scenes")
    assert config.detectors["truth"]["path"] == config.images.path, "the truth about the pictures that are mined"
    assert config.sampling.count == 10
