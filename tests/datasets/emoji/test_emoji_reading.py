"""The prepared Emoji-ReID set through the same readers as everything else (skipped where it is not prepared)."""

import pytest

from vision_suite.datasets.fgvc.data import FGVCData
from vision_suite.datasets.prepare.fetch import data_dir
from vision_suite.datasets.reid.data import ReIDData

PREPARED = (data_dir() / "emoji-reid-64" / "MANIFEST.json").is_file()
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not PREPARED, reason="emoji-reid-64 is not prepared: vision-suite data prepare emoji-reid"),
]


def reid(folder):
    return ReIDData("market_folder", f"emoji-reid-64/{folder}", (64, 64), batch_size=96, num_instances=4)


def test_protocol_a_is_core4():
    data = reid("a")
    assert (data.num_classes, data.num_cameras) == (721, 4)
    assert data.size("fit") == 721 * 4
    assert data.size("validate") == 2 * 145 * 4
    assert data.size("test") == 2 * 530 * 4
    assert data.protocol["validation"] == "official"
    assert data.protocol["counts_checked"] is True


def test_protocol_b_is_all_designs():
    data = reid("b")
    assert (data.num_classes, data.num_cameras) == (721, 8)
    assert data.size("test") == 2 * 3_308


@pytest.mark.parametrize("held_out", range(8))
def test_protocol_c_asks_with_an_unseen_camera(held_out):
    data = reid(f"c{held_out}")
    cameras = {stage: {data.record(stage, i)[2] for i in range(data.size(stage))} for stage in ("fit", "test")}
    assert cameras["fit"] == set(range(8)) - {held_out}
    assert cameras["test"] == set(range(8))
    queries = data.protocol["counts"]["query"]["images"]
    assert {data.record("test", i)[2] for i in range(queries)} == {held_out}
    assert held_out not in {data.record("test", i)[2] for i in range(queries, data.size("test"))}


@pytest.mark.parametrize(("folder", "classes"), [("fgvc", None), ("closed", 1_396)])
def test_classification_folders(folder, classes):
    data = FGVCData("cub_folder", f"emoji-reid-64/{folder}", (64, 64), (64, 64))
    assert data.num_classes == (classes or len(data.class_names))
    assert data.protocol["counts_checked"] is True
    assert {data.record("test", i)[1] for i in range(data.size("test"))} <= {
        data.record("fit", i)[1] for i in range(data.size("fit"))
    }
