"""Features of videos: exact, resumable, the same on several processes, with their times."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from synthetic_tad import Action, write_feature_set, write_video
from torchvision.models.video import r3d_18

from vision_suite.cli import main
from vision_suite.datasets.tad.data import TADData
from vision_suite.datasets.tad.features import resize_rows
from vision_suite.datasets.tad.inputs import VideoFiles
from vision_suite.datasets.tad.sampling import read_info
from vision_suite.errors import CheckpointError, ConfigError, DataError
from vision_suite.extract.sequences import SequenceInput, extract_sequences
from vision_suite.models.csa.recognizer import SequenceRecognizer
from vision_suite.video.backbones import ClipNetwork, Extractor, pick_device
from vision_suite.video.decode import clips
from vision_suite.video.features import extract_videos, stream_rows
from vision_suite.video.store import checksum

SMALL = Extractor("timm:resnet10t", "random:0", "both", fps=5.0, clip=4, stride=2)


@pytest.fixture
def videos(tmp_path):
    folder = tmp_path / "videos"
    for n in range(3):
        write_video(folder / f"clip{n}.mp4", [Action("circle", 1.0, 2.0)], 3.0 + n)
    return folder


def silent(*step):
    pass


def test_rows_are_what_the_network_says_of_each_clip(videos):
    network = ClipNetwork(SMALL)
    path = videos / "clip1.mp4"
    chunks = list(stream_rows(path, network, SMALL, 3, torch.device("cpu")))
    rows = np.concatenate([chunk.rows for chunk in chunks])
    for clip in clips(path, 5.0, 4, 2, network.resize):
        alone = network(torch.from_numpy(clip.frames)[None])[0]
        np.testing.assert_allclose(rows[clip.index], alone, rtol=1e-4, atol=1e-4)
    assert rows.shape[1] == 512 + 1000
    assert chunks[-1].partial == list(clips(path, 5.0, 4, 2))[-1].partial


def test_image_models_average_over_the_clip():
    import timm

    network = ClipNetwork(SMALL)
    frames = torch.randint(0, 255, (1, 4, 224, 224, 3), dtype=torch.uint8)
    both = network(frames)[0]
    backbone = network.network
    config = timm.data.resolve_model_data_config(backbone)
    _, height, width = config["input_size"]
    size = math.floor(height / config["crop_pct"])
    flat = frames[0].permute(0, 3, 1, 2).float() / 255
    flat = torch.nn.functional.interpolate(flat, size=(size, size), mode="bilinear", antialias=True)
    top, left = (size - height) // 2, (size - width) // 2
    flat = flat[:, :, top : top + height, left : left + width]
    mean, std = (torch.tensor(config[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    with torch.inference_mode():
        expected = backbone((flat - mean) / std).mean(0)
    torch.testing.assert_close(both[512:], expected, rtol=1e-4, atol=1e-4)


def test_video_models_give_features_and_logits():
    network = ClipNetwork(Extractor("torchvision:r3d_18", "random:3", clip=4, stride=4))
    frames = torch.randint(0, 255, (2, 4, 120, 160, 3), dtype=torch.uint8)
    both = network(frames)
    assert both.shape == (2, 512 + 400)
    with torch.inference_mode():
        torch.testing.assert_close(network.network.fc(both[:, :512]), both[:, 512:])


def test_weights_from_a_file(tmp_path):
    torch.manual_seed(0)
    model = r3d_18(weights=None)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "w.pt")
    network = ClipNetwork(Extractor("torchvision:r3d_18", str(tmp_path / "w.pt")))
    torch.testing.assert_close(network.network.fc.weight, model.fc.weight)
    (tmp_path / "bad.pt").write_bytes(b"nothing")
    for weights, said in ((tmp_path / "bad.pt", "cannot be loaded"), (tmp_path / "none.pt", "no such file")):
        with pytest.raises(CheckpointError, match=said):
            ClipNetwork(Extractor("torchvision:r3d_18", str(weights)))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"backbone": "r3d_18"}, "torchvision:<video model>"),
        ({"backbone": "torchvision:resnet18"}, "no video model 'resnet18': choose one of"),
        ({"backbone": "timm:no_such_model"}, "timm has no image model"),
        ({"stride": 20}, "stride=20 from 1 to clip"),
        ({"outputs": "some"}, "outputs='some'"),
        ({"weights": "random:abc"}, "write random:<seed>"),
        ({"fps": float("nan")}, "fps=nan must be finite"),
    ],
)
def test_what_cannot_be_built_is_one_line(settings, said):
    with pytest.raises(ConfigError, match=said):
        ClipNetwork(Extractor(**{"weights": "random:0", **settings}))


def test_devices():
    assert pick_device("cpu").type == "cpu"
    with pytest.raises(ConfigError, match="device='tape'"):
        pick_device("tape")


def test_a_killed_extraction_goes_on(videos, tmp_path):
    files = sorted(videos.glob("*.mp4"))
    target = tmp_path / "out"
    first = extract_videos(files[:1], target, SMALL, silent)
    assert (first.written, first.present, first.channels) == (1, 0, 1512)
    stamp = (target / "clip0.npy").stat().st_mtime_ns
    second = extract_videos(files, target, SMALL, silent)
    assert (second.written, second.present) == (2, 1)
    assert (target / "clip0.npy").stat().st_mtime_ns == stamp
    info = read_info(target)
    assert (info.fps, info.stride, info.clip, info.offset, info.channels) == (5.0, 2, 4, 1.0, 1512)
    assert Extractor(**{k: v for k, v in info.extractor.items() if k not in ("kind", "checksum")}) == SMALL
    with pytest.raises(DataError, match=r"made with stride=2, not 4: choose another --output"):
        extract_videos(files, target, Extractor(**{**SMALL.__dict__, "stride": 4}), silent)


def test_weights_are_told_by_what_they_are_not_by_where_they_lie(videos, tmp_path):
    import timm

    files, target = sorted(videos.glob("*.mp4"))[:1], tmp_path / "out"
    for name, seed in (("one", 1), ("same", 1), ("other", 2)):
        torch.manual_seed(seed)
        torch.save(timm.create_model("resnet10t").state_dict(), tmp_path / f"{name}.pt")

    def made_by(name):
        return Extractor(**{**SMALL.__dict__, "weights": str(tmp_path / f"{name}.pt")})

    assert extract_videos(files, target, made_by("one"), silent).written == 1
    assert extract_videos(files, target, made_by("same"), silent).present == 1
    (tmp_path / "other.pt").replace(tmp_path / "one.pt")
    with pytest.raises(DataError, match="holds features made with checksum="):
        extract_videos(files, target, made_by("one"), silent)
    info = read_info(target)
    with pytest.raises(ConfigError, match="give the same weights, or extract and train anew"):
        VideoFiles(str(videos), "cpu", "error").rows(replace(info, extractor=made_by("one").plain()), 1)
    changed = {**info.extractor, "weights": str(tmp_path / "one.pt")}
    with pytest.raises(ConfigError, match=f"those of the detector's features {info.extractor['checksum']}"):
        VideoFiles(str(videos), "cpu", "error").rows(replace(info, extractor=changed), 1)
    again = {**info.extractor, "weights": str(tmp_path / "same.pt")}
    rows = np.concatenate(list(VideoFiles(str(files[0]), "cpu", "error").rows(replace(info, extractor=again), 1)(0)))
    np.testing.assert_allclose(rows, np.load(target / "clip0.npy"), rtol=1e-5, atol=1e-6)


def test_notes_of_unknown_weights_and_torn_notes_are_one_line(videos, tmp_path):
    files, target = sorted(videos.glob("*.mp4"))[:1], tmp_path / "out"
    target.mkdir()
    for note, said in ((json.dumps(SMALL.plain()), "of an earlier version"), ('{"kind": "vid', "is damaged")):
        (target / "extractor.json").write_text(note)
        with pytest.raises(DataError, match=said):
            extract_videos(files, target, SMALL, silent)


def test_a_recogniser_is_told_by_its_weights(tmp_path):
    write_feature_set(tmp_path / "set", videos=2, rows=12)
    networks = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        networks.append(SequenceRecognizer(8, 2, width=4, depth=1).eval())
    one, same, other = networks

    def extract(network, origin):
        return extract_sequences(network, tmp_path / "set/features", tmp_path / "out", 3, origin, silent)

    assert extract(one, "here.ckpt").written == 2
    assert extract(same, "there.ckpt").present == 2
    with pytest.raises(DataError, match="holds features made with checksum="):
        extract(other, "here.ckpt")
    info = read_info(tmp_path / "out")
    assert info.extractor["checksum"] == checksum(one.state_dict()) != checksum(other.state_dict())


def test_sequences_are_read_as_in_the_training_of_their_recogniser(tmp_path):
    """Every second row, resized, by the checkpoint's data; rows of another width fail by themselves."""
    write_feature_set(tmp_path / "set", videos=2, rows=12)
    source = tmp_path / "set/features"
    np.save(source / "wide.npy", np.zeros((12, 9), dtype=np.float32))
    torch.manual_seed(0)
    network = SequenceRecognizer(8, 2, width=4, depth=1).eval()
    rows = np.load(source / "clip00.npy")

    def by_hand(read):
        return network.semantics(torch.from_numpy(read.T.copy())[None])[0].detach().T.numpy()

    def stored(**changes):
        data = TADData(str(tmp_path / "set"), features=["features"], num_cells=6, every=2, blocked=None)
        return {"epoch": 0, "AnotherName": {"preprocessing": {**data.preprocessing, **changes}}}

    for changes, read, resized in (
        ({"mode": "window"}, rows[::2], False),
        ({}, rows[::2], False),  # resized to the length that it has
        ({"num_cells": 4}, resize_rows(rows[::2], 4), True),
    ):
        target = tmp_path / f"out{len(changes)}{resized}"
        done = extract_sequences(network, source, target, 1, "x.ckpt", silent, SequenceInput.of(stored(**changes)))
        assert (done.written, list(done.failed)) == (2, ["wide"])
        assert done.failed["wide"] == "rows have width 9, those that the recogniser reads 8"
        found = np.load(target / "clip00.npy")
        expected = by_hand(read)
        np.testing.assert_allclose(found[:, : expected.shape[1]], expected, rtol=1e-5, atol=1e-6)
        info = read_info(target)
        assert (info.stride, info.resized) == (2, resized)
    assert SequenceInput.of({"epoch": 0}) == SequenceInput()
    prepare = SequenceInput.of(stored(sampling={"fps": 9, "stride": 1, "clip": 1, "offset": 0}, mode="window"))
    with pytest.warns(UserWarning, match=r"trained on rows of fps=9, .*, those of .* have fps=2"):
        extract_sequences(network, source, tmp_path / "fps", 1, "x.ckpt", silent, prepare)
    with pytest.raises(CheckpointError, match="every=0, which is not a whole number of 1 or more"):
        SequenceInput.of(stored(every=0))


def test_a_video_that_was_cut_off_is_not_stored(videos, tmp_path):
    cut = write_video(videos / "cut.mkv", [], 6.0, damaged=True)
    done = extract_videos([videos / "clip0.mp4", cut], tmp_path / "out", SMALL, silent)
    assert (done.written, list(done.failed)) == (1, ["cut"])
    assert "was cut off" in done.failed["cut"]
    assert [path.name for path in (tmp_path / "out").glob("*.npy")] == ["clip0.npy"]


def test_two_videos_of_one_name_are_one_line(videos, tmp_path):
    write_video(videos / "more/clip0.mp4", [], 1.0)
    with pytest.raises(DataError, match="two videos are called 'clip0'"):
        extract_videos(sorted(videos.rglob("*.mp4")), tmp_path / "out", SMALL, silent)


@pytest.mark.long
@pytest.mark.slow
def test_the_command_on_two_processes_with_a_broken_file(videos, tmp_path, capsys):
    (videos / "broken.mp4").write_text("nothing")
    flags = ["--backbone=timm:resnet10t", "--weights=random:0", "--fps=5", "--clip=4", "--stride=2", "--device=cpu"]
    status = main(["features", "--videos", str(videos), "--output", str(tmp_path / "two"), "--workers=2", *flags])
    printed = capsys.readouterr().out
    assert status == 1
    assert "failed: broken: video" in printed
    assert "3 written, 0 there already, 1 failed" in printed
    extract_videos(sorted(videos.glob("clip*.mp4")), tmp_path / "one", SMALL, silent)
    for n in range(3):
        one, two = (np.load(tmp_path / name / f"clip{n}.npy") for name in ("one", "two"))
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-4)
    facts = json.loads((tmp_path / "two/features.json").read_text())["videos"]
    assert set(facts) == {"clip0", "clip1", "clip2"}


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--output=x"], "give either --videos"),
        (["--output=x", "--sequences=y"], "needs --checkpoint"),
        (["--output=x", "--videos=nowhere"], "no video found"),
    ],
)
def test_the_command_says_what_is_missing(argv, said, capsys):
    assert main(["features", *argv]) == 2
    assert said in capsys.readouterr().err
