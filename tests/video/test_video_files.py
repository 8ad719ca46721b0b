"""Videos of a folder: which are read, which are passed over, and files that FFmpeg cannot decode."""

import itertools
import os

import av
import numpy as np
import pytest
from synthetic_tad import write_video

from vision_suite.cli import main
from vision_suite.datasets.tad.inputs import VideoFiles
from vision_suite.datasets.tad.sampling import FeatureInfo
from vision_suite.datasets.tad.stream import StreamBatches
from vision_suite.errors import DataError, StorageError
from vision_suite.video import decode, features
from vision_suite.video.backbones import Extractor
from vision_suite.video.decode import duration_of, thumbnails, timed_frames
from vision_suite.video.features import extract_videos
from vision_suite.video.files import SUFFIXES, list_videos, refuse_same_names
from vision_suite.video.store import Store

SMALL = Extractor("timm:resnet10t", "random:0", "features", fps=2.0, clip=2, stride=2)
ERRORS = sorted(
    (kind for kind in vars(av.error).values() if isinstance(kind, type) and issubclass(kind, av.FFmpegError)),
    key=lambda kind: kind.__name__,
)


def silent(*step):
    pass


def fill(folder):
    folder.mkdir()
    for name in ("a.MP4", "b.mts", "c.m2ts", "d.3gp", "e.ogv", "f.mxf", "._a.mp4", "notes.txt", "cover.jpg"):
        (folder / name).write_bytes(b"x")
    return folder


def test_hidden_files_are_passed_over_and_everything_else_is_named(tmp_path):
    found = list_videos(str(fill(tmp_path / "videos")))
    assert [path.name for path in found.files] == ["a.MP4", "b.mts", "c.m2ts", "d.3gp", "e.ogv", "f.mxf"]
    assert found.note() == "1 .jpg (cover.jpg), 1 .txt (notes.txt), 1 hidden (._a.mp4)"
    assert list_videos(str(tmp_path / "videos/._a.mp4")).files == [tmp_path / "videos/._a.mp4"]
    assert VideoFiles(str(tmp_path / "videos"), "cpu", "skip").passed_over == 3


def test_a_folder_without_videos_is_one_line(tmp_path):
    (tmp_path / "text").mkdir()
    for held, said in ((None, "holds nothing: videos end in"), ("a.txt", r"holds 1 .txt \(a.txt\): videos end in")):
        if held:
            (tmp_path / "text" / held).write_text("x")
        with pytest.raises(DataError, match=said):
            list_videos(str(tmp_path / "text"))
    with pytest.raises(DataError, match="which does not exist: give a file or a folder"):
        list_videos(str(tmp_path / "nowhere"))
    assert {".mts", ".m2ts", ".3gp", ".ogv", ".mxf"} <= set(SUFFIXES)


def test_names_that_share_a_result_are_one_line(tmp_path):
    for pair in (("a.mp4", "x/a.mkv"), ("v_a.mp4", "a.mp4")):
        with pytest.raises(DataError, match=r"two videos are called 'a' \(.*a.* and .*a.*\): rename one"):
            refuse_same_names([tmp_path / name for name in pair])


def failing(kind, monkeypatch, after=2):
    """Let every decoder fail by an error of a class after some frames."""
    error = kind(1, "made up for a test")
    calls = itertools.count()

    def picture(frame, short_side):
        if next(calls) >= after:
            raise error
        return np.zeros((8, 8, 3), dtype=np.uint8)

    monkeypatch.setattr(decode, "_picture", picture)


@pytest.mark.parametrize("kind", [*ERRORS, RuntimeError, MemoryError], ids=lambda kind: kind.__name__)
def test_every_error_of_ffmpeg_is_one_line(tmp_path, monkeypatch, kind):
    path = write_video(tmp_path / "a.mp4", [], 0.5)
    failing(kind, monkeypatch)
    with pytest.raises(DataError, match=rf"damaged behind 0\.20? s \({kind.__name__}: .*made up"):
        list(timed_frames(path))

    def refuse(*args, **kwargs):
        raise kind(1, "made up for a test")

    monkeypatch.setattr(av, "open", refuse)
    for read in (duration_of, lambda path: list(timed_frames(path))):
        with pytest.raises(DataError, match=rf"cannot be opened \({kind.__name__}: .*made up"):
            read(path)
    assert thumbnails(path, 2) == []


def test_an_extraction_goes_on_behind_a_broken_video(tmp_path, monkeypatch):
    folder = tmp_path / "videos"
    paths = [write_video(folder / f"{name}.mp4", [], 1.0) for name in "abc"]
    own = features.clips

    def clips(path, *settings):
        for clip in own(path, *settings):
            yield clip
            if path.stem == "b":
                raise DataError("broken in the middle")

    monkeypatch.setattr(features, "clips", clips)
    done = extract_videos(paths, tmp_path / "out", SMALL, silent)
    assert (done.written, done.failed) == (2, {"b": "broken in the middle"})
    assert sorted(path.name for path in (tmp_path / "out").glob("*.npy")) == ["a.npy", "c.npy"]


def test_a_prediction_goes_on_behind_a_broken_video(tmp_path):
    folder = tmp_path / "videos"
    for name in "abc":
        write_video(folder / f"{name}.mp4", [], 1.0)
    (folder / "b.mp4").write_bytes(b"")
    files = VideoFiles(str(folder), "cpu", "skip")

    def rows(index):
        times = [time for time, _ in timed_frames(files.paths[index])]
        yield np.zeros((len(times), 4), dtype=np.float32)

    with pytest.warns(UserWarning, match="Skipped b: video .*b.mp4' is empty"):
        seen = [
            int(batch["video"][0])
            for batch in StreamBatches(
                files.videos, rows, FeatureInfo(fps=10, stride=1, clip=1), cells=4, resize=False, stride=4,
                batch_size=2, rank=0, world_size=1, video_scores=None, skip=files.skip,
            )
        ]  # fmt: skip
    assert set(seen) == {0, 2}
    assert list(files.failed) == ["b"]
    with pytest.raises(DataError, match="is empty"):
        VideoFiles(str(folder), "cpu", "error")


def test_an_output_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="file' is a file: give --output a folder"):
        Store(tmp_path / "file", {"checksum": "0"})
    with pytest.raises(StorageError, match=r"file/deep: Not a directory: choose another folder"):
        Store(tmp_path / "file/deep", {"checksum": "0"})
    Store(tmp_path / "many/missing/parents", {"checksum": "0"})
    assert (tmp_path / "many/missing/parents/extractor.json").is_file()


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_an_output_without_rights_is_one_line(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(StorageError, match="permission denied: change the permissions"):
        Store(tmp_path / "closed/out", {"checksum": "0"})


def test_the_command_names_what_it_passes_over(tmp_path, capsys):
    folder = fill(tmp_path / "videos")
    for path in folder.iterdir():
        if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
            path.unlink()
    write_video(folder / "a.mp4", [], 1.0)
    flags = ["--backbone=timm:resnet10t", "--weights=random:0", "--fps=2", "--clip=2", "--stride=2", "--device=cpu"]
    assert main(["features", "--videos", str(folder), "--output", str(tmp_path / "out"), "--quiet", *flags]) == 0
    printed = capsys.readouterr().out
    assert "1 written, 0 there already, 0 failed" in printed
    assert "passed over: 1 .jpg (cover.jpg), 1 .txt (notes.txt), 1 hidden (._a.mp4)" in printed
