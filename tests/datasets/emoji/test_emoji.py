import csv
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections import Counter

import numpy as np
import pytest
from emoji_fixture import DESIGNS, PLAIN, bucket, icon_sets, make_fake_set, silent
from folders import SUPPORT
from PIL import Image

from vision_suite.datasets.emoji import build as emoji
from vision_suite.datasets.emoji import draw as emoji_draw
from vision_suite.datasets.emoji.build import verify, why_not_ready
from vision_suite.datasets.emoji.draw import Drawing, draw_all, drawings, rasterise
from vision_suite.datasets.emoji.plan import load_plan
from vision_suite.datasets.emoji.recipe import EmojiReID
from vision_suite.datasets.emoji.write import Linker, count_files, digest_of_folder, list_digest
from vision_suite.datasets.prepare import base as prepared_sets
from vision_suite.datasets.prepare.base import Options
from vision_suite.datasets.reid.layouts import read_market_folder
from vision_suite.errors import ConfigError, DataError


def prepare(plan, progress, **chosen):
    return EmojiReID(plan).prepare(progress, Options(**chosen))


PARTS = ["a", "b", *(f"c{camera}" for camera in range(8)), "fgvc", "closed"]


@pytest.fixture(scope="module")
def fake(tmp_path_factory):
    return make_fake_set(tmp_path_factory.mktemp("fake"))


@pytest.fixture(scope="module")
def prepared(fake, tmp_path_factory):
    """The fake set prepared once at 16 pixels by two processes; tests that change it take `fresh`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VISION_SUITE_DATA", str(tmp_path_factory.mktemp("cache")))
        return prepare(fake.plan, silent, source=fake.archives, image_size=16, workers=2)


@pytest.fixture
def fresh(prepared, tmp_path, monkeypatch):
    """A copy of the prepared cache that a test may damage."""
    monkeypatch.setenv("VISION_SUITE_DATA", str(tmp_path / "cache"))
    shutil.copytree(prepared.parent, tmp_path / "cache")
    return tmp_path / "cache" / prepared.name


def manifest(folder):
    return json.loads((folder / "MANIFEST.json").read_text())


def test_identities_splits_and_pictures_are_those_of_the_rule(fake, prepared):
    with (prepared / "identities.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["name"] for row in rows] == fake.identities
    assert [int(row["identity"]) for row in rows] == list(range(1, len(PLAIN) + 1))
    assert [row["split"] for row in rows] == [bucket(name) for name in fake.identities]
    for row in rows:
        assert row["designs"].split() == (DESIGNS if row["name"] in PLAIN[::2] else DESIGNS[:4])
        for design in DESIGNS:
            assert (prepared / "pictures" / design / f"{row['name']}.png").exists() == (
                design in row["designs"].split()
            )
    assert count_files(prepared / "pictures") == manifest(prepared)["pictures"] == 4 * 48 + 4 * 24


@pytest.mark.parametrize("part", ["a", "b", "c0", "c3", "c7"])
def test_market_folders_hold_what_their_names_say(fake, prepared, part):
    number = {name: position for position, name in enumerate(fake.identities, start=1)}
    expected = {
        (number[name], camera + 1, bucket(name))
        for name in fake.identities
        for camera in range(8)
        if (camera < 4 or name in PLAIN[::2]) and (part != "a" or camera < 4)
    }
    held = int(part[1:]) + 1 if part[0] == "c" else None

    def found(folder):
        paths = (prepared / part / folder).iterdir()
        return Counter((int(path.name[:4]), int(path.name[6]), split(folder)) for path in paths)

    def split(folder):
        return "train" if "train" in folder else "val" if folder.endswith("val") else "test"

    for folder in ("bounding_box_train", "bounding_box_test", "bounding_box_val"):
        assert found(folder) == Counter(e for e in expected if e[2] == split(folder) and e[1] != held)
    for folder in ("query", "query_val"):
        assert found(folder) == Counter(e for e in expected if e[2] == split(folder) and held in (None, e[1]))


def test_a_market_file_is_the_picture_of_its_identity_and_camera(fake, prepared):
    for path in (prepared / "b" / "query").iterdir():
        name, design = fake.identities[int(path.name[:4]) - 1], DESIGNS[int(path.name[6]) - 1]
        assert path.samefile(prepared / "pictures" / design / f"{name}.png")


@pytest.mark.parametrize("part", ["a", "b", "c5"])
def test_the_generic_reader_agrees_with_the_manifest(prepared, part):
    listing = read_market_folder(prepared / part)
    counts = {split: (entry["images"], entry["identities"]) for split, entry in listing.counts().items()}
    assert counts == listing.expected
    assert set(counts) == {"train", "query", "gallery", "query_val", "gallery_val"}


def read_cub(root):
    """Join the lists by image number: path -> (class name, is training)."""
    tables = {
        name: dict(line.split(" ", 1) for line in (root / f"{name}.txt").read_text().splitlines())
        for name in ("images", "image_class_labels", "train_test_split", "classes")
    }
    return {
        path: (tables["classes"][tables["image_class_labels"][number]], tables["train_test_split"][number] == "1")
        for number, path in tables["images"].items()
    }


def test_the_closed_task_in_cub_layout(fake, prepared):
    rows = read_cub(prepared / "closed")
    assert {name.split(".", 1)[1] for name, _ in rows.values()} == set(fake.identities)
    assert len(rows) == 4 * 48 + 4 * 24
    for path, (name, train) in rows.items():
        assert path.startswith(f"{name}/")
        assert train == (not path.endswith("_design3.png"))
        picture, design = path.split("/")[1].removesuffix(".png").rsplit("_", 1)
        assert (prepared / "closed" / "images" / path).samefile(prepared / "pictures" / design / f"{picture}.png")


def test_the_subgroup_task_in_cub_layout(fake, prepared):
    rows = read_cub(prepared / "fgvc")
    assert {name for name, _ in rows.values()} == {"001.animal", "002.tool"}  # "rare" has one identity
    train = {path.split("/")[1].rsplit("_", 1)[0] for path, (_, train) in rows.items() if train}
    test = {path.split("/")[1].rsplit("_", 1)[0] for path, (_, train) in rows.items() if not train}
    assert {bucket(name) for name in train} == {"train"}
    assert {bucket(name) for name in test} == {"test"}
    assert not {"moon", "sun"} & (train | test)
    assert manifest(prepared)["parts"]["fgvc"]["left_out"]["identities_without_subgroup"] == ["sun"]


def test_manifest_tells_origin_licence_and_credits(fake, prepared):
    top = manifest(prepared)
    assert [source["sha256"] for source in top["sources"]] == [origin.archive.sha256 for origin in fake.plan.origins]
    assert top["identities"]["count"] == 48
    assert "CC-BY-SA-4.0" in top["licence"]
    assert "Share-alike: Design2" in top["attribution"]
    assert (prepared / "ATTRIBUTION.txt").read_text() == top["attribution"]
    for part in PARTS:
        assert manifest(prepared / part) == top["parts"][part]


def test_pictures_are_rgb_of_the_size_asked_for_and_the_same_with_one_process(fake, prepared, tmp_path, monkeypatch):
    monkeypatch.setenv("VISION_SUITE_DATA", str(tmp_path))
    alone = prepare(fake.plan, silent, source=fake.archives, image_size=16, workers=1)
    for path in sorted((prepared / "pictures").rglob("*.png")):
        with Image.open(path) as picture:
            assert (picture.mode, picture.size) == ("RGB", (16, 16))
        assert path.read_bytes() == (alone / path.relative_to(prepared)).read_bytes()


def test_a_second_call_does_no_work(fake, fresh, monkeypatch):
    monkeypatch.setattr(emoji, "build", None)
    monkeypatch.setattr(prepared_sets, "locked", None)  # not even the lock: the cache may be read-only
    assert prepare(fake.plan, silent, source=None, image_size=16, workers=1) == fresh


def test_a_sound_set_verifies(fake, prepared):
    report = verify(prepared, fake.plan, silent)
    assert report.problems == ()
    assert report.files == count_files(prepared) - len(["MANIFEST.json", "identities.csv", "ATTRIBUTION.txt", *PARTS])
    assert why_not_ready(prepared, fake.plan) is None


def change_pixel(folder):
    path = next((folder / "pictures" / "design0").iterdir())
    Image.new("RGB", (16, 16), "red").save(path)
    return ["pictures/design0: a file was changed"]


def lose_query(folder):
    next((folder / "a" / "query").iterdir()).unlink()
    return ["a/query: "]


def add_stranger(folder):
    (folder / "c2" / "bounding_box_test" / "9999_c1s1_000000_00.png").write_bytes(b"")
    return ["c2/bounding_box_test: "]


def swap_identities(folder):
    first, second = sorted((folder / "b" / "bounding_box_train").iterdir())[:2]
    first.rename(folder / "x")
    second.rename(first)
    (folder / "x").rename(second)
    return ["b/bounding_box_train: a file was changed or renamed"]


def relabel(folder):
    path = folder / "closed" / "train_test_split.txt"
    path.write_text(path.read_text().replace("1 1\n", "1 0\n", 1))
    return ["closed/train_test_split.txt: a file was changed"]


def edit_part_manifest(folder):
    (folder / "a" / "MANIFEST.json").write_text("{")
    return ["a/MANIFEST.json: missing or different"]


def lose_part_manifest(folder):
    (folder / "b" / "MANIFEST.json").unlink()
    return ["b/MANIFEST.json: missing or different"]


def lose_table(folder):
    (folder / "identities.csv").unlink()
    return ["identities.csv: missing"]


def lose_folder(folder):
    for path in (folder / "c1" / "query").iterdir():
        path.unlink()
    (folder / "c1" / "query").rmdir()
    return ["c1/query: 0 files instead of"]


DAMAGES = [
    change_pixel,
    lose_query,
    add_stranger,
    swap_identities,
    relabel,
    edit_part_manifest,
    lose_part_manifest,
    lose_table,
    lose_folder,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_verify_finds_every_damage(fake, fresh, damage):
    expected = damage(fresh)
    problems = verify(fresh, fake.plan, silent).problems
    assert problems
    for start in expected:
        assert any(problem.startswith(start) for problem in problems), problems


@pytest.mark.parametrize("damage", [lose_query, add_stranger, lose_folder, lose_part_manifest])
def test_a_set_with_wrong_counts_is_made_again(fake, fresh, damage, caplog):
    damage(fresh)
    assert prepare(fake.plan, silent, source=None, image_size=16, workers=1) == fresh
    assert "preparing it again" in caplog.text
    assert verify(fresh, fake.plan, silent).problems == ()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"rule_version": 1}',
        '{"rule_version": 1, "sources": 1, "identities": 1, "tables": 1, "parts": 1}',
    ],
)
def test_a_broken_manifest_is_one_line_and_the_set_is_made_again(fake, fresh, content):
    (fresh / "MANIFEST.json").write_text(content)
    with pytest.raises(DataError, match="cannot be read"):
        verify(fresh, fake.plan, silent)
    prepare(fake.plan, silent, source=None, image_size=16, workers=1)
    assert verify(fresh, fake.plan, silent).problems == ()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"names_after_skin_tone_rule": 53}, "54 names after the skin-tone rule instead of 53"),
        ({"names_after_gender_rule": 53}, "50 names after the gender rule instead of 53"),
        ({"count": 53}, "48 names after the equal-raster rule instead of 53"),
        ({"sha256": "0" * 64}, "the 48 names have sha256 [0-9a-f]+ instead of 0+"),
        ({"test": 53}, r"\d+ test identities instead of 53"),
    ],
)
def test_other_identities_than_expected_stop_the_preparation(tmp_path, monkeypatch, changes, said):
    monkeypatch.setenv("VISION_SUITE_DATA", str(tmp_path / "cache"))
    fake = make_fake_set(tmp_path / "fake", **changes)
    with pytest.raises(DataError, match=said):
        prepare(fake.plan, silent, source=fake.archives, image_size=16, workers=1)
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == [".locks", "archives"]


@pytest.mark.parametrize(("stage", "workers"), [("fetching", 1), ("drawing", 1), ("drawing", 2), ("writing", 1)])
def test_an_interruption_leaves_nothing(fake, tmp_path, monkeypatch, stage, workers):
    monkeypatch.setenv("VISION_SUITE_DATA", str(tmp_path))

    def interrupt(now: str, done: int, total: int) -> None:
        if now == stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(fake.plan, interrupt, source=fake.archives, image_size=16, workers=workers)
    assert not [path for path in tmp_path.iterdir() if "emoji" in path.name]


CHILD = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from vision_suite.datasets.emoji.plan import load_plan
from vision_suite.datasets.emoji.recipe import EmojiReID
from vision_suite.datasets.prepare.base import Options

def progress(stage, done, total):
    print(stage, done, flush=True)
    while stage == sys.argv[4] and not Path(sys.argv[5]).exists():
        time.sleep(0.02)

if __name__ == "__main__":
    recipe, source, workers = EmojiReID(load_plan(Path(sys.argv[2]))), Path(sys.argv[3]), int(sys.argv[6])
    print(recipe.prepare(progress, Options(source, 16, workers)), flush=True)
"""


def child(tmp_path, fake, stop_at, workers=1):
    """A process that prepares the fake set and waits at a stage until tmp_path/go is there."""
    script = tmp_path / "child.py"
    script.write_text(textwrap.dedent(CHILD))
    plan = fake.archives.parent / "plan.yaml"
    command = [sys.executable, script, SUPPORT, plan, fake.archives, stop_at, tmp_path / "go", workers]
    environment = {**os.environ, "VISION_SUITE_DATA": str(tmp_path / "cache")}
    return subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True, env=environment)


def wait_for(process, stage):
    for line in process.stdout:
        if line.startswith(stage):
            return
    raise AssertionError(f"never came to {stage}")


@pytest.mark.dist
@pytest.mark.parametrize(("stage", "workers"), [("writing", 1), ("drawing", 2)])
def test_a_kill_in_the_middle_leaves_no_half_made_folder_and_the_next_start_succeeds(
    fake, tmp_path, monkeypatch, stage, workers
):
    process = child(tmp_path, fake, stage, workers)
    wait_for(process, stage)
    assert list((tmp_path / "cache").glob(".emoji-reid-16.part-*"))  # it was in the middle
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)  # returns only when the drawing processes are gone too: they hold the pipe
    assert not (tmp_path / "cache" / "emoji-reid-16").exists()
    monkeypatch.setenv("VISION_SUITE_DATA", str(tmp_path / "cache"))
    folder = prepare(fake.plan, silent, source=fake.archives, image_size=16, workers=1)
    assert verify(folder, fake.plan, silent).problems == ()
    assert not list((tmp_path / "cache").glob(".emoji*"))


@pytest.mark.dist
def test_two_processes_make_the_set_once(fake, tmp_path):
    first = child(tmp_path, fake, "writing")
    wait_for(first, "writing")
    second = child(tmp_path, fake, "nothing")
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(1.5)
    (tmp_path / "go").touch()
    outputs = [process.communicate(timeout=60)[0] for process in (first, second)]
    assert outputs[1].strip() == outputs[0].splitlines()[-1] == str(tmp_path / "cache" / "emoji-reid-16")


@pytest.mark.parametrize("size", [0, 15, 1025])
def test_sizes_out_of_range_are_refused(fake, size):
    with pytest.raises(ConfigError, match=f"image_size={size}: choose"):
        prepare(fake.plan, silent, source=None, image_size=size, workers=1)


def test_the_identity_rule_looks_at_64_pixels_whatever_is_written(tmp_path):
    drawing = Drawing("d", "n", '<circle cx="8" cy="8" r="6" fill="red"/>', 0, 0, 16, 16)
    small, large = (draw_all([drawing], tmp_path / str(size), size, 1, lambda *_: None)[0] for size in (64, 128))
    assert small.raster == large.raster == hashlib.sha256(np.asarray(rasterise(drawing, 64)).tobytes()).hexdigest()
    assert small.sha256 != large.sha256


def test_transparent_becomes_white_and_half_transparent_is_mixed_with_it():
    body = '<rect width="8" height="16" fill="#000" fill-opacity="0.5"/>'
    pixels = np.asarray(rasterise(Drawing("d", "n", body, 0, 0, 16, 16), 16))
    assert (pixels[:, 8:] == 255).all()
    assert (abs(pixels[:, :8].astype(int) - 127) <= 1).all()


@pytest.mark.parametrize(("width", "height"), [(16.0, 8.0), (8.0, 16.0)])
def test_a_drawing_that_is_not_square_is_letterboxed(width, height):
    pixels = np.asarray(
        rasterise(
            Drawing("d", "n", '<rect x="-99" y="-99" width="999" height="999" fill="#00f"/>', -1, 2, width, height), 64
        )
    )
    wide = pixels if width > height else pixels.transpose(1, 0, 2)
    assert (wide[:16] == 255).all()
    assert (wide[48:] == 255).all()
    assert (wide[16:48] == [0, 0, 255]).all()


def test_an_icon_overrides_the_box_of_its_set():
    table = {
        "width": 32,
        "height": 32,
        "top": 3,
        "icons": {"a": {"body": "x"}, "b": {"body": "y", "width": 8, "left": 1}},
    }
    a, b = drawings("d", table, ["a", "b", "missing"])
    assert (a.left, a.top, a.width, a.height) == (0, 3, 32, 32)
    assert (b.left, b.top, b.width, b.height) == (1, 3, 8, 32)


def test_bodies_may_use_xlink():
    body = '<defs><rect id="r" width="16" height="16" fill="#0f0"/></defs><use xlink:href="#r"/>'
    assert (np.asarray(rasterise(Drawing("d", "n", body, 0, 0, 16, 16), 16)) == [0, 255, 0]).all()


def test_markup_that_cannot_be_drawn_is_named():
    with pytest.raises(DataError, match="design: icon 'broken' cannot be rendered"):
        rasterise(Drawing("design", "broken", "<g>", 0, 0, 16, 16), 16)


@pytest.mark.long
def test_a_killed_drawing_process_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(emoji_draw, "_draw_chunk", end_at_once)
    drawing = Drawing("d", "n", "<g/>", 0, 0, 16, 16)
    with pytest.raises(DataError, match="a drawing process ended before its time"):
        draw_all([drawing], tmp_path, 16, 2, lambda *_: None)


def end_at_once(*_):
    """Runs in a drawing process."""
    os._exit(9)


def test_a_table_without_icons_is_refused():
    with pytest.raises(DataError, match="this is not an icon set"):
        drawings("d", {"prefix": "d"}, ["a"])


def test_the_digest_of_a_list_depends_on_names_and_bytes_only(tmp_path):
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "b").write_bytes(b"2")
    (tmp_path / "a").write_bytes(b"1")
    shas = {"a": hashlib.sha256(b"1").hexdigest(), "f/b": hashlib.sha256(b"2").hexdigest()}
    expected = hashlib.sha256(f"{shas['a']}  a\n{shas['f/b']}  f/b\n".encode()).hexdigest()
    assert digest_of_folder(tmp_path) == list_digest(shas) == {"files": 2, "sha256": expected}


def test_without_hard_links_files_are_copied_and_that_is_said_once(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "a").write_bytes(b"1")
    linker = Linker()
    for name in ("b", "c"):
        linker.link(tmp_path / "a", tmp_path / name)
        assert (tmp_path / name).read_bytes() == b"1"
    assert caplog.text.count("pictures are copied") == 1


def test_the_shipped_plan_pins_what_it_fetches():
    plan = load_plan()
    assert [design.key for design in plan.designs] == [
        "noto",
        "twemoji",
        "openmoji",
        "fluent-emoji-flat",
        "emojione",
        "noto-v1",
        "emojione-v1",
        "fxemoji",
    ]
    for origin in plan.origins:
        assert len(origin.archive.sha256) == 64
        assert origin.archive.version in origin.archive.file
        assert all(len(sha) == 64 for sha in origin.archive.members.values())
    assert plan.expected.train + plan.expected.val + plan.expected.test == plan.expected.count == 1396
    assert len(icon_sets()) == len(plan.designs)
