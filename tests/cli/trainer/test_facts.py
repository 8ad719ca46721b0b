"""Facts that a datamodule declares and a model takes, without a name of them in the command line's code."""

import pytest
import yaml
from synthetic import write_market
from toy_facts import LitPalette, PaletteData

from vision_suite.cli import main
from vision_suite.cli.commands.train import run
from vision_suite.cli.trainer.arguments import Setting
from vision_suite.cli.trainer.links import Links
from vision_suite.datasets.fgvc.data import FGVCData
from vision_suite.datasets.reid.data import ReIDData
from vision_suite.datasets.scanpath.data import ScanpathData
from vision_suite.datasets.scanpath.grid import GridScanpathData
from vision_suite.datasets.tad.data import TADData

PICTURES = ("num_classes", "num_cameras", "num_views")


@pytest.fixture
def palette(tmp_path, monkeypatch):
    """A working folder with generated data and a configuration that names both classes by their short names."""
    monkeypatch.chdir(tmp_path)
    write_market(tmp_path / "market", train_ids=4, test_ids=2)
    config = {
        "trainer": {"accelerator": "cpu", "max_steps": 1, "enable_progress_bar": False, "enable_model_summary": False},
        "model": {"class_path": "LitPalette", "init_args": {"width": 6}},
        "data": {"class_path": "PaletteData", "init_args": {"root": "market", "colours": 7}},
    }
    (tmp_path / "palette.yaml").write_text(yaml.safe_dump(config))
    return "palette.yaml"


def error_of(capsys, argv):
    assert main(argv) == 2
    return capsys.readouterr().err


def test_facts_are_collected_over_the_bases():
    assert PaletteData.declared_facts() == (*PICTURES, "num_colours")
    assert ReIDData.declared_facts() == FGVCData.declared_facts() == PICTURES
    assert TADData.declared_facts() == ("num_classes", "in_channels", "num_cells")
    for data in (ScanpathData, GridScanpathData):
        assert data.declared_facts() == ("num_classes", "in_channels", "num_positions", "max_length")


def test_every_fact_is_documented_by_the_class_that_declares_it():
    for data in (ReIDData, FGVCData, TADData, ScanpathData, GridScanpathData):
        for owner in (each for each in data.__mro__ if vars(each).get("facts")):
            for name in owner.facts:
                assert f"        {name}: " in (owner.__doc__ or ""), f"{owner.__name__}.{name}"


def test_facts_are_in_place_after_the_constructor():
    data = GridScanpathData(train_scenes=1, validation_scenes=1, test_scenes=1)
    values = {name: getattr(data, name) for name in data.declared_facts()}
    assert values == {"num_classes": 12, "in_channels": 16, "num_positions": 4, "max_length": 8}


@pytest.mark.parametrize(
    ("model", "data", "names"),
    [
        ("LitDCAL", "ReIDData", list(PICTURES)),
        ("LitDCAL", "FGVCData", list(PICTURES)),
        ("LitCSA", "TADData", ["num_classes", "in_channels", "num_cells"]),
        ("LitRecognizer", "TADData", ["num_classes", "in_channels", "num_cells"]),
        ("LitOAT", "ScanpathData", ["in_channels", "num_positions", "max_length"]),
        ("LitOAT", "GridScanpathData", ["in_channels", "num_positions", "max_length"]),
        ("LitPalette", "PaletteData", ["num_classes", "num_colours"]),
        ("LitPalette", "ReIDData", ["num_classes"]),
    ],
)
def test_a_model_takes_the_facts_that_are_its_arguments(model, data, names):
    from vision_suite.cli.trainer.classes import import_named

    import_named([model, data])
    assert Links([Setting("model", model, "--model"), Setting("data.class_path", data, "x.yaml")]).names == names


def test_a_fact_unknown_to_the_suite_reaches_the_model(palette):
    cli = run(["fit", "-c", palette])
    assert isinstance(cli.model, LitPalette)
    assert cli.model.num_colours == cli.datamodule.num_colours == 7
    assert dict(cli.model.hparams)["num_colours"] == 7
    assert "num_views" not in cli.model.hparams


def test_a_value_for_it_is_refused(palette, capsys):
    error = error_of(capsys, ["fit", "-c", palette, "--model.num_colours=3"])
    assert "model.num_colours (given in --model.num_colours) is decided by the data: remove it" in error


def test_the_trained_value_stays_in_evaluation_and_is_kept_in_training(palette, capsys):
    run(["fit", "-c", palette])
    cli = run(["test", "-c", palette, "--ckpt_path=last", "--data.colours=9", "--trainer.max_steps=2"])
    assert cli.model.num_colours == 7
    assert "num_colours=7" in capsys.readouterr().out
    error = error_of(capsys, ["fit", "-c", palette, "--ckpt_path=last", "--data.colours=9", "--trainer.max_steps=2"])
    assert "was trained with num_colours=7, but the data has 9: resume with the same data" in error


def test_a_needed_fact_that_the_data_does_not_tell_is_one_line(palette, capsys):
    error = error_of(capsys, ["fit", "-c", palette, "--data.colours=0"])
    assert "the data does not tell num_colours: give --data.root, or the --ckpt_path of a trained model" in error
    # An argument with a default can do without.
    assert run(["fit", "-c", palette, "--model=toy_method.LitToy"]).datamodule.num_views == 0


def test_help_lists_the_facts_of_all_data(capsys):
    with pytest.raises(SystemExit):
        main(["fit", "--help"])
    text = capsys.readouterr().out
    for data in (ReIDData, TADData, ScanpathData):
        assert all(f"data.{name}) --> model.init_args.{name}" in text for name in data.declared_facts())
