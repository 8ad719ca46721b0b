"""The page: one HTML file that needs nothing from outside, written from templates that escape every text.

No run can bring anything into it but text, numbers and pictures: the content policy allows no script but the one whose
hash it holds, and addresses of pictures only as ``data:``.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from vision_suite import __version__
from vision_suite.report.compare import common, differences
from vision_suite.report.environment import environment
from vision_suite.report.notices import Notice, notices
from vision_suite.report.pictures import ReportPicture, shown_pictures
from vision_suite.report.results import all_results, name_part
from vision_suite.report.runs import ReportedRun
from vision_suite.report.words import shortened
from vision_suite.types.curves import Series
from vision_suite.viz.runs import run_curves, run_style, scheme_css

POINTS = 120_000  # of all curves of the page
MOST, LEAST = 200, 40  # points of one curve
ORDER = ("val/", "train/loss", "train/", "lr")


@dataclass(frozen=True)
class DrawnMetric:
    """Curves of one metric.

    Attributes:
        name: Name of the metric.
        runs: Numbers of the runs that have it.
        source: The picture as a ``data:`` address.
    """

    name: str
    runs: tuple[int, ...]
    source: str


@dataclass(frozen=True)
class RunsPage:
    """The page and what it holds.

    Attributes:
        html: Text of the file.
        notices: Its warnings.
        curves: Number of metrics that are drawn.
    """

    html: str
    notices: Sequence[Notice]
    curves: int


def build_page(runs: Sequence[ReportedRun]) -> RunsPage:
    """Build the page; the same runs give the same text.

    Args:
        runs: At least one run.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    parts = files("vision_suite.report")
    script, style = ((parts / name).read_text(encoding="utf-8") for name in ("page.js", "page.css"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template.filters["breaks"] = lambda text: re.findall(r"[^/._]*[/._]+|[^/._]+", text)  # where names may be broken
    drawn, alone = drawn_metrics(runs)
    known = [environment(run.contents) if run.contents.run is not None else None for run in runs]
    settings = [run.contents.settings for run in runs]
    found = notices(runs)
    html = template.from_string((parts / "page.html").read_text(encoding="utf-8")).render(
        title=_title(runs),
        version=__version__,
        policy=f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'",
        style=Markup(scheme_css(":root") + style),  # ours alone
        script=Markup(script),
        runs=runs,
        styles={run.number: run_style(run.number) for run in runs},
        names={run.number: run.name for run in runs},
        notices=found,
        results=all_results(runs),
        settings=differences(settings),
        settings_known=sum(column is not None for column in settings),
        metrics=_by_kind(drawn),
        logged=sum(bool(run.contents.log.series) for run in runs),
        alone=alone,
        pictures=_by_run(shown_pictures(runs)),
        environment=differences(known),
        shared=common(known),
    )
    return RunsPage(html, found, len(drawn))


def drawn_metrics(runs: Sequence[ReportedRun]) -> tuple[list[DrawnMetric], list[tuple[str, int]]]:
    """Curves of the metrics that at least two runs share, or of all if one run alone has a log.

    Returns:
        The curves, validation first, and the names of the other metrics with their runs.
    """
    held: dict[str, dict[int, Series]] = {}
    for run in runs:
        for key, series in run.contents.log.series.items():
            held.setdefault(key, {})[run.number] = series
    logged = sum(bool(run.contents.log.series) for run in runs)
    keys = sorted(held, key=lambda key: (_rank(key), key))
    shared = [key for key in keys if len(held[key]) > 1 or logged == 1]
    curves = sum(len(held[key]) for key in shared)
    most = min(MOST, max(LEAST, POINTS // max(curves, 1)))
    pictures = run_curves([held[key] for key in shared], most)
    drawn = [
        DrawnMetric(shortened(key), tuple(held[key]), _address(picture))
        for key, picture in zip(shared, pictures, strict=True)
    ]
    return drawn, [(shortened(key), next(iter(held[key]))) for key in keys if key not in shared]


def _by_kind(drawn: Sequence[DrawnMetric]) -> Mapping[str, list[DrawnMetric]]:
    """Curves by all but the last part of their names: ``val``, ``train``, then parts such as ``val/glca``."""
    found: dict[str, list[DrawnMetric]] = {}
    for metric in drawn:
        found.setdefault(name_part(metric.name), []).append(metric)
    return {heading: found[heading] for heading in sorted(found, key=lambda heading: heading.count("/"))}


def _rank(key: str) -> int:
    """Place of a metric's kind on the page."""
    return next((place for place, start in enumerate(ORDER) if key.startswith(start)), len(ORDER))


def _address(svg: str) -> str:
    """A drawing as a ``data:`` address."""
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode('ascii')}"


def _by_run(pictures: Sequence[ReportPicture]) -> Mapping[int, list[ReportPicture]]:
    """Pictures by the number of their run."""
    found: dict[int, list[ReportPicture]] = {}
    for picture in pictures:
        found.setdefault(picture.run, []).append(picture)
    return found


def _title(runs: Sequence[ReportedRun]) -> str:
    """Heading of the page."""
    titles = {run.title for run in runs}
    if len(runs) == 1:
        return f"{runs[0].title}, {runs[0].name}" if runs[0].title != runs[0].name else runs[0].name
    return f"{len(runs)} runs of {titles.pop()}" if len(titles) == 1 else f"{len(runs)} runs"
