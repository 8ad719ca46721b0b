"""EyeLink recordings as text: the .asc files of SR Research's edf2asc.

A trial lasts from its message TRIALID to TRIAL_RESULT. ``!V IMGLOAD`` names its picture and the place of that on the
screen, ``!V IAREA`` its interest areas, ``!V TRIAL_VAR`` its variables. Fixations are EFIX lines: eye, start, end,
duration, x, y. Times are milliseconds; places are pixels of the screen that GAZE_COORDS or DISPLAY_COORDS describes.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from vision_suite.datasets.files import finite
from vision_suite.datasets.scanpath.importers.recording import (
    Area,
    Eye,
    Fixation,
    Place,
    Recording,
    View,
    fixation_or_none,
)
from vision_suite.datasets.scanpath.importers.sheets import read_text
from vision_suite.datasets.scanpath.values import number
from vision_suite.errors import DataError

_EYES: dict[str, Eye] = {"L": "left", "R": "right"}
_OFFSET = re.compile(r"-?\d+\s+(?=\S)")  # of a message that was sent before or after the event that it names
_COORDS = re.compile(r"(GAZE_COORDS|DISPLAY_COORDS)\s*=?\s*([-\d.]+)\s+([-\d.]+)\s+([-\d.]+)\s+([-\d.]+)")


def _numbers_at_the_end(words: list[str]) -> int:
    """4 or 2, the number of words at the end that are numbers; 0 if there are fewer. Names of files may have blanks."""
    known = 0
    for word in reversed(words[-4:]):
        if math.isnan(finite(word)):
            break
        known += 1
    return known // 2 * 2


class Screen:
    """Coordinates of a screen as a recording describes them.

    Args:
        left: Coordinate of the left edge.
        top: Coordinate of the upper edge.
        right: Coordinate of the last column of pixels.
        bottom: Coordinate of the last row of pixels; less than ``top`` where y grows upwards.
    """

    def __init__(self, left: float, top: float, right: float, bottom: float) -> None:
        self.bounds = (left, top, right, bottom)
        self.left, self.top, self.direction = left, top, 1 if bottom >= top else -1
        self.size = (right - left + 1, abs(bottom - top) + 1)

    def xy(self, x: float, y: float) -> tuple[float, float]:
        """Pixels from the upper left corner."""
        return x - self.left, (y - self.top) * self.direction


@dataclass
class _Trial:
    name: str
    start: float
    screen: Screen | None
    shown: float = -math.inf
    fixations: dict[Eye, list[Fixation]] = field(default_factory=lambda: defaultdict(list))
    pictures: dict[str, Place | None] = field(default_factory=dict)
    areas: list[Area] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)


def read_asc(
    path: Path,
    subject: str,
    *,
    eye: Eye | None = None,
    picture: str | None = None,
    trial_message: str = "TRIALID",
    start_message: str | None = None,
) -> Recording:
    """Read an .asc file.

    Args:
        path: The file.
        subject: Name of the observer.
        eye: Eye to take where both were recorded; by default the right one.
        picture: Variable of the trial (``!V TRIAL_VAR``) that names the picture; by default ``!V IMGLOAD`` does.
        trial_message: First word of the message with which a trial begins.
        start_message: First word of the message with which a trial's picture appears: earlier fixations are left out.

    Raises:
        DataError: The file is no recording in gaze coordinates, has no trial or fixation, or is malformed.
    """
    reader = _Reader(path, trial_message, start_message)
    # str.splitlines would also break lines at signs of old code pages, such as the ellipsis.
    for line_number, line in enumerate(re.split(r"\r\n?|\n", read_text(path)), start=1):
        reader.line(line_number, line)
    return reader.recording(subject, eye, picture)


class _Reader:
    def __init__(self, path: Path, trial_message: str, start_message: str | None) -> None:
        self.path, self.trial_message, self.start_message = path, trial_message, start_message
        self.counts: Counter[str] = Counter()
        self.screens: dict[str, Screen] = {}
        self.begun: dict[str, bool] = {}  # by eye, whether a fixation without an end began within a trial
        self.trials: list[_Trial] = []
        self.current: _Trial | None = None
        self.ended: set[int] = set()
        self.fixations = 0

    def line(self, line_number: int, line: str) -> None:
        """Read a line; samples and what is of no use here are passed over."""
        words = line.split()
        where = f"recording {str(self.path)!r} line {line_number}"
        if not words:
            return
        if words[0] == "MSG" and len(words) > 2:
            self._message(line.split(None, 2)[2], number(words[1], where, "time"), where)
        elif words[0] == "SFIX" and len(words) > 1:
            self.counts["fixations_without_end"] += self.begun.get(words[1], False)
            self.begun[words[1]] = self.current is not None
        elif words[0] == "EFIX":
            self._fixation(words, where)
            self.begun.pop(words[1], None)
        elif words[0] == "EBLINK":
            self.counts["blinks"] += self.current is not None
        elif words[0] == "EVENTS" and "GAZE" not in words:
            raise DataError(
                f"{where}: events are in {' '.join(words[1:3])}, not GAZE: convert the recording with gaze data"
            )

    def _fixation(self, words: list[str], where: str) -> None:
        if len(words) < 7 or words[1] not in _EYES:
            raise DataError(f"{where} is no complete fixation (EFIX eye start end duration x y ...): convert it again")
        start, _, duration, x, y = (number(word, where, "value of a fixation") for word in words[2:7])
        self.fixations += 1
        trial = self.current
        if trial is None or start < trial.start:
            self.counts["fixations_outside_of_trials"] += 1
        elif not start >= trial.shown:
            self.counts["fixations_before_the_picture"] += 1
        elif (found := fixation_or_none(x, y, duration, start, self.counts)) is not None:
            trial.fixations[_EYES[words[1]]].append(found)

    def _message(self, text: str, time: float, where: str) -> None:
        if found := _COORDS.match(text):
            self.screens[found[1]] = Screen(*(number(side, where, found[1]) for side in found.groups()[1:]))
            if self.current is not None:
                self.current.screen = self._screen()
            return
        if offset := _OFFSET.match(text):
            text = text[offset.end() :]
        word, rest = [*text.split(None, 1), ""][:2]
        if word == self.trial_message:
            shown = -math.inf if self.start_message is None else math.inf
            self.current = _Trial(rest.strip() or str(len(self.trials) + 1), time, self._screen(), shown)
            self.trials.append(self.current)
        elif self.current is None:
            return
        elif word == "TRIAL_RESULT":
            self.ended.add(len(self.trials) - 1)
            self.current = None
        elif word == self.start_message:
            self.current.shown = min(time, self.current.shown)
        elif word == "!V":
            self._integration(self.current, rest.split(), where)

    def _integration(self, trial: _Trial, words: list[str], where: str) -> None:
        """A message for Data Viewer: a picture, an interest area, or a variable."""
        kind, values = (words[0], words[1:]) if words else ("", [])
        if kind == "IMGLOAD" and len(values) >= 2:
            tail = 0 if values[0] == "FILL" else _numbers_at_the_end(values[2:])
            name = " ".join(values[1 : len(values) - tail])
            trial.pictures[Path(name.replace("\\", "/")).name] = self._place(
                values[0], values[len(values) - tail :], where
            )
        elif kind == "IAREA" and len(values) >= 6 and values[0] in ("RECTANGLE", "ELLIPSE"):
            x1, y1, x2, y2 = (number(side, where, "side of an interest area") for side in values[2:6])
            trial.areas.append(Area(x1, y1, x2, y2, " ".join(values[6:])))
        elif kind == "IAREA":
            self.counts["interest_areas_of_other_shapes"] += 1
        elif kind == "TRIAL_VAR" and values:
            trial.variables[values[0]] = " ".join(values[1:]).removeprefix("= ")

    def _place(self, how: str, sides: list[str], where: str) -> Place | None:
        """Place that IMGLOAD names: FILL file, or TOP_LEFT or CENTER file x y [width height]."""
        screen = self._screen()
        if how == "FILL":
            return None if screen is None else Place(0.0, 0.0, *screen.size)
        if how not in ("TOP_LEFT", "CENTER") or len(sides) not in (2, 4):
            self.counts["pictures_without_place"] += 1
            return None
        x, y, *shown = (number(side, where, "place of a picture") for side in sides)
        left, top = (x, y) if screen is None else screen.xy(x, y)
        width, height = shown or (math.nan, math.nan)
        return Place(left, top, width, height, by_middle=how == "CENTER")

    def _screen(self) -> Screen | None:
        return self.screens.get("GAZE_COORDS") or self.screens.get("DISPLAY_COORDS")

    def recording(self, subject: str, eye: Eye | None, picture: str | None) -> Recording:
        """The views and counts of one eye."""
        where = f"recording {str(self.path)!r}"
        if not self.trials:
            raise DataError(
                f"{where} has no message {self.trial_message}: name the message that begins a trial by --trial-message"
            )
        if not self.fixations:
            raise DataError(f"{where} has no fixations (EFIX lines): convert it with events, edf2asc without -s")
        self.counts["fixations_without_end"] += sum(self.begun.values())
        for trial in self.trials:
            trial.screen = trial.screen or self._screen()
        screens = {trial.screen.bounds: trial.screen for trial in self.trials if trial.screen is not None}
        screen = next(iter(screens.values())) if len(screens) == 1 else None
        if len(self.screens) == 2 and len({one.size for one in self.screens.values()}) == 2:
            self.counts["recordings_with_two_screen_sizes"] += 1
        found = Recording([], None if screen is None else screen.size, self.counts)
        eyes = {one for trial in self.trials for one, own in trial.fixations.items() if own}
        taken: Eye = eye or ("right" if "right" in eyes else "left")
        if eyes and taken not in eyes:
            raise DataError(f"{where} has fixations of the {' and '.join(sorted(eyes))} eye only: leave --eye out")
        words = "only one recorded" if len(eyes) == 1 else "both recorded" + ("" if eye else "; --eye chooses")
        found.facts["eye"] = f"{taken} ({words})"
        origin = " and ".join(f"({one.left:g}, {one.top:g})" for one in screens.values())
        found.facts["coordinates"] = f"pixels of the screen{' from ' if origin else ''}{origin}, " + (
            "GAZE_COORDS" if "GAZE_COORDS" in self.screens else "DISPLAY_COORDS" if screens else "no screen described"
        )
        if len(screens) > 1:  # of several sizes none is that of the recording; each trial has its own
            found.facts["screens"] = " and ".join(f"{one.size[0]:g} x {one.size[1]:g}" for one in screens.values())
        found.facts["time_unit"] = "ms, as EyeLink writes"
        end = "TRIAL_RESULT" if self.ended else f"the next {self.trial_message}"
        found.facts["trials"] = f"from {self.start_message or self.trial_message} to {end}"
        for index, trial in enumerate(self.trials):
            self.counts["fixations_of_the_other_eye"] += sum(len(v) for k, v in trial.fixations.items() if k != taken)
            if self.ended and index == len(self.trials) - 1 and index not in self.ended:
                self.counts["trials_cut_off"] += 1
                self.counts["fixations_of_trials_cut_off"] += len(trial.fixations[taken])
                continue
            view = self._view(trial, subject, index + 1, taken, picture)
            if view is not None:
                found.views.append(view)
        return found

    def _view(self, trial: _Trial, subject: str, count: int, eye: Eye, picture: str | None) -> View | None:
        pictures, screen = trial.pictures, trial.screen
        if picture is not None:
            name = Path(trial.variables.get(picture, "").replace("\\", "/")).name
            pictures = {name: pictures.get(name)} if name else {}
        if len(pictures) != 1:
            self.counts["trials_with_several_pictures" if pictures else "trials_without_picture"] += 1
            self.counts["fixations_of_trials_without_one_picture"] += len(trial.fixations[eye])
            return None
        ((name, place),) = pictures.items()
        move = screen.xy if screen is not None else lambda x, y: (x, y)
        own = [fix._replace(**dict(zip("xy", move(fix.x, fix.y), strict=True))) for fix in trial.fixations[eye]]
        areas = []
        for area in trial.areas:
            (x1, y1), (x2, y2) = move(area.x1, area.y1), move(area.x2, area.y2)
            areas.append(Area(min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2), area.label))
        return View(subject, str(count), name, own, place, None, areas, {"TRIALID": trial.name, **trial.variables})
