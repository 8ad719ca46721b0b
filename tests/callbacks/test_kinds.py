"""Views and writers are found by the class of a report or of data, and nothing of another task is imported."""

import importlib
import subprocess
import sys
from abc import ABC, abstractmethod

import pytest

from vision_suite.callbacks.kinds import serving


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of modules as those of ``callbacks``, whose import is seen in ``sys.modules``."""
    room = tmp_path / "kinds_room"
    room.mkdir()
    (room / "__init__.py").write_text("")
    (room / "base.py").write_text("class Base: ...\n")
    head = "from kinds_room.base import Base\nfrom kinds_things import *\n"
    (room / "one.py").write_text(head + "class ServesApple(Base):\n    kind = Apple\n")
    (room / "two.py").write_text(head + "class ServesTwo(Base):\n    kind = Pear | Plum\n")
    (room / "broken.py").write_text("class ServesNail(Base):\n    kind = Nail\nraise ImportError('not asked for')\n")
    (tmp_path / "kinds_things.py").write_text(
        "class Fruit: ...\nclass Apple(Fruit): ...\nclass Boskoop(Apple): ...\nclass Pear(Fruit): ...\n"
        "class Plum(Fruit): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("kinds_room.base").Base, importlib.import_module("kinds_things")
    for name in [name for name in sys.modules if name.startswith("kinds_")]:
        del sys.modules[name]


def test_only_the_module_that_serves_is_imported(folder):
    base, things = folder
    assert serving(things.Pear(), base, "kinds_room").__name__ == "ServesTwo"
    assert serving(things.Plum(), base, "kinds_room").__name__ == "ServesTwo"
    assert "kinds_room.one" not in sys.modules
    assert "kinds_room.broken" not in sys.modules
    assert serving(things.Boskoop(), base, "kinds_room").__name__ == "ServesApple", "as for the class it inherits from"
    assert serving(things.Fruit(), base, "kinds_room") is None


def test_a_class_from_elsewhere_is_found_and_the_nearest_kind_wins(folder):
    base, things = folder

    class ServesBoskoop(base):
        kind = things.Boskoop

    class ServesFruit(base):
        kind = things.Fruit

    assert serving(things.Boskoop(), base, "kinds_room") is ServesBoskoop
    assert serving(things.Apple(), base, "kinds_room").__name__ == "ServesApple"
    assert serving(things.Fruit(), base, "kinds_room") is ServesFruit


def test_a_refined_class_replaces_the_one_it_refines_and_abstract_ones_do_not_count(folder):
    base, things = folder
    serving(things.Apple(), base, "kinds_room")

    class Unfinished(base, ABC):
        kind = things.Plum

        @abstractmethod
        def draw(self): ...

    class Refined(sys.modules["kinds_room.one"].ServesApple):
        pass

    assert serving(things.Apple(), base, "kinds_room") is Refined
    assert serving(things.Plum(), base, "kinds_room").__name__ == "ServesTwo"


@pytest.mark.long
def test_a_report_loads_the_view_of_its_own_task_only():
    code = """
import sys
from abc import ABC, abstractmethod
from vision_suite.callbacks.report.base import view_of
from vision_suite.types import ClassificationReport
print(type(view_of(ClassificationReport({}, {}, *[None] * 4))).__name__)
print(*[name for name in sys.modules if name.startswith("vision_suite.callbacks.report.")])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    view, modules = done.stdout.splitlines()
    assert view == "ClassificationView"
    folder = "vision_suite.callbacks.report"
    assert set(modules.split()) == {f"{folder}.base", f"{folder}.fgvc"}


def test_a_report_that_no_view_shows_is_refused():
    from vision_suite.callbacks.report.base import view_of
    from vision_suite.types import Report

    with pytest.raises(TypeError, match="no view shows a Report"):
        view_of(Report({}, {}))
