"""Recordings of eye trackers become sets: places, units and eyes by hand calculation, all that is left out counted."""

import json

import numpy as np
import pytest
from recordings import ASC_HEAD, asc_trial, convert, fixations, report, tobii
from scanpath_fixture import picture

from vision_suite.datasets.scanpath.data import ScanpathData
from vision_suite.datasets.scanpath.importers.eyelink import read_asc
from vision_suite.datasets.scanpath.importers.run import ImportSettings, import_scanpaths
from vision_suite.errors import ConfigError, DataError


def test_eyelink_asc_to_a_batch(tmp_path):
    picture(tmp_path / "images" / "desk.png", (400, 200))
    text = ASC_HEAD + asc_trial(2000, "pics\\desk.png") + asc_trial(4000, "pics/desk.png", name="2", end=False)
    output, about = convert(tmp_path, "anna.asc", text, tracker="eyelink", images=tmp_path / "images", target="wanted")
    # The picture's corner is at (640 - 400, 512 - 200), its pixels are twice as large on the screen.
    rows = fixations(output)
    assert [(row["x"], row["y"], row["duration_ms"]) for row in rows] == [
        ("200.0", "100.0", "200.0"),
        ("0.0", "0.0", "150.0"),
    ]
    assert {(row["subject"], row["trial"], row["target"]) for row in rows} == {("anna", "1", "cup")}
    assert about["left_out"] == {
        "blinks": 4,
        "fixations_of_the_other_eye": 4,
        "fixations_of_trials_cut_off": 2,
        "fixations_outside_of_trials": 1,
        "fixations_without_place": 4,
        "interest_areas_of_other_shapes": 2,
        "trials_cut_off": 1,
    }
    facts = about["recording"]
    assert facts["eye"].startswith("right (both recorded")
    assert facts["coordinates"] == "pixels of the screen from (0, 0), GAZE_COORDS"
    assert facts["time_unit"] == "ms, as EyeLink writes"
    assert (about["screen"], json.loads((output / "import.json").read_text())) == ([1280, 1024], about)


def test_what_is_imported_is_read_and_batched(tmp_path):
    for seed, name in enumerate(("a.png", "b.png", "c.png")):
        picture(tmp_path / "images" / name, (400, 200), seed)
    text = ASC_HEAD + "".join(asc_trial(2000 * n, f"{name}.png", name=str(n)) for n, name in enumerate("abc", start=1))
    output, _ = convert(tmp_path, "ben.asc", text, tracker="eyelink", images=tmp_path / "images", target="wanted")
    data = ScanpathData("table", str(output), folds=3, validation_share=0, num_workers=0, eval_batch_size=1, seed=0)
    assert data.protocol["duration_unit"] == {"fixations.csv": "ms (by the name of the column duration_ms)"}
    assert data.protocol["assignment"]["fractions"] == {"inside_a_box": 0.5, "nearest": 0.5}
    data.setup("test")
    batch = next(iter(data.test_dataloader()))
    # Interest areas at 240..440 x 312..712 and 840..1040 x 312..712 of the screen, in pixels of the picture.
    np.testing.assert_allclose(batch["boxes"][0], [[0, 0, 100, 200], [300, 0, 400, 200]])
    assert batch["target"].tolist() == [1]
    assert batch["sequence"].tolist() == [[0, 0]], "within half the object pitch of the left jug's edge"
    np.testing.assert_allclose(batch["duration"][0], [0.2, 0.15], rtol=1e-6)
    np.testing.assert_allclose(batch["xy"][0], [[200, 100], [0, 0]])
    assert batch["crops"].shape[1] == 2


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("FILL {}", (200, 100)),  # the middle of the screen
        ("TOP_LEFT {} 640 512", (0, 0)),
        ("TOP_LEFT my desk {} 440 412 200 200", (400, 100)),
        ("CENTER {} 640 512", (200, 100)),
    ],
)
def test_places_that_imgload_names(tmp_path, place, expected):
    name = "my desk desk.png" if "my desk" in place else "desk.png"
    picture(tmp_path / "images" / name, (400, 200))
    text = ASC_HEAD + asc_trial(2000, "desk.png", place=place)
    output, _ = convert(tmp_path, "a.asc", text, tracker="eyelink", images=tmp_path / "images", grid=(1, 2))
    assert (float(fixations(output)[0]["x"]), float(fixations(output)[0]["y"])) == pytest.approx(expected, abs=0.5)


def test_eyes_origins_messages_and_variables(tmp_path):
    path = tmp_path / "a.asc"
    moved = (ASC_HEAD + asc_trial(2000, "desk.png", eyes="L")).replace("0.00 0.00 1279.00 1023.00", "-640 512 639 -511")
    path.write_text(moved)
    found = read_asc(path, "s", eye="left")
    assert found.screen == (1280, 1024)
    assert found.views[0].fixations[0][:2] == (648 + 640, 0.0), "y grows upwards from the middle"
    assert found.facts["eye"] == "left (only one recorded)"
    with pytest.raises(DataError, match="fixations of the left eye only: leave --eye out"):
        read_asc(path, "s", eye="right")
    later = read_asc(path, "s", start_message="SYNCTIME")
    assert len(later.views[0].fixations) == 1, "the first fixation began before the picture appeared"
    assert later.counts["fixations_before_the_picture"] == 1
    assert read_asc(path, "s", picture="file").views[0].picture == "other desk.png"
    two = ASC_HEAD + asc_trial(2000, "desk.png").replace("SYNCTIME", "!V IMGLOAD FILL cup.png")
    path.write_text(two)
    assert read_asc(path, "s").counts["trials_with_several_pictures"] == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty: export it again"),
        ("SR_RESEARCH\0\0", "is binary: convert an EDF file by edf2asc"),
        ("MSG\t1 TRIALID 1\n", "no fixations"),
        ("EFIX R 1 2 3 4 5 6\n", "has no message TRIALID: name the message"),
        (ASC_HEAD + "EFIX R   1100\t1190\n", "line 6 is no complete fixation"),
        (ASC_HEAD + "EFIX R   1100\t1190\t91\tup\t  500.0\t900\n", "line 6: value of a fixation 'up' is no number"),
        ("EVENTS\tHREF\tRIGHT\n", "line 1: events are in HREF RIGHT, not GAZE"),
        (ASC_HEAD + asc_trial(1, "a.png", place="CENTER {} 640 512"), "size of the picture is unknown"),
        (ASC_HEAD + asc_trial(1, "a.png", place="SOMEWHERE {}"), "does not tell where the picture lay"),
        (ASC_HEAD + asc_trial(1, "a.png").replace("IMGLOAD", "NOLOAD"), "no fixation on a picture is left"),
        (ASC_HEAD + asc_trial(1, "a.png").replace("\t200\t", "\t200000\t"), None),
    ],
)
def test_broken_recordings_are_one_line(tmp_path, text, message):
    if message is None:
        output, _ = convert(tmp_path, "a.asc", text, tracker="eyelink")
        with pytest.raises(DataError, match="row 2: duration 200000 is 200 s in the file's unit ms"):
            ScanpathData("table", str(output), folds=2)
        return
    with pytest.raises(DataError, match=message) as caught:
        convert(tmp_path, "a.asc", text, tracker="eyelink")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "set of a.asc").exists()


def test_reports_of_data_viewer(tmp_path):
    picture(tmp_path / "images" / "desk.png", (400, 200))
    rows = [
        ("s1", 1, "desk.png", 240.5, 312.0, 150, 400),
        ("s1", 1, "desk.png", 640.0, 512.0, 200, 100),
        ("s1", 2, "UNDEFINED", 640.0, 512.0, 200, 100),
        ("s2", 1, "desk.png", ".", ".", 200, 100),
        ("s2", 1, "desk.png", 1039.5, 711.5, 180, 400),
    ]
    settings = {"tracker": "eyelink-report", "images": tmp_path / "images", "grid": (1, 2)}
    with pytest.raises(DataError, match="does not tell where the picture lay on the screen: give --place"):
        convert(tmp_path, "r.xls", report(rows), **settings)
    output, about = convert(tmp_path, "r.txt", report(rows), place="240,312,800,400", encoding="utf-16", **settings)
    places = [
        (row["subject"], float(row["x"]), float(row["y"]), float(row["duration_ms"])) for row in fixations(output)
    ]
    assert places == [("s1", 200, 100, 200), ("s1", 0.25, 0, 150), ("s2", 399.75, 199.75, 180)]
    assert about["left_out"] == {"fixations_without_picture": 1, "fixations_without_place": 1, "trials_sorted": 1}
    with pytest.raises(DataError, match=r"no column image or picture .* for the picture \(--picture\): it has RECORD"):
        convert(tmp_path, "s.txt", report(rows).replace("\timage\t", "\tshown\t"), **settings)
    with pytest.raises(DataError, match="row 2: CURRENT_FIX_X 'left' is no number"):
        convert(tmp_path, "t.txt", report([("s", 1, "desk.png", "left", 1.0, 200, 1)]), **settings)


def test_exports_of_tobii(tmp_path):
    events = [
        ("", "Fixation", 1, 300, "10", "10"),
        ("desk.png", "Fixation", 2, 200, "640", "512"),
        ("desk.png", "Saccade", 1, 30, "", ""),
        ("desk.png", "Fixation", 3, 150, "240,5", "312"),
        ("desk.png", "EyesNotFound", 1, 90, "", ""),
        ("cup.png", "Fixation", 3, 150, "240,5", "312"),
        ("cup.png", "Fixation", 4, 250, "1040", "712"),
        ("desk.png", "Fixation", 5, 350, "440", "412"),
    ]
    output, about = convert(tmp_path, "t.tsv", tobii(events), tracker="tobii", grid=(1, 2), encoding="utf-8-sig")
    found = [(row["image"], row["trial"], row["x"], row["y"], row["duration_ms"]) for row in fixations(output)]
    assert found == [
        ("pictures/desk.png", "Rec 1 1", "200.0", "100.0", "200.0"),
        ("pictures/desk.png", "Rec 1 1", "0.25", "0.0", "150.0"),
        ("pictures/cup.png", "Rec 1 2", "400.0", "200.0", "250.0"),
        ("pictures/desk.png", "Rec 1 3", "100.0", "50.0", "350.0"),
    ]
    assert about["left_out"] == {
        "events_eyesnotfound": 1,
        "events_saccade": 1,
        "fixations_that_go_on_from_another_picture": 1,
        "fixations_without_picture": 1,
        "rows_without_gaze": 16,
    }
    assert about["recording"]["time_unit"] == "ms (by the header)"
    picture(tmp_path / "images" / "desk.jpg", (800, 400))
    bare = [(media.removesuffix(".png"), *rest) for media, *rest in events]
    named, about = convert(tmp_path, "n.tsv", tobii(bare), tracker="tobii", images=tmp_path / "images", grid=(1, 2))
    assert (fixations(named)[0]["image"], fixations(named)[0]["x"]) == ("pictures/desk.jpg", "400.0"), (
        "as large as shown"
    )
    assert about["left_out"]["trials_whose_picture_is_not_in_images"] == 1
    micro = tobii(events).replace("duration [ms]", "duration [μs]").replace("\t200\t", "\t200000\t")
    again, _ = convert(tmp_path, "u.tsv", micro.replace("\t350\t", "\t350000\t"), tracker="tobii", grid=(1, 2))
    assert fixations(again)[0]["duration_ms"] == "200.0"
    with pytest.raises(DataError, match="has no column 'Fixation point x': export places"):
        convert(tmp_path, "v.tsv", tobii(events).replace("Fixation point X", "Gaze point X"), tracker="tobii")


def test_events_of_pymovements(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "subject": ["a"] * 4, "trial": [1, 1, 1, 2], "stimulus": ["desk.png"] * 4,
            "name": ["fixation", "saccade", "fixation", "fixation"], "onset": [500, 300, 100, 100],
            "offset": [700, 330, 290, 350], "duration": [200, 30, 190, 250],
            "location": [[-100.0, 50.0], None, [0.0, 0.0], [None, None]],
        }
    )  # fmt: skip
    settings = ImportSettings("pymovements", screen=(1280, 1024), place="240,312,800,400", origin="centre", grid=(1, 2))
    about = import_scanpaths([frame], tmp_path / "set", settings)
    # Shown twice as large? The picture's size is unknown, so its pixels are those of the rectangle.
    found = [(row["x"], row["y"], row["duration_ms"]) for row in fixations(tmp_path / "set")]
    assert found == [("400.0", "200.0", "190.0"), ("300.0", "150.0", "200.0")]
    assert about["recording"]["origin"] == "centre"
    assert about["left_out"] == {"events_saccade": 1, "fixations_without_place": 1, "trials_sorted": 1,
                                 "trials_without_fixation": 1}  # fmt: skip
    flat = frame.assign(location_x=[1.0, None, 2.0, 3.0], location_y=[4.0, None, 5.0, 6.0]).drop(columns="location")
    flat.to_csv(tmp_path / "events.csv", index=False)
    flat.to_parquet(tmp_path / "events.parquet")
    for name in ("events.csv", "events.parquet"):
        output = tmp_path / name.replace(".", "_")
        import_scanpaths([tmp_path / name], output, ImportSettings("pymovements", place="0,0,9,9", grid=(1, 2)))
        assert [row["y"] for row in fixations(output)] == ["5.0", "4.0", "6.0"]
    for change, message in (
        ({"name": "saccade"}, r"no fixation .*: detect fixations first"),
        ({"name": ["fixation_ivt", "fixation_idt", "fixation_ivt", "blink"]}, "fixations of several detectors"),
        ({"location": 5}, "is 5: an x and a y"),
        ({"duration": "long"}, "'long' is no number"),
    ):
        with pytest.raises(DataError, match=message):
            import_scanpaths([frame.assign(**change)], tmp_path / "new", settings)
    other = frame.assign(stimulus=["desk.png", "x", "cup.png", "desk.png"], name="fixation").drop(columns="trial")
    with pytest.raises(DataError, match=r"subject 'a' looks at 'desk.png' twice"):
        import_scanpaths([other], tmp_path / "new", settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tracker": "eyelink", "trial": "x"}, "--trial x has no effect on recordings of eyelink"),
        ({"tracker": "tobii", "eye": "left"}, "--eye left has no effect on recordings of tobii"),
        ({"tracker": "abacus"}, "from='abacus' is not known"),
        ({"tracker": "tobii", "grid": (0, 1)}, "use 1 row and 1 column or more"),
        ({"tracker": "pymovements", "origin": "centre"}, "needs the size of the screen"),
        ({"tracker": "eyelink", "place": "here"}, "place='here': give fill"),
        ({"tracker": "eyelink", "screen": (800, 600)}, "but the recording has a screen of 1280x1024"),
    ],
)
def test_settings_without_effect_or_sense(tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        convert(tmp_path, "a.asc", ASC_HEAD + asc_trial(2000, "desk.png"), **settings)


def test_nothing_is_overwritten(tmp_path):
    text = ASC_HEAD + asc_trial(2000, "desk.png")
    convert(tmp_path, "a.asc", text, tracker="eyelink")
    with pytest.raises(ConfigError, match="is there already: name a new folder"):
        convert(tmp_path, "a.asc", text, tracker="eyelink")
    with pytest.raises(DataError, match="two recordings have a trial '1' of subject 'a'"):
        import_scanpaths([tmp_path / "a.asc"] * 2, tmp_path / "new", ImportSettings("eyelink"))
