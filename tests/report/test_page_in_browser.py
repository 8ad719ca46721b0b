"""The page in a headless Chromium: no violation of its policy, hostile names do nothing, headings sort."""

import re

import pytest
from browser import needs_chromium, opened
from run_folders import NASTY, write_fit, write_hostile, write_metrics, write_test

from vision_suite.report.page import build_page
from vision_suite.report.runs import collect

pytestmark = needs_chromium


def written(tmp_path, html):
    path = tmp_path / "page.html"
    path.write_text(html, encoding="utf-8")
    return path


@pytest.fixture
def html(tmp_path):
    for number, value in enumerate((0.5, 0.9, 0.7)):
        folder = write_fit(tmp_path / f"runs/version_{number}", seed=number, lr=0.1 + number)
        write_metrics(folder, {"mAP": value, "rank1": None if number == 1 else value})
    write_test(tmp_path / "runs/version_3", folder, {"mAP": 0.7}, "validate", pictures=["cmc.png"])
    return build_page(collect([tmp_path / "runs"])).html


def test_the_policy_is_not_violated(tmp_path, html):
    document, console = opened(written(tmp_path, html), tmp_path)
    assert console == []
    assert document.count("<button>") > 3, "the script of the page ran"


def test_a_violation_would_be_seen(tmp_path, html):
    for addition in ("<script>document.title = 'x'</script>", '<img src="file:///nowhere.png">'):
        document, console = opened(written(tmp_path, html.replace("</main>", addition + "</main>")), tmp_path)
        assert len(console) == 1
        assert "Content Security Policy" in console[0]
        assert "<title>3 runs of toy</title>" in document


def test_hostile_names_do_nothing(tmp_path):
    page = build_page(collect(write_hostile(tmp_path)))
    document, console = opened(written(tmp_path, page.html), tmp_path)
    assert console == []
    assert "<title>2 runs</title>" in document
    assert document.count("<script") == 1
    assert "onerror=alert(1)&gt;" in document
    assert NASTY not in document


def test_the_page_is_no_wider_than_a_phone(tmp_path):
    """A frame of 400 pixels, since windows of a browser are wider than that; the longest names are in it."""
    page = build_page(collect(write_hostile(tmp_path)))
    written(tmp_path, page.html)
    measure = "f.onload = () => { const d = f.contentDocument.documentElement; p.textContent = d.scrollWidth }"
    frame = tmp_path / "frame.html"
    style = "width:400px;height:800px;border:0"
    frame.write_text(
        f'<p id="p"></p><iframe id="f" src="page.html" style="{style}"></iframe><script>{measure}</script>'
    )
    document, _ = opened(frame, tmp_path, "--allow-file-access-from-files", "--hide-scrollbars")
    assert int(re.search(r'<p id="p">(\d+)</p>', document)[1]) <= 400


def test_a_heading_sorts_its_table(tmp_path, html):
    """The test's own script clicks, so the policy is taken out."""
    click = """<script>
        const table = document.querySelector("table.results");
        const order = () => [...table.tBodies[0].rows].map((row) => row.querySelector("b").textContent).join("");
        const found = [];
        for (const column of [1, 1, 2, 0, 0]) {
            table.tHead.rows[0].cells[column].firstChild.click();
            found.push(order());
        }
        document.title = found.join(" ");
    </script>"""
    open_page = re.sub(r"<meta http-equiv[^>]*>", "", html).replace("</body>", click + "</body>")
    document, _ = opened(written(tmp_path, open_page), tmp_path)
    # mAP of runs 1 to 3 is .5, .9, .7; run 2 has no rank1, and a value that is missing comes last.
    assert re.search(r"<title>(.*?)</title>", document)[1] == "231 132 312 123 321"
