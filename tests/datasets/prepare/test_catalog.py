import subprocess
import sys
from pathlib import Path

import pytest
from emoji_fixture import make_fake_set

from vision_suite.datasets.emoji import plan as emoji_plan
from vision_suite.datasets.prepare import catalog
from vision_suite.errors import ConfigError, DataError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VISION_SUITE_DATA", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """The generated archives in place of the real ones."""
    fake = make_fake_set(tmp_path / "fake")
    monkeypatch.setattr(emoji_plan, "load_plan", lambda: fake.plan)
    return fake


def test_listing_loads_nothing_heavy():
    code = "import sys; from vision_suite.datasets.prepare import catalog; catalog.entries(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "pytorch_lightning", "numpy", "PIL", "resvg_py", "yaml", "rich"} & set(loaded)


def test_preparing_loads_neither_torch_nor_lightning():
    code = "import sys; import vision_suite.datasets.emoji.build; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "pytorch_lightning", "torchvision"} & set(loaded)


def named(name):
    """The entry of a set."""
    (found,) = [entry for entry in catalog.entries() if entry.name == name]
    return found


def test_entries_tell_what_is_there(fake, cache):
    entry, onestop, watch = (named(name) for name in ("emoji-reid", "onestop-mini", "watch-tad"))
    assert (onestop.name, onestop.path, onestop.prepared) == ("onestop-mini", cache / "onestop-mini", False)
    assert (watch.name, watch.path, watch.prepared) == ("watch-tad", cache / "watch-tad", False)
    assert (entry.name, entry.path, entry.prepared) == ("emoji-reid", cache / "emoji-reid-64", False)
    folder = catalog.prepare("emoji-reid-32", source=fake.archives, workers=1, quiet=True)
    assert folder == cache / "emoji-reid-32"
    assert not named("emoji-reid").prepared
    small = named("emoji-reid-32")
    assert (small.path, small.prepared) == (folder, True)
    names = [entry.name for entry in catalog.entries()]
    assert names.index("emoji-reid-32") == names.index("emoji-reid") + 1


def test_each_variant_is_listed(cache):
    listed = {entry.name: entry.path for entry in catalog.entries() if entry.name.startswith("emoji-scenes")}
    assert listed == {name: cache / name for name in ("emoji-scenes", "emoji-scenes-closed", "emoji-scenes-closed-256")}


def test_prepare_then_verify_with_progress_on_the_error_stream(fake, capsys):
    folder = catalog.prepare("emoji-reid", source=fake.archives, image_size=16, workers=2)
    report = catalog.verify("emoji-reid", image_size=16)
    assert (report.path, report.problems) == (folder, ())
    written = capsys.readouterr()
    assert written.out == ""
    for stage in ("fetching", "drawing", "writing", "checking"):
        assert stage in written.err


def test_quiet_says_nothing(fake, capsys):
    catalog.prepare("emoji-reid", source=fake.archives, image_size=16, workers=1, quiet=True)
    catalog.verify("emoji-reid-16", quiet=True)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: catalog.prepare("emojis"), r"no set is called 'emojis': choose .*\bemoji-reid, .*watch-tad"),
        (lambda: catalog.prepare("emoji-reid-32", image_size=64), "emoji-reid-32 and image_size=64 disagree"),
        (lambda: catalog.prepare("emoji-reid", workers=0), "workers=0: give 1 or more"),
        (lambda: catalog.prepare("emoji-reid", image_size=7), "image_size=7: choose a size"),
        (lambda: catalog.verify("market"), "no set is called 'market'"),
        (lambda: catalog.prepare("watch-tad", image_size=64), "watch-tad has no pictures"),
        (lambda: catalog.prepare("onestop-mini", image_size=64), "onestop-mini has pictures of one size"),
        (
            lambda: catalog.prepare("onestop-mini", variant="closed"),
            "has no variant 'closed': it has none",
        ),
        (lambda: catalog.prepare("emoji-scenes", variant="shut"), "has no variant 'shut': choose open or"),
        (
            lambda: catalog.verify("emoji-scenes-closed", variant="open"),
            "closed and variant=open disagree",
        ),
    ],
)
def test_wrong_settings_are_one_line(call, said):
    with pytest.raises(ConfigError, match=said):
        call()


def test_a_cache_that_cannot_be_written_is_one_line(fake, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VISION_SUITE_DATA", str(tmp_path / "file" / "cache"))
    with pytest.raises(DataError, match=r"file/cache cannot be used \(Not a directory.*set VISION_SUITE_DATA"):
        catalog.prepare("emoji-reid", source=fake.archives, quiet=True)


def test_verifying_what_is_not_there_names_the_command():
    with pytest.raises(DataError, match=r"run `vision-suite data prepare emoji-reid`$"):
        catalog.verify("emoji-reid")
    with pytest.raises(DataError, match=r"run `vision-suite data prepare emoji-reid-128`$"):
        catalog.verify("emoji-reid", image_size=128)
    with pytest.raises(DataError, match=r"run `vision-suite data prepare emoji-scenes-closed`$"):
        catalog.verify("emoji-scenes", variant="closed")


@pytest.mark.parametrize(
    ("root", "command"),
    [
        ("emoji-reid-64/a", "vision-suite data prepare emoji-reid"),
        ("emoji-reid-128/fgvc", "vision-suite data prepare emoji-reid-128"),
        (str(Path("/cache") / "emoji-reid-64"), "vision-suite data prepare emoji-reid"),
        ("emoji-reid", "vision-suite data prepare emoji-reid"),
        ("watch-tad", "vision-suite data prepare watch-tad"),
        ("onestop-mini", "vision-suite data prepare onestop-mini"),
        ("emoji-scenes", "vision-suite data prepare emoji-scenes"),
        ("emoji-scenes-closed/scenes", "vision-suite data prepare emoji-scenes-closed"),
        ("emoji-scenes-closed-256", "vision-suite data prepare emoji-scenes-closed-256"),
        ("Market-1501", None),
    ],
)
def test_a_root_tells_the_command_that_prepares_it(root, command):
    assert catalog.prepare_command(root) == command
