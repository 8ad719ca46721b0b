"""Small generated recordings in the formats of eye trackers: one line of each kind that the importers must know."""

import csv

from vision_suite.datasets.scanpath.importers.run import ImportSettings, import_scanpaths

# A picture of 400 x 200 pixels, shown twice as large in the middle of a screen of 1280 x 1024.
ASC_HEAD = """** CONVERTED FROM made.edf
** TYPE: EDF_FILE BINARY EVENT SAMPLE TAGGED
MSG\t1000 DISPLAY_COORDS 0 0 1279 1023
SFIX R   1100
EFIX R   1100\t1190\t91\t  600.0\t  500.0\t   900
"""
AREAS = """MSG\t{t} !V IAREA RECTANGLE 1 240 312 440 712 left jug
MSG\t{t} !V IAREA ELLIPSE 2 840 312 1040 712 cup
MSG\t{t} !V IAREA FREEHAND 3 1,1 5,5 9,1 nothing
"""


def asc_trial(start, picture, *, name="1", end=True, eyes="LR", target="cup", place="CENTER {} 640 512 800 400"):
    """Lines of a trial: a fixation on the picture's middle, one on its corner, one without place, and a blink."""
    t = start
    lines = [
        f"MSG\t{t} TRIALID {name}",
        f"MSG\t{t + 1} GAZE_COORDS 0.00 0.00 1279.00 1023.00",
        f"START\t{t + 2} \tLEFT\tRIGHT\tSAMPLES\tEVENTS",
        "PRESCALER\t1",
        "EVENTS\tGAZE\tLEFT\tRIGHT\tRATE\t1000.00\tTRACKING\tCR\tFILTER\t2",
        f"{t + 3}\t  640.0\t  512.0\t  784.0\t  641.0\t  511.0\t  790.0\t....",
        f"{t + 4}\t   .\t   .\t    0.0\t   .\t   .\t    0.0\t....",
        f"MSG\t{t + 50} -11 !V IMGLOAD {place.format(picture)}",
        f"MSG\t{t + 50} 0 SYNCTIME",
        AREAS.format(t=t + 51).strip(),
        f"MSG\t{t + 52} !V TRIAL_VAR wanted {target}",
        f"MSG\t{t + 53} !V TRIAL_VAR file other {picture}",
    ]
    for eye in eyes:
        shift = 0.0 if eye == "R" else 8.0
        lines += [
            f"SFIX {eye}   {t + 40}",
            f"EFIX {eye}   {t + 40}\t{t + 239}\t200\t  {640.0 + shift}\t  512.0\t   1100",
            f"EFIX {eye}   {t + 300}\t{t + 449}\t150\t  {240.0 + shift}\t  312.0\t   1100\t  38.5\t  31.1",
            f"EFIX {eye}   {t + 500}\t{t + 520}\t21\t  .\t  .\t   0",
            f"SBLINK {eye} {t + 530}",
            f"EBLINK {eye} {t + 530}\t{t + 600}\t71",
        ]
    lines += [f"END\t{t + 700} \tSAMPLES\tEVENTS\tRES\t  38.54\t  31.12"]
    return "\n".join([*lines, *([f"MSG\t{t + 701} TRIAL_RESULT 0"] if end else [])]) + "\n"


def report(rows):
    """A fixation report of Data Viewer with decimal commas; rows are subject, trial, image, x, y, duration, start."""
    values = ("CURRENT_FIX_X", "CURRENT_FIX_Y", "CURRENT_FIX_DURATION", "CURRENT_FIX_START")
    header = "\t".join(("RECORDING_SESSION_LABEL", "TRIAL_INDEX", "image", *values))
    lines = [
        "\t".join(str(value).replace(".", ",", 1) if isinstance(value, float) else str(value) for value in row)
        for row in rows
    ]
    return "\n".join([header, *lines]) + "\n"


TOBII = (
    "Recording timestamp [μs]", "Sensor", "Participant name", "Recording name", "Presented Media name",
    "Presented Media position X [DACSpx]", "Presented Media position Y [DACSpx]", "Presented Media width",
    "Presented Media height", "Original Media width", "Original Media height", "Recording resolution width",
    "Recording resolution height", "Eye movement type", "Gaze event duration [ms]", "Eye movement type index",
    "Fixation point X [DACSpx]", "Fixation point Y [DACSpx]", "Fixation point X [MCSnorm]",
)  # fmt: skip


def tobii(events, *, participant="P01", samples=3):
    """An export: events are (media, type, index, duration, x, y), each in several samples; media '' is none."""
    lines, time = ["\t".join(TOBII)], 0
    who, screen = (participant, "Rec 1"), ("1280", "1024")
    for media, kind, index, duration, x, y in events:
        shown = (media, *(("240", "312", "800", "400", "400", "200") if media else ("",) * 6), *screen)
        rows = []
        for _ in range(samples):
            time += 8333
            rows.append((time, "Eye Tracker", *who, *shown, kind, duration, index, x, y, "0,5"))
        rows.append((time, "", *who, *shown, *("",) * 6))  # an event
        rows.append((time, "Mouse", *who, *shown, kind, duration, index, "1", "1", ""))
        lines += ["\t".join(map(str, row)) for row in rows]
    return "\n".join(lines) + "\n"


def fixations(folder):
    """Rows of a set's fixations."""
    with (folder / "fixations.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def convert(tmp_path, name, text, encoding="utf-8", **settings):
    """Folder of the set of a recording with that text, and what import.json says."""
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    output = tmp_path / f"set of {name}"
    about = import_scanpaths([path], output, ImportSettings(**settings))
    return output, about
