"""Messages from texts as the parser writes them; the whole way is tested in test_fit_and_friends.py."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision_suite.cli.trainer.messages import LONGEST, explain, refused_by_class

NONE = "  - Expected a <class 'NoneType'>"
UNION = "Does not validate against any of the Union subtypes"
TRIED = f"{UNION}\nSubtypes: [a, b]\nErrors:\n"


class Known:
    def flags(self):
        return ["trainer.max_epochs", "seed_everything", "ckpt_path"]

    def classes(self, key):
        return ["LitDCAL"] if key == "model" else []

    def parts(self, key):
        return ["dcal_reid_deit_s"] if key == "model" else []

    def settings(self, class_path):
        return ["width", "optim.lr"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "unrecognized arguments: --trainer.max_epoch=3",
            "unknown setting 'trainer.max_epoch': did you mean 'trainer.max",
        ),
        ("Group 'trainer' does not accept option 'max_epoch'", "unknown setting 'trainer.max_epoch'"),
        ("the following arguments are required: fit.data, fit.model", "nothing given for --model and --data: name a"),
        ("the following arguments are required: fit.data", "nothing given for --data: name a"),
        (
            "Parser key \"model\":\n - given class_path 'a.B':\n   Group 'optim' does not accept option 'lrr'",
            "--model.optim.lrr: B has no setting 'optim.lrr': did you mean 'optim.lr'?",
        ),
        (
            'Parser key "model":\n - given class_path \'a.B\':\n   Parser key "wings":\n'
            " - given class_path 'c.Settings':\n   Option 'foo' is not accepted",
            "--model.wings.foo: Settings has no setting 'foo'",
        ),
        (
            'Parser key "model":\n  - Expected a dot import path string: LitDCA\n',
            "--model LitDCA: no such class: did you",
        ),
        (
            'Parser key "model":\n  - Expected a dot import path string: dcal_reid\n',
            "--model dcal_reid: no such class or part",
        ),
        ("Subcommand 'fit' does not accept option 'trainer.max_epoch'", "unknown setting 'trainer.max_epoch': did you"),
        ("unrecognized arguments: trainer.max_epochs=3", "'trainer.max_epochs=3' stands without '--': write --trainer"),
        ("unrecognized arguments: x.yaml", "'x.yaml' belongs to no flag: name a configuration with -c x.yaml"),
        (
            'Parser key "data":\n  Parser key "image_size":\n  Expected a <class \'tuple\'>. Got value: (64, 64)',
            "--data.image_size (64, 64): expected tuple, written [64, 64]",
        ),
        ("Parser key \"config\": File does not exist: '/a/b.yaml'", "--config /a/b.yaml: no such file"),
    ],
)
def test_known_texts(text, line):
    assert explain(text, Known()).startswith(line)


def in_dict(error, given, whole):
    """A mistake in a dictionary of records, as the parser writes it."""
    return (
        f"Parser key \"data\":\n  {UNION}\n  Subtypes: [<class 'a.Base'>, <class 'NoneType'>]\n  Errors:\n"
        f"    - Problem with given class_path 'a.Data':\n        Parser key \"sources\":\n          {UNION}\n"
        f"          Subtypes: [dict[str, a.b.Source], <class 'NoneType'>]\n          Errors:\n            {error}\n"
        f"            - Expected a <class 'NoneType'>\n          Given value type: x\n          Given value: {given}\n"
        f"    - Expected a <class 'NoneType'>\n  Given value type: x\n  Given value: {whole}"
    )


UNKNOWN = "- Problem with given class_path 'a.b.Source':\n                Option 'foo' is not accepted"
NO_PATH = "- Expected a dot import path string: 3"
WRONG = (
    "- Problem with given class_path 'a.b.Source':\n                Parser key \"limit\":\n"
    "                  Expected a <class 'int'>. Got value: x"
)


@pytest.mark.parametrize(
    ("error", "rest", "line"),
    [
        (UNKNOWN, ".foo", "--data.sources.scenes.foo: Source has no setting 'foo'"),
        (WRONG, ".limit", "--data.sources.scenes.limit x: expected int"),
        (
            NO_PATH,
            "",
            "--data.sources.scenes 3: expected the settings of Source by name, each as --data.sources.scenes.",
        ),
    ],
)
def test_a_mistake_in_a_dictionary_of_records_names_the_record(error, rest, line):
    flag = [f"NestedArg(key='{start}scenes{rest}', val='3')" for start in ("", "sources.")]
    assert explain(in_dict(error, *flag), Known()).startswith(line)
    # A file gives them all: those before the refused one were read.
    given = "{'names': Namespace(class_path='a.b.Source', init_args=Namespace(foo=1)), 'scenes': {'foo': {'b': 1}}}"
    if rest:
        assert explain(in_dict(error, given, given), Known()).startswith(line)


def test_a_value_in_place_of_a_record_is_told_so():
    text = (
        f"Parser key \"model\":\n  {UNION}\n  Subtypes: [<class 'a.Base'>]\n    - Problem with given class_path 'a.B':"
        f'\n        Parser key "wings":\n\n          - Expected a path but 3 either not accessible or invalid\n'
        f"          - {UNION}\n          Subtypes: [<class 'c.Settings'>, <class 'NoneType'>]\n          Errors:\n"
        "            - Expected a dot import path string: 3\n"
    )
    assert explain(text, Known()).startswith("--model.wings 3: expected the settings of Settings by name")
    text = 'Parser key "model":\n  Parser key "optim":\n  Unable to load config \'3\'\n  - Parser key "optim": Unable'
    assert explain(text, Known()) == "--model.optim 3: no such file"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            f"{TRIED}  - wings.rank=0 must be a whole number\n{NONE}\nGiven value: x",
            "wings.rank=0 must be a whole number",
        ),
        (
            f"{TRIED}  - {UNION}\n    Subtypes: [c, d]\n    Errors:\n      - wings.rank=0 must\n"
            f"        be more\n    {NONE}\n    Given value: x\n{NONE}",
            "wings.rank=0 must be more",
        ),
        (
            f"{TRIED}  - Problem with given class_path 'a.B':\n    it needs the package c\n{NONE}",
            "it needs the package c",
        ),
        ("another text", None),
    ],
)
def test_the_reason_of_a_class_stands_alone(text, line):
    assert refused_by_class(text) == line


@given(st.text(min_size=1, max_size=600))
def test_an_unknown_text_is_one_short_line(text):
    line = explain(text, Known())
    assert "\n" not in line
    assert len(line) <= LONGEST + len(" ...")
    assert line.startswith(" ".join(text.split())[:20]) or "'" in text or ":" in text
