"""The page: nothing from outside, every text inert, the same bytes each time, within its bounds."""

import base64
import hashlib
import os
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from run_folders import LONG, NASTY, write_fit, write_hostile, write_metrics, write_test

from vision_suite.report.page import build_page
from vision_suite.report.pictures import shown_pictures
from vision_suite.report.runs import collect


class Elements(HTMLParser):
    """Elements with their attributes, and the text outside of scripts and styles."""

    def __init__(self, html):
        super().__init__()
        self.found, self.text, self._open = [], [], ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        self._open = tag

    def handle_data(self, data):
        if self._open not in ("script", "style"):
            self.text.append(data)

    def of(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


def page_of(*folders):
    return build_page(collect(list(folders)))


@pytest.fixture
def folder(tmp_path):
    """Two seeds and another setting, one of them tested, with a picture."""
    for number, (seed, lr) in enumerate(((1, 0.1), (2, 0.1), (2, 0.3))):
        write_fit(tmp_path / f"runs/version_{number}", seed=seed, lr=lr, shift=lr)
    write_test(tmp_path / "runs/version_3", tmp_path / "runs/version_0", {"mAP": 0.5}, pictures=["cmc.png"])
    return tmp_path / "runs"


def assert_closed(html):
    """Nothing in the page leads outside of it, and no script runs but the one that the policy names."""
    elements = Elements(html)
    addresses = [
        value
        for _, attributes in elements.found
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "action", "data", "poster", "background", "ping")
    ]
    assert all(value.startswith(("data:image/", "#")) for value in addresses)
    assert not [name for _, attributes in elements.found for name in attributes if name.startswith("on")]
    assert {tag for tag, _ in elements.found}.isdisjoint({"link", "iframe", "object", "embed", "base", "form"})
    assert len(elements.of("script")) == 1
    (policy,) = [meta["content"] for meta in elements.of("meta") if meta.get("http-equiv")]
    script = re.search(r"<script>(.*?)</script>", html, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert script.count("\n") <= 30
    return elements


def test_the_page_has_every_part(folder):
    page = page_of(folder)
    elements = assert_closed(page.html)
    text = "".join(elements.text)
    for expected in (
        *("3 runs of toy", "vision-suite fit -c toy", "test, reid", "mean of 2 seeds", "model.optim.lr"),
        *("train/loss", "val/mAP", "version_3/test/cmc.png", "distance", "hardware.processor", "packages.torch"),
    ):
        assert expected in text, expected
    assert page.curves == 2
    assert re.search(r"<mark>0\.3</mark>", page.html)
    assert "warning" not in text
    colours = {colour for line in elements.of("line") for colour in re.findall(r"--c\d", line["style"])}
    assert colours == {"--c0", "--c1", "--c2"}


def test_the_same_runs_give_the_same_bytes(folder):
    assert page_of(folder).html == page_of(folder).html


def test_hostile_names_are_inert(tmp_path):
    page = page_of(*write_hostile(tmp_path))
    elements = assert_closed(page.html)
    text = "".join(elements.text)
    assert NASTY in text, "it is shown as it is written, and no template in it is evaluated"
    assert LONG in text
    assert "onerror" not in {name for _, attributes in elements.found for name in attributes}
    page.html.encode("utf-8")


def test_one_run_shows_all_its_metrics_and_several_those_that_they_share(tmp_path):
    one, two = write_fit(tmp_path / "a"), write_fit(tmp_path / "b")
    (two / "metrics.csv").write_text("epoch,step,train/loss,own\n0,0,1,2\n0,1,1,2\n")
    assert page_of(two).curves == 2
    page = page_of(one, two)
    assert page.curves == 1
    assert "2 logged by one run only" in page.html


def test_a_folder_with_nothing_that_can_be_read_makes_a_page(tmp_path):
    for name in ("run.json", "config.yaml", "metrics.csv"):
        (tmp_path / name).write_bytes(b"\x00\xff\xfe")
    page = page_of(tmp_path)
    assert_closed(page.html)
    assert "no record" in page.html
    assert len(page.notices) >= 4


def test_pictures_that_are_damaged_or_too_many_are_told(tmp_path):
    folder = write_test(tmp_path / "a", tmp_path / "gone", {"mAP": 1.0}, pictures=["a.png", "b.png", "c.png", "d.png"])
    (folder / "test/b.png").write_bytes(b"GIF89a")
    broken = (folder / "test/c.png").read_bytes()
    (folder / "test/c.png").write_bytes(broken[:-20] + bytes(8) + broken[-12:])
    runs = collect([folder])
    good, gif, torn, last = shown_pictures(runs)
    assert good.source.startswith("data:image/png;base64,")
    assert last.size == (40, 20)
    assert (gif.source, gif.reason) == ("", "damaged: no PNG")
    assert torn.reason.startswith("damaged: ")
    assert [bool(picture.source) for picture in shown_pictures(runs, room=len(broken))] == [True, False, False, False]
    assert shown_pictures(runs, room=len(broken))[3].reason.startswith("left out to keep the page small")


def test_pictures_that_are_no_files_of_the_run_are_not_read(tmp_path):
    folder = write_test(tmp_path / "a", tmp_path / "gone", {"mAP": 1.0}, pictures=["a.png"])
    (folder / "test/a.png").rename(tmp_path / "own.png")
    (folder / "test/b.png").symlink_to(tmp_path / "own.png")
    (folder / "test/c.png").symlink_to("/dev/zero")
    os.mkfifo(folder / "test/d.png")
    found = shown_pictures(collect([folder]))
    assert [picture.reason for picture in found] == ["damaged: no regular file of the run's folder"] * 3


def test_each_run_gets_its_first_picture_before_any_gets_a_second(tmp_path):
    for name in "ab":
        folder = write_test(tmp_path / name, tmp_path / "gone", {"mAP": 1.0}, pictures=["1.png", "2.png"])
    size = (folder / "test/1.png").stat().st_size
    shown = shown_pictures(collect([tmp_path]), room=2 * size)
    assert [(picture.run, bool(picture.source)) for picture in shown] == [(1, True), (1, False), (2, True), (2, False)]


@pytest.mark.slow
def test_twenty_long_runs_stay_below_ten_megabytes(tmp_path):
    names = ["train/loss", "train/loss_a", "train/loss_b", "lr", "val/mAP", "val/rank1", "val/glca/mAP", "train/norm"]
    for seed in range(20):
        folder = write_fit(tmp_path / f"version_{seed}", seed=seed)
        values = np.random.default_rng(seed).standard_normal((10_000, len(names))).cumsum(0)
        steps = np.arange(10_000)
        table = np.column_stack([steps // 100, steps, values])
        np.savetxt(folder / "metrics.csv", table, "%.9g", ",", header=",".join(["epoch", "step", *names]), comments="")
        write_metrics(folder, {"mAP": 0.5})
    page = page_of(tmp_path)
    assert page.curves == len(names)
    assert page.notices == []
    assert len(page.html.encode()) < 10 * 2**20
