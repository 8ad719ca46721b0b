"""Frames by their time stamps, clips, and files that are no videos."""

import numpy as np
import pytest
from synthetic_tad import Action, write_video

from vision_suite.errors import DataError
from vision_suite.video.decode import clips, duration_of, frames_at, thumbnails, timed_frames

RED = Action("circle", 2.0, 4.0)


def redness(frame):
    middle = frame[frame.shape[0] // 2 - 4 : frame.shape[0] // 2 + 4, frame.shape[1] // 2 - 4 : frame.shape[1] // 2 + 4]
    return float(middle[..., 0].astype(float).mean() - middle[..., 2].astype(float).mean())


def test_times_are_the_files_own(tmp_path):
    path = write_video(tmp_path / "a.mp4", [RED], 6.0)
    times = [time for time, _ in timed_frames(path)]
    np.testing.assert_allclose(times, np.arange(60) / 10, atol=1e-6)
    assert duration_of(path) == pytest.approx(6.0, abs=0.11)


@pytest.mark.parametrize("uneven", [False, True])
@pytest.mark.parametrize("fps", [5.0, 7.5, 15.0])
def test_events_stay_where_they_are_at_any_rate(tmp_path, uneven, fps):
    path = write_video(tmp_path / "a.mp4", [RED], 6.0, uneven=uneven)
    frames = list(frames_at(path, fps))
    # The last frame of 60 is shown at 5.9 s, of the uneven ones at 5.8.
    assert len(frames) == int((5.8 if uneven else 5.9) * fps + 1e-6) + 1
    red = [k / fps for k, frame in enumerate(frames) if redness(frame) > 60]
    assert red[0] == pytest.approx(2.0, abs=0.11 + 1 / fps)
    assert red[-1] == pytest.approx(4.0, abs=0.11 + 1 / fps)
    assert len(red) == pytest.approx(2 * fps, abs=0.25 * fps + 1)


@pytest.mark.parametrize(("length", "stride"), [(4, 4), (4, 2), (16, 5), (7, 7), (100, 50)])
def test_clips_see_every_frame_and_the_last_is_filled_up(tmp_path, length, stride):
    path = write_video(tmp_path / "a.mp4", [RED], 4.7)
    frames = list(frames_at(path, 10.0))
    found = list(clips(path, 10.0, length, stride))
    assert [clip.index for clip in found] == list(range(len(found)))
    for clip in found:
        assert clip.frames.shape[0] == length
        here = frames[clip.index * stride : clip.index * stride + length]
        np.testing.assert_array_equal(clip.frames[: len(here)], np.stack(here))
        assert clip.partial == (len(here) < length)
        for filler in clip.frames[len(here) :]:
            np.testing.assert_array_equal(filler, frames[-1])
    assert found[-1].index * stride + length >= len(frames)
    assert sum(clip.partial for clip in found) <= 1


def test_frames_are_scaled_by_their_shorter_side(tmp_path):
    path = write_video(tmp_path / "a.mp4", [], 0.5)
    _, frame = next(timed_frames(path, 24))
    assert frame.shape == (24, 24, 3)


def test_thumbnails_come_from_all_over(tmp_path):
    path = write_video(tmp_path / "a.mp4", [RED], 6.0)
    found = thumbnails(path, 6)
    assert [round(time, 1) for time, _ in found] == pytest.approx([0.5, 1.5, 2.5, 3.5, 4.5, 5.5], abs=0.11)
    assert [redness(np.asarray(picture)) > 60 for _, picture in found] == [False, False, True, True, False, False]


def test_what_is_no_video_is_one_line(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    for name, said in (("text.mp4", "cannot be opened"), ("none.mp4", "not exist")):
        with pytest.raises(DataError, match=said):
            list(timed_frames(tmp_path / name))


@pytest.mark.parametrize("uneven", [False, True])
@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "avi", "ts"])
def test_whole_files_are_read_to_their_end(tmp_path, suffix, uneven):
    path = write_video(tmp_path / f"whole.{suffix}", [RED], 6.0, uneven=uneven)
    times = [time for time, _ in timed_frames(path)]
    assert times[-1] == pytest.approx(5.8 if uneven else 5.9, abs=0.01)


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "avi"])
def test_a_file_that_was_cut_off_is_one_line(tmp_path, suffix):
    path = write_video(tmp_path / f"cut.{suffix}", [RED], 6.0, damaged=True)
    with pytest.raises(DataError, match=r"cut off: it announces 6\.\d\d s|cannot be opened|is damaged behind"):
        list(timed_frames(path))


def test_sound_that_lasts_longer_is_no_cut(tmp_path):
    import av

    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as container:
        video, sound = container.add_stream("mpeg4", rate=10), container.add_stream("pcm_s16le", rate=8000)
        video.width = video.height = 48
        for number in range(30):
            frame = av.VideoFrame.from_ndarray(np.full((48, 48, 3), 99, dtype=np.uint8), format="rgb24")
            frame.pts = number
            container.mux(video.encode(frame))
        container.mux(video.encode())
        for number in range(10):
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 4000), dtype=np.int16), format="s16", layout="mono")
            samples.sample_rate, samples.pts = 8000, number * 4000
            container.mux(sound.encode(samples))
        container.mux(sound.encode())
    assert len(list(timed_frames(path))) == 30
    assert duration_of(path) == pytest.approx(3.0, abs=0.11)


def test_memory_is_bounded_by_the_clip(tmp_path):
    """Frames are made while they are asked for: the generator holds no more than a clip."""
    path = write_video(tmp_path / "a.mp4", [], 6.0)
    stream = clips(path, 10.0, 4, 4)
    next(stream)
    held = stream.gi_frame.f_locals["held"]
    for _ in stream:
        assert len(held) <= 4
