"""Sentences by rules, against texts that were cut by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision_suite.text.sentences import ends_sentence, sentence_ends, split_sentences

BY_HAND = [
    ["A little black cat sits on a chair next to a table.", "It sleeps."],
    ["The sky is blue and calm."],
    ["Mr. Smith and Dr. J. R. Jones paid 3.5 dollars.", "They left at 5 p.m. for St. Ives."],
    ["Is it red?", "No.", "Look!", "It is blue."],
    ['"Stop!" he said.', '"Why?"', "Nobody knew (not even she).", "(It was late.)"],
    ["Fruit, e.g. apples, i.e. food, etc. is here.", "See Fig. 3 and No. 7."],
    ["It costs 12.", "5 dogs bark.", "Well... it rains.", "Really?!", "Yes…"],
    ["The U.S. Army is in the U.K. and J.R.R. Tolkien is not.", "I am.", "So was I.", "You too."],
    ["这是一只狗。", "那是猫！", "Yes."],  # noqa: RUF001
    ["No mark at the end"],
    ["The train leaves at 9 a.m.", "It is on time."],
]


@pytest.mark.parametrize("sentences", BY_HAND, ids=lambda sentences: sentences[0][:20])
def test_texts_cut_by_hand(sentences):
    for blank in (" ", "  ", "\n"):
        assert split_sentences(blank.join(sentences)) == sentences


def test_lists_are_cut_by_line():
    text = "There are:\n- a dog\n- a cat.\n\n1. First item\n2. Second. It is new.\n"
    assert split_sentences(text) == (["There are:", "- a dog", "- a cat.", "1. First item", "2. Second.", "It is new."])


@pytest.mark.parametrize(
    ("text", "following", "ends"),
    [
        ("A dog runs.", "", True),
        ("A dog runs. ", "", True),
        ("A dog runs.", " A cat", True),
        ("A dog runs.", " and", False),
        ("It costs 3.", "", True),
        ("It costs 3.", "5", False),
        ("It is by Mr.", "", False),
        ("It is by J.", " Smith", False),
        ("A dog", "", False),
        ("A dog", "\nA cat", True),
        ("Really?", " it is", True),
        ("", "", False),
    ],
)
def test_where_a_written_text_may_be_cut(text, following, ends):
    assert ends_sentence(text, following) is ends


@given(st.text(alphabet="Aab .!?\n\"')3é。", max_size=60))
def test_nothing_is_lost(text):
    """Sentences hold every character but white space, in order; their ends rise and lie behind a character."""
    assert "".join("".join(split_sentences(text)).split()) == "".join(text.split())
    ends = sentence_ends(text)
    assert ends == sorted(set(ends))
    assert all(0 < end <= len(text) and not text[end - 1].isspace() for end in ends)


@given(st.lists(st.sampled_from([sentence for text in BY_HAND[:4] for sentence in text]), max_size=6))
def test_joined_sentences_come_apart_again(sentences):
    assert split_sentences(" ".join(sentences)) == sentences
