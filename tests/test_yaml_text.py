"""YAML within bounds, against PyYAML's own safe loader and a hand-made count."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from vision_suite.errors import ConfigError
from vision_suite.yaml_text import DEEPEST, LARGEST, MOST, load_yaml, read_yaml

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\nb: 2\na: 3\n", "f.yaml:3: a is given twice (first in line 1)"),
        ("t:\n  x: {k: 1,\n   k: 2}\n", "f.yaml:3: t.x.k is given twice (first in line 2)"),
        ("trainer: {max_epochs: 1}\ntrainer.max_epochs: 2\n", "f.yaml:2: trainer.max_epochs is given twice"),
        ("model:\n  init_args: {width: 1}\n  width: 2\n", "f.yaml:3: model.width is given twice"),
        ("data:\n  init_args:\n    root: None\n", "f.yaml:3: data.root=None: write null"),
        ("x: [1, None]", "f.yaml:1: x[1]=None: write null"),
        (BOMB, f"more than {MOST:,} values"),
        ("a: &a [*a]\n", "f.yaml:1: *a holds itself"),
        ("- " * 5000, f"f.yaml:1: more than {DEEPEST} levels deep"),
        ("[" * 100_000, f"f.yaml:1: more than {DEEPEST} levels deep"),
        ("a: !!python/object/apply:os.system [touch was-run]", "f.yaml:1: the tag !!python/object/apply:os.system"),
        ("a:\n\tb: 1\n", "f.yaml:2: not YAML (a tab indents the line"),
        ("a: 1\n---\nb: 2\n", "f.yaml:2: a second document"),
        ("a: [1, 2\nb: 3\n", "f.yaml:2: not YAML"),
        ("a: " + "1" * 5000, "f.yaml: not YAML"),
        ("? [a, b]\n: c\n", "f.yaml:1: a key is a list or a mapping"),
        ("a" * (LARGEST + 1), f"f.yaml: larger than {LARGEST:,} bytes"),
    ],
)
def test_a_text_is_refused_with_its_line(text, line):
    with pytest.raises(ConfigError) as caught:
        load_yaml(text, "f.yaml")
    assert str(caught.value).startswith(line) or line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_null_quotes_merges_and_numbers_stay_what_they_are():
    text = "a: null\nb: ~\nc: 'None'\nd: &d {x: 1, y: 2}\ne:\n  <<: *d\n  x: 3\nf: 1e-3\ng: 2020-01-01\nh: !!str 5\n"
    assert load_yaml(text, "f") == {
        "a": None, "b": None, "c": "None", "d": {"x": 1, "y": 2}, "e": {"x": 3, "y": 2}, "f": 0.001, "g": "2020-01-01",
        "h": "5",
    }  # fmt: skip


# No digits, as this suite reads 0E0 as a number and PyYAML's writer gives it no quotes; no control characters, of which
# that writer changes some.
LETTERS = st.characters(categories=["L", "P", "S", "Zs"])
# Without a dot: 'a.b' beside a mapping 'a' with the key 'b' is one setting in two spellings.
NAMES = st.text(LETTERS, min_size=1, max_size=8).filter(
    lambda name: "." not in name and name not in ("init_args", "dict_kwargs")
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(LETTERS).filter(lambda text: text != "None"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=20,
)


@given(plain)
def test_what_a_safe_dumper_writes_is_read_back(value):
    text = yaml.safe_dump(value, allow_unicode=True)
    assert load_yaml(text, "f") == value


@given(st.text(max_size=200))
def test_any_text_is_refused_or_read_by_a_safe_loader_too(text):
    try:
        load_yaml(text, "f")
    except ConfigError:
        return
    yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def test_files_name_themselves(tmp_path):
    file = Path(tmp_path / "x.yaml")
    file.write_bytes(b"a: 1\nb: \xff\xfe\n")
    with pytest.raises(ConfigError, match=r"x\.yaml:2: not UTF-8"):
        read_yaml(file)
    file.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_yaml(file) == {"a": 1}
    file.write_text("optim: {lr: None}")
    with pytest.raises(ConfigError, match=r"x\.yaml:1: model\.optim\.lr=None"):
        read_yaml(file, "model")
    file.write_text("#" * (LARGEST + 1))
    with pytest.raises(ConfigError, match="larger than"):
        read_yaml(file)
