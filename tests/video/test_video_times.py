"""Time 0 is the first frame, whatever the file's own time stamps, sound and headers."""

from fractions import Fraction

import numpy as np
import pytest

from vision_suite.errors import DataError
from vision_suite.video.decode import duration_of, thumbnails, timed_frames


def write(path, start, count=30, codec="mpeg4", rate=10, b_frames=0, sound=(0.0, 0.0), app="", options=None):
    """A video of ever lighter frames whose first time stamp is ``start`` s, with sound from one second to another."""
    import av

    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = 48, 48, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, rate)
        stream.codec_context.max_b_frames = b_frames
        stream.metadata.update({"_STATISTICS_WRITING_APP": app} if app else {})
        other = container.add_stream("pcm_s16le", rate=8000) if sound[1] else None
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(np.full((48, 48, 3), 40 + 5 * number, dtype=np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(start * rate) + number, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if other is not None:
            for number in range(round((sound[1] - sound[0]) * 8)):
                samples = av.AudioFrame.from_ndarray(np.zeros((1, 1000), np.int16), format="s16", layout="mono")
                samples.sample_rate, samples.pts = 8000, round(8000 * sound[0]) + 1000 * number
                container.mux(other.encode(samples))
            container.mux(other.encode())
    return path


@pytest.mark.parametrize("start", [0, 100])
@pytest.mark.parametrize(
    ("suffix", "codec"),
    [("mp4", "mpeg4"), ("mp4", "libx264"), ("mov", "mpeg4"), ("mkv", "mpeg4"), ("mkv", "libx264"), ("ts", "libx264"),
     ("wmv", "mpeg4"), ("3gp", "mpeg4"), ("flv", "flv")],
)  # fmt: skip
def test_the_length_is_the_files_own(tmp_path, suffix, codec, start):
    path = write(tmp_path / f"a.{suffix}", start, codec=codec, b_frames=2 if codec == "libx264" else 0)
    times = [time for time, _ in timed_frames(path)]
    np.testing.assert_allclose(times, np.arange(30) / 10, atol=2e-3)
    assert duration_of(path) == pytest.approx(3.0, abs=0.01)


@pytest.mark.parametrize(("suffix", "codec", "b_frames"), [("mp4", "libx264", 2), ("mkv", "mpeg4", 0)])
def test_pictures_of_a_late_start(tmp_path, suffix, codec, b_frames):
    found = thumbnails(write(tmp_path / f"a.{suffix}", 100, codec=codec, b_frames=b_frames), 3)
    assert [time for time, _ in found] == pytest.approx([0.5, 1.5, 2.5], abs=0.11)
    assert [np.asarray(picture).mean() for _, picture in found] == pytest.approx([65, 115, 165], abs=9)


def test_longer_sound_and_files_of_one_frame(tmp_path):
    assert duration_of(write(tmp_path / "a.mkv", 100, sound=(99.0, 105.0))) == pytest.approx(3.0, abs=0.01)
    assert duration_of(write(tmp_path / "b.mov", 100, sound=(99.0, 105.0))) == pytest.approx(3.0, abs=0.01)
    for suffix in ("mp4", "mkv"):
        path = write(tmp_path / f"one.{suffix}", 100, count=1)
        assert [time for time, _ in timed_frames(path)] == [0.0]
        assert duration_of(path) == pytest.approx(0.1, abs=0.01)
        assert len(thumbnails(path, 1)) == 1


def test_a_cut_shows_after_a_late_start_too(tmp_path):
    for suffix in ("mkv", "mp4"):
        path = write(tmp_path / f"a.{suffix}", 100, options={"movflags": "faststart"} if suffix == "mp4" else None)
        contents = path.read_bytes()
        path.write_bytes(contents[: len(contents) * 2 // 3])
        with pytest.raises(DataError, match=r"was cut off: it announces 3.00 s|is damaged behind [12]"):
            list(timed_frames(path))


def test_the_tag_of_mkvmerge_is_a_length(tmp_path):
    """FFmpeg writes the time of the end into the same tag."""
    path = write(tmp_path / "a.mkv", 100, app="mkvmerge v80.0")
    contents = path.read_bytes()
    assert contents.count(b"00:01:43.000000000") == 1
    path.write_bytes(contents.replace(b"00:01:43.000000000", b"00:00:03.000000000"))
    assert duration_of(path) == pytest.approx(3.0, abs=0.01)


def test_what_holds_no_moving_picture_is_one_line(tmp_path):
    import av

    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 4000), np.int16), format="s16", layout="mono")
        samples.sample_rate, samples.pts = 8000, 0
        container.mux(stream.encode(samples))
        container.mux(stream.encode())
    (tmp_path / "empty.mp4").write_bytes(b"")
    for name, said in (("sound.mkv", "holds no video stream .it holds audio"), ("empty.mp4", "is empty .0 bytes"),
                       ("none.mp4", "does not exist")):  # fmt: skip
        for read in (duration_of, lambda path: list(timed_frames(path))):
            with pytest.raises(DataError, match=said):
                read(tmp_path / name)
        assert thumbnails(tmp_path / name, 2) == []
