"""Recipes are found: those of this repository by scanning, those of other packages by their entry points."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from vision_suite.cli import main
from vision_suite.datasets.prepare import catalog
from vision_suite.datasets.prepare.base import Recipe
from vision_suite.datasets.prepare.recipes import recipes
from vision_suite.errors import ConfigError

OTHER = """
from vision_suite.datasets.prepare.base import Recipe

class Other(Recipe):
    name = "{name}"
    title = description = task = "other"
    {licence}

    def build(self, part, progress, options):
        part.mkdir()
        (part / "one.txt").write_text("1")
        progress("writing", 1, 1)
        self.seal(part, {{"counts": 1}})

    def attribution(self):
        return "nobody\\n"

RECIPE = Other()
"""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VISION_SUITE_DATA", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts a package with one recipe on the path, as an installer would."""
    monkeypatch.syspath_prepend(tmp_path / "site")

    def put(package, text, module="recipe"):
        folder = tmp_path / "site" / package
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("")
        (folder / "recipe.py").write_text(text)
        info = tmp_path / "site" / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[vision_suite.recipes]\nset = {package}.{module}\n")
        importlib.invalidate_caches()

    return put


def test_every_recipe_of_the_repository_says_what_the_listing_shows():
    found = recipes()
    files = [path for path in Path(catalog.__file__).parents[1].rglob("*recipe.py")]
    assert len(found) == len(files)
    for name, recipe in found.items():
        assert name == recipe.name
        assert isinstance(recipe, Recipe)
        assert all(isinstance(getattr(recipe, word), str) for word in ("title", "description", "task", "licence"))
        assert recipe.attribution().endswith("\n")


def test_no_recipe_loads_torch_or_numpy():
    code = "import sys; from vision_suite.datasets.prepare.recipes import recipes; recipes(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "pytorch_lightning", "numpy"} & set(loaded)


def test_a_package_brings_a_set_that_is_listed_prepared_and_verified(install, cache, capsys):
    install("brings_a_set", OTHER.format(name="other-set", licence="licence = 'CC0-1.0'"))
    assert main(["data", "list"]) == 0
    assert "prepare it: vision-suite data prepare other-set" in capsys.readouterr().out
    assert main(["data", "prepare", "other-set", "--quiet"]) == 0
    assert capsys.readouterr().out == f"other-set is ready: {cache / 'other-set'}\n"
    assert catalog.prepare_command("other-set/part") == "vision-suite data prepare other-set"
    assert main(["data", "verify", "other-set", "--quiet"]) == 0
    (cache / "other-set/one.txt").write_text("2")
    assert main(["data", "verify", "other-set", "--quiet"]) == 1
    assert "problem: one.txt: missing or changed" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="other-set has no pictures: leave image_size=8 out"):
        catalog.prepare("other-set", image_size=8)
    with pytest.raises(ConfigError, match=r"no set is called 'x': choose .*emoji-reid, .* or other-set$"):
        catalog.prepare("x")


@pytest.mark.parametrize(
    ("package", "text", "module", "reason"),
    [
        ("lacks_its_module", "", "nowhere", r"cannot be imported \(ModuleNotFoundError: No module named"),
        ("fails_to_load", "1 / 0", "recipe", r"cannot be imported \(ZeroDivisionError: division by zero\)"),
        ("has_no_recipe", "RECIPE = 3", "recipe", r"cannot be used \(its module has no RECIPE\)"),
        (
            "has_another_size",
            OTHER.format(name="sized", licence="licence = 'x'; default_size = 8; sizes = range(16, 33)"),
            "recipe",
            r"cannot be used \(its default_size 8 is not in its sizes\)",
        ),
        ("has_no_licence", OTHER.format(name="bare", licence=""), "recipe", r"cannot be used \(it has no licence\)"),
    ],
)
def test_a_broken_recipe_is_one_line_that_names_its_package(install, capsys, package, text, module, reason):
    install(package, text, module)
    assert main(["data", "list"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(rf"the recipe 'set' \({package}.{module}\) of {package} {reason}", error)
    assert error.endswith("fix or uninstall that package\n")


def test_an_entry_point_may_name_the_object_and_a_description_may_hold_braces(install, capsys):
    text = OTHER.format(name="named", licence="licence = 'CC0-1.0'; description = '{shapes}'")
    install("names_its_object", text, "recipe:RECIPE")
    assert "named" in recipes()
    assert main(["data", "list"]) == 0
    assert "named: {shapes}" in capsys.readouterr().out


def test_two_recipes_of_one_name_are_one_line(install):
    install("takes_a_name", OTHER.format(name="watch-tad", licence="licence = 'CC0-1.0'"))
    said = "two recipes are called 'watch-tad', those of .*watch_tad_recipe and of the package takes_a_name"
    with pytest.raises(ConfigError, match=said):
        recipes()


def test_the_doctor_names_a_broken_recipe(install):
    from vision_suite.cli.commands import doctor

    install("ails", "1 / 0")
    (finding,) = doctor.data_cache()
    assert finding.state == "problem"
    assert "of ails cannot be imported" in finding.text
    assert "reinstall vision-suite" not in finding.text
