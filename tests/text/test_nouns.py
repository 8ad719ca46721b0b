"""WordNet's nouns read back from the prepared set: classes, lemmas as NLTK gives them, which words name things."""

import pytest

from vision_suite.errors import DataError
from vision_suite.prepared import find_folder
from vision_suite.text.coco import coco_groups
from vision_suite.text.nouns import NounTable


def written(folder, nouns="vase\tartifact\nvas\tbody\nman\tperson\nmen\tgroup\njoy\tfeeling\n", plurals="men\tman\n"):
    folder.mkdir(exist_ok=True)
    (folder / "nouns.tsv").write_text(nouns)
    (folder / "plurals.tsv").write_text(plurals)
    return folder


def test_lemmas_are_those_of_nltk(tmp_path):
    """The cases of WordNet's lemmatiser in NLTK 3.10: of several nouns the shortest, of equally long ones the first."""
    table = NounTable.load(written(tmp_path / "set"))
    words = ["vases", "vase", "men", "man", "smartphones", "joys", "geese"]
    assert [table.lemma(word) for word in words] == ["vas", "vase", "men", "man", "smartphones", "joy", "geese"]


def test_a_phrase_names_a_thing_if_one_of_its_words_does(tmp_path):
    table = NounTable.load(written(tmp_path / "set"))
    assert table.concrete("Vases")
    assert table.concrete("joy vase")
    assert not table.concrete("joys")
    assert not table.concrete("smartphone"), "unknown words are left out"


@pytest.mark.parametrize("nouns", ["vase artifact\n", "vase\tartifact\t1\n", "vase\t\n"])
def test_a_damaged_table_is_one_line(tmp_path, nouns):
    with pytest.raises(DataError, match=r"nouns.tsv, line 1: .*data prepare wordnet"):
        NounTable.load(written(tmp_path / "set", nouns))


def test_a_missing_set_names_the_command(tmp_path):
    with pytest.raises(DataError, match=r"'nowhere-to-be-found' is no folder .*data prepare wordnet"):
        NounTable.load("nowhere-to-be-found")
    with pytest.raises(DataError, match=r"nouns.tsv cannot be read"):
        NounTable.load(tmp_path)


@pytest.mark.skipif(find_folder("wordnet") is None, reason="the set wordnet is not prepared")
def test_first_senses_of_the_prepared_set_keep_and_drop_the_published_words():
    """SENTINEL's filter rejects things that a picture shows, so a list of known things must go first."""
    table = NounTable.load()
    assert len(table.classes) == 117_798
    names = [group[0] for group in coco_groups()]
    assert {name for name in names if not table.concrete(name)} == {
        "book", "tv", "stop sign", "parking meter", "tennis racket",
    }  # fmt: skip
    single = [word for group in coco_groups() for word in group if " " not in word]
    assert len(single) == 377
    assert sum(not table.concrete(word) for word in single) == 36
    rejected = "field park area city sign shadow scene background".split()
    kept = "group person people couple row light hand face".split()
    assert not any(table.concrete(word) for word in rejected)
    assert all(table.concrete(word) for word in kept)
    assert [table.lemma(word) for word in ("men", "vases", "glasses", "leaves")] == ["men", "vas", "glass", "leaf"]
