"""Annotation files with every trap known of the public ones."""

import json

import pytest

from vision_suite.datasets.tad.annotations import Action, Video, ground_truth, read_annotations, write_annotations
from vision_suite.errors import DataError
from vision_suite.metrics.tad.scoring import mean_average_precision


def write(path, database, **more):
    path.write_text(json.dumps({"version": "VERSION 1.3", "taxonomy": [], "database": database, **more}))
    return path


def video(*segments, subset="training", **facts):
    notes = [{"segment": list(s[:2]), "label": s[2] if len(s) > 2 else "Ballet"} for s in segments]
    return {"subset": subset, "annotations": notes, "duration": 100.0, **facts}


def test_traps_are_repaired_and_counted(tmp_path):
    path = write(
        tmp_path / "a.json",
        {
            "v_one": video(("1.5", "9"), (5, 5), (90, 120), (95, 3), (100, 130), (-5, -1), (1, float("inf"))),
            "two": video((1, 2), (1, 2.0005), (1, 2, "Zumba"), (3, 4, "Ambiguous")),
            "three": video((10, 20)),
            "four": video(subset="testing"),
        },
    )
    blocked = tmp_path / "blocked.json"
    blocked.write_text('["v_three", "nobody"]')
    found = read_annotations(path, blocked=blocked, ignore_labels=["Ambiguous"])
    assert list(found.videos) == ["four", "one", "two"]
    assert found.videos["one"].actions == (Action("Ballet", 1.5, 9.0), Action("Ballet", 90.0, 100.0))
    assert found.problems == {
        "blocked_videos": 1,
        "unknown_blocked_videos": 1,
        "text_segments": 1,
        "clipped_segments": 1,
        "segments_without_length": 2,
        "reversed_segments": 1,
        "segments_outside_video": 2,
        "duplicates_kept": 1,
        "ignored_labels": 1,
    }
    assert found.warnings == [
        "a.json: of 7 annotations 1 end more than a second behind their video's end and were clipped, 2 lie outside "
        "their video and were left out (first: 'one', [100, 130] of 100 s): segments and durations must both be in "
        "seconds, not in milliseconds, frames or shares of the video"
    ]
    assert found.classes == ["Ballet", "Zumba"]
    assert [v.name for v in found.of(["testing"])] == ["four"]


def test_thumos_copies_have_no_duration(tmp_path):
    entry = video(("0.2", "1.1"), subset="train")
    del entry["duration"]
    found = read_annotations(write(tmp_path / "t.json", {"video_validation_0000051": entry}))
    assert found.videos["video_validation_0000051"].actions == (Action("Ballet", 0.2, 1.1),)
    assert found.problems == {"text_segments": 1}


def test_a_class_list_fixes_the_numbers(tmp_path):
    names = tmp_path / "classes.txt"
    names.write_text("Zumba\nBallet\n")
    path = write(tmp_path / "a.json", {"one": video((1, 2))})
    assert read_annotations(path, classes=names).classes == ["Zumba", "Ballet"]
    names.write_text("Zumba\n")
    with pytest.raises(DataError, match=r"label 'Ballet', which .*classes.txt lacks"):
        read_annotations(path, classes=names)
    for text, said in (("Zumba\nBallet\n\n Zumba \n", "has 'Zumba' twice .classes 1 and 3"), ("\n", "is empty")):
        names.write_text(text)
        with pytest.raises(DataError, match=rf"list of classes '.*classes.txt' {said}"):
            read_annotations(path, classes=names)
    with pytest.raises(DataError, match=r"list of classes .* is missing or no file"):
        read_annotations(path, classes=tmp_path)


def test_null_annotations_are_counted(tmp_path):
    path = write(tmp_path / "a.json", {"one": video((1, 2)), "two": {"subset": "training", "annotations": None}})
    found = read_annotations(path)
    assert found.problems == {"videos_with_null_annotations": 1}
    assert found.videos["two"].actions == found.videos["two"].unclear == ()


def seconds(factor=1.0, videos=6):
    """Two actions a video of 60 s, in another unit by a factor."""
    return {
        f"clip{n}": video((factor * (4 + n), factor * (9 + n)), (factor * 30, factor * 40), duration=60.0)
        for n in range(videos)
    }


def test_segments_of_another_unit_are_told(tmp_path):
    assert read_annotations(write(tmp_path / "a.json", seconds())).warnings == []
    for factor in (1000, 25):  # milliseconds; frames
        with pytest.raises(
            DataError, match=r"of 12 annotations begin behind the end of their video .*'clip0'.* of 60 s"
        ):
            read_annotations(write(tmp_path / "a.json", seconds(factor)))
    for factor in (1 / 60, 1 / 1000):  # shares of the video; durations in milliseconds
        (line,) = read_annotations(write(tmp_path / "a.json", seconds(factor))).warnings
        assert line.startswith("a.json: all 12 annotations end within the first 0.")
    few = {**seconds(), "odd": video((4000, 9000), duration=60.0)}
    (line,) = read_annotations(write(tmp_path / "a.json", few)).warnings
    assert "of 13 annotations 0 end more than a second behind" in line
    assert "1 lie outside their video and were left out (first: 'odd', [4000, 9000] of 60 s)" in line


def test_what_is_written_is_read_and_evaluated(tmp_path):
    videos = [
        Video("a", "training", 10.0, 0, (Action("x", 1.0, 2.0), Action("y", 3.0, 9.5))),
        Video("b", "testing", 7.0, 0, ()),
    ]
    write_annotations(tmp_path / "a.json", videos)
    found = read_annotations(tmp_path / "a.json")
    assert list(found.videos.values()) == videos
    contents = json.loads((tmp_path / "a.json").read_text())
    assert set(contents) == {"version", "taxonomy", "database"}
    assert [node["nodeName"] for node in contents["taxonomy"]] == ["Root", "x", "y"]
    results = {"a": [{"label": a.label, "score": 1.0, "segment": [a.start, a.end]} for a in videos[0].actions]}
    assert mean_average_precision(ground_truth(videos), {"results": results})["average_mAP"] == 1.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "no 'database'"),
        ('{"database": {}}', "no 'database'"),
        ("[1, 2]", "no 'database' with videos by id, it holds a list: ActivityNet's format"),
        ("7", "it holds a single value .7."),
        ('{"videos": {}}', "it holds the keys videos"),
        ('{"database": ["a"]}', "no 'database' with videos"),
        ('{"database": {"a": {"annotations": []}}}', "video 'a' has no subset"),
        ('{"database": {"a": {"subset": null}}}', "video 'a' has no subset"),
        ('{"database": {"a": {"subset": ["t"]}}}', r"video 'a' has \['t'\] as subset: give a name"),
        ('{"database": {"a": 3}}', "video 'a' has no subset"),
        ('{"database": {"a": {"subset": "t"}, "a": {"subset": "t"}}}', "has 'a' twice in one object"),
        ('{"database": {"a": {"subset": "t", "annotations": 0}}}', "has 0 as annotations: give a list"),
        ('{"database": {"a": {"subset": "t", "annotations": ["x"]}}}', "has 'x' as annotation: give an object"),
        ('{"database": {"a": {"subset": "t", "annotations": [{"label": "x", "segment": [1]}]}}}', r"has \[1\] as segm"),
        ('{"database": {"a": {"subset": "t", "annotations": [{"label": "x", "segment": 5}]}}}', "has 5 as segment"),
        (
            '{"database": {"a": {"subset": "t", "annotations": [{"label": "x", "segment": [true, 2]}]}}}',
            "has True where",
        ),
        (
            '{"database": {"a": {"subset": "t", "annotations": [{"label": " ", "segment": [1, 2]}]}}}',
            "has ' ' as label",
        ),
        (
            '{"database": {"a": {"subset": "t", "annotations": [{"label": null, "segment": [1, 2]}]}}}',
            "has None as label",
        ),
        *[
            (f'{{"database": {{"a": {{"subset": "t", "duration": {duration}}}}}}}', said)
            for duration, said in {
                "Infinity": "has the duration inf: give a finite number of seconds above 0, or leave it out",
                "NaN": "has the duration nan",
                "0": "has the duration 0",
                "-3": "has the duration -3",
                '"long"': "has 'long' where a number of seconds is needed",
                "true": "has True where a number of seconds",
                "[30]": r"has \[30\] where a number of seconds",
            }.items()
        ],
        ('{"database": {"a": {"subset": "training", "annotations": []}}}', "no usable annotation"),
        (
            '{"database": {"a": {"subset": "t", "annotations": [{"label": "x"}]}}}',
            r"video 'a' has {'label': 'x'} as annotation: give an object with label and segment",
        ),
        ('{"database": {"a": {"subset": "t", "annotations": [{"label": "x", "segment": [1, "soon"]}]}}}', "'soon'"),
        ('{"database": {"a": {"subset": "t"}, "v_a": {"subset": "t"}}}', "there twice"),
        ('{"database": {"a": {"subset": "t", "annotations": 3}}}', "video 'a' has 3 as annotations: give a list"),
        ('{"database": {"a": {"subset": "t", "annotations": {"label": "x"}}}}', "as annotations: give a list"),
        ('{"database": {"a": {"subset": "t", "frame": "many"}}}', "has 'many' where a number of frames is needed"),
        ('{"database": {"a": {"subset": "t", "frame": Infinity}}}', "has inf frames"),
        (
            '{"database": {"a": {"subset": "t", "annotations": [{"label": "x", "segment": "19"}]}}}',
            "has '19' as segment: give .start, end. in seconds",
        ),
    ],
)
def test_malformed_files_are_one_line(tmp_path, text, message):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=message):
        read_annotations(tmp_path / "a.json")


def test_missing_files_and_subsets_are_one_line(tmp_path):
    with pytest.raises(DataError, match="is missing"):
        read_annotations(tmp_path / "none.json")
    path = write(tmp_path / "a.json", {"one": video((1, 2))})
    (tmp_path / "blocked.json").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"list of blocked videos .* cannot be read"):
        read_annotations(path, blocked=tmp_path / "blocked.json")
    found = read_annotations(path)
    with pytest.raises(DataError, match="no videos of subset 'testing': it has training"):
        found.of(["testing"])
