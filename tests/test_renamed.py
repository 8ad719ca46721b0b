"""Every old name of a setting gives what its new name gives; the table is held against a configuration of before."""

import inspect
import lzma
from dataclasses import fields

import pytest
import torch
import yaml
from folders import SUPPORT
from lit_training import NETWORK, module
from old_settings import VALUES

from vision_suite.cli.commands.export import load_network
from vision_suite.cli.trainer.checkpoint import saved
from vision_suite.cli.trainer.vocabulary import class_settings
from vision_suite.errors import ConfigError
from vision_suite.layers.proposal_map import Convention
from vision_suite.lit_modules.base import LitBase
from vision_suite.lit_modules.csa import LitCSA
from vision_suite.lit_modules.dcal import LitDCAL
from vision_suite.models.csa import CSADetector
from vision_suite.models.dcal import DCAL, FusionConfig, GLCAConfig
from vision_suite.records import as_record
from vision_suite.renamed import RENAMED, with_new_names

BEFORE = SUPPORT / "before" / "dcal_fgvc"
TABLE = RENAMED["LitDCAL"]
NEW = {"retrieval.flip", "retrieval.expansion_k", "retrieval.expansion_alpha"}  # settings that no earlier version had
DEFAULTS = {
    name: argument.default for init in (LitDCAL, DCAL) for name, argument in inspect.signature(init).parameters.items()
}


def settings_before():
    return yaml.safe_load((BEFORE / "config.yaml").read_text(encoding="utf-8"))["model"]["init_args"]


def test_the_table_holds_every_setting_of_before():
    today = {name.split(".")[0] for name in class_settings(LitDCAL)}
    moved = {name for name, value in settings_before().items() if name not in today or isinstance(value, bool)}
    assert moved - {"pretrained", "compile"} == set(TABLE) == set(VALUES)
    assert set(RENAMED["DCAL"]) <= set(TABLE)


def test_every_new_name_exists_once_and_has_the_default_of_before():
    assert set(TABLE.values()) <= set(class_settings(LitDCAL))
    assert len(set(TABLE.values())) == len(TABLE)
    named = {f"{name}.{field.name}" for name in {new.split(".")[0] for new in TABLE.values()}
             for field in fields(DEFAULTS[name])}  # fmt: skip
    assert named - NEW == set(TABLE.values())
    for name, value in settings_before().items():
        if name in TABLE:
            record, field = TABLE[name].split(".")
            assert getattr(DEFAULTS[record], field) == (0.3 if name == "glca_ratio" else value), name


@pytest.mark.parametrize("name", TABLE)
def test_an_old_name_gives_what_the_new_one_gives(name):
    record, field = TABLE[name].split(".")
    torch.manual_seed(0)
    old = module(num_cameras=2, **{name: VALUES[name]})
    torch.manual_seed(0)
    new = module(num_cameras=2, **{record: {field: VALUES[name]}})
    assert repr(old) == repr(new)
    assert described(old) == described(new)
    assert all(map(torch.equal, old.state_dict().values(), new.state_dict().values()))
    assert old.state_dict().keys() == new.state_dict().keys()
    assert dict(old.hparams) == dict(new.hparams)
    assert old.hparams[record][field] == VALUES[name] != getattr(DEFAULTS[record], field)


def described(net):
    """The plain attributes of all parts, where settings end up."""
    return [
        (path, name, str(value))
        for path, part in net.named_modules()
        for name, value in sorted(vars(part).items())
        if not name.startswith("_") and isinstance(value, bool | int | float | str | tuple | FusionConfig)
    ]


def test_the_network_alone_takes_old_names():
    net = DCAL(3, **NETWORK, glca_ratio=1.0, pwca=False, glca_readout="cls")
    assert (net.num_queries, net.use_pwca, net.glca.readout) == (8, False, "cls")


@pytest.mark.parametrize(
    ("name", "value"),
    [("layout", "start_end"), ("sampling", "end_exclusive"), ("boundary", "point"), ("channels", "class_first")],
)
def test_the_convention_of_a_detector_takes_either_name(name, value):
    assert RENAMED["LitCSA"][name] == RENAMED["CSADetector"][name] == f"convention.{name}"
    old, new = LitCSA(3, 8, 12, **{name: value}), LitCSA(3, 8, 12, convention={name: value})
    assert old.model.convention == new.model.convention == Convention(**{name: value}) != Convention()
    assert dict(old.hparams) == dict(new.hparams)
    assert CSADetector(8, 3, 12, **{name: value}).proposals.layout == new.model.proposals.layout


def test_old_names_fill_up_a_record():
    found = with_new_names("LitDCAL", {"glca": {"ratio": 0.5}, "glca_blocks": 2, "backbone_args": {"neck": 1}})
    assert found == {"glca": {"ratio": 0.5, "blocks": 2}, "backbone_args": {"neck": 1}}
    assert with_new_names("LitDCAL", {"glca": False, "glca_blocks": 2}) == {"glca": {"enabled": False, "blocks": 2}}
    assert with_new_names("LitOther", {"glca_ratio": 0.5}) == {"glca_ratio": 0.5}


@pytest.mark.parametrize("record", [{"ratio": 0.3}, GLCAConfig()])
def test_both_names_of_a_setting_are_refused_in_one_line(record):
    with pytest.raises(ConfigError, match=r"^glca_ratio is the old name of glca.ratio, and both are given") as caught:
        module(glca=record, glca_ratio=0.1)
    assert "\n" not in str(caught.value)


def test_an_unknown_setting_of_a_record_is_named():
    with pytest.raises(ConfigError, match="glca has no setting 'rato': it has enabled, ratio"):
        as_record(GLCAConfig, {"rato": 1}, "glca")
    with pytest.raises(ConfigError, match=r"glca.readout='cl' is not known: choose one of mean"):
        module(glca={"readout": "cl"})


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "old.ckpt"
    path.write_bytes(lzma.decompress((BEFORE / "last.ckpt.xz").read_bytes()))
    return path


def test_a_checkpoint_of_before_is_read_with_new_names(checkpoint):
    stored = torch.load(checkpoint, weights_only=True)["hyper_parameters"]
    assert stored["glca_ratio"] == 0.1
    loaded = LitDCAL.load_from_checkpoint(checkpoint)
    assert loaded.hparams["glca"]["ratio"] == 0.1
    assert not set(loaded.hparams) & set(TABLE) - {"glca", "pwca"}
    settings = saved(checkpoint, "vision_suite.lit_modules.dcal.LitDCAL").settings
    network, metadata = load_network(checkpoint)
    for found in (settings, metadata["settings"]):
        assert found["glca"]["ratio"] == 0.1
        assert not set(found) & set(TABLE) - {"glca", "pwca"}
    image = torch.randn(2, 3, *network.image_size)
    expected = loaded.eval()(image)["probability"]
    torch.testing.assert_close(network.eval().inference(image)["probability"], expected)


def test_settings_beside_a_checkpoint_take_either_name(checkpoint):
    loaded = LitDCAL.load_from_checkpoint(checkpoint, triplet_margin=0.7)
    assert loaded.hparams["triplet"] == {"margin": 0.7, "normalize": False, "weight": 1.0, "feature": "before"}
    assert loaded.hparams["glca"]["ratio"] == 0.1
    assert LitDCAL.load_from_checkpoint(checkpoint, triplet={"margin": 0.6}).hparams["triplet"]["margin"] == 0.6
    with pytest.raises(TypeError, match="cannot be called on an instance"):
        loaded.load_from_checkpoint(checkpoint)


class LitMine(LitDCAL):
    """A module that hands on its arguments and has one of its own."""

    def __init__(self, num_classes, extra=3, **settings):
        super().__init__(num_classes, **settings)
        self.extra = extra


def test_the_arguments_of_a_subclass_are_recorded():
    net = LitMine(4, extra=5, **NETWORK, glca={"ratio": 0.5})
    assert isinstance(net, LitBase)
    assert (net.hparams["extra"], net.hparams["num_classes"], net.hparams["glca"]["ratio"]) == (5, 4, 0.5)
