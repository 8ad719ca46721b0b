"""Tokenizers are loaded without running code, and words become tokens."""

import json
from contextlib import suppress

import pytest
from chat_templates import TEXT, bpe_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_suite.errors import ConfigError, DataError
from vision_suite.text.tokenizers import load_tokenizer, vocabulary_sha256, word_tokenizer, words_of

WORDS = word_tokenizer([TEXT, "It's a dog's ball!\nNew line; the dog, the cat?"], special=("<|extra|>",))


@pytest.mark.parametrize("tokenizer", [WORDS, bpe_tokenizer("smollm")], ids=["words", "bpe"])
def test_a_saved_tokenizer_loads_as_it_was(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    again = load_tokenizer(tmp_path)
    assert again.get_vocab() == tokenizer.get_vocab()
    assert again.chat_template == tokenizer.chat_template
    assert vocabulary_sha256(again) == vocabulary_sha256(tokenizer)
    for text in (TEXT, "A dog\n\nit's  12 <|im_end|> x"):
        assert again(text)["input_ids"] == tokenizer(text)["input_ids"]
        assert again.decode(again(text)["input_ids"]) == tokenizer.decode(tokenizer(text)["input_ids"])


def test_vocabularies_are_told_apart():
    assert vocabulary_sha256(WORDS) != vocabulary_sha256(word_tokenizer([TEXT]))
    assert vocabulary_sha256(word_tokenizer([TEXT])) == vocabulary_sha256(word_tokenizer([TEXT]))
    # The same words in another order of ids are another vocabulary.
    assert vocabulary_sha256(word_tokenizer(["b b zz"])) != vocabulary_sha256(word_tokenizer(["b zz zz"]))


def test_words_signs_and_line_breaks_are_tokens():
    ids = WORDS("It's THE dog,\n<|im_end|>  the unheard-of ball?")["input_ids"]
    assert WORDS.convert_ids_to_tokens(ids) == (
        ["it's", "the", "dog", ",", "\n", "<|im_end|>", "the", "<|unk|>", "<|unk|>", "<|unk|>", "ball", "?"]
    )
    assert WORDS.convert_tokens_to_ids(
        ["<|pad|>", "<|unk|>", "<|im_start|>", "<|im_end|>", "<image>", "<|extra|>"]
    ) == (list(range(6)))
    assert (WORDS.pad_token_id, WORDS.unk_token_id, WORDS.eos_token_id) == (0, 1, 3)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(["the", "dog", "Cat", "it's", ",", ".", "!", "?", "ball"]), max_size=8))
def test_words_come_back(words):
    """Decoded text is cut into the same words, and its ids are the same."""
    ids = WORDS(" ".join(words))["input_ids"]
    text = WORDS.decode(ids)
    assert words_of(text) == [word.lower() for word in words]
    assert WORDS(text)["input_ids"] == ids
    assert " ." not in text


def test_common_words_come_first():
    tokenizer = word_tokenizer(["dog cat dog", "ant cat dog"])
    known = tokenizer.get_vocab()
    assert known["dog"] < known["cat"] < known["ant"] == len(tokenizer) - 1


def test_special_tokens_are_given_once():
    with pytest.raises(ConfigError, match="<image>"):
        word_tokenizer([], special=("<image>",))


def test_what_is_no_tokenizer_is_one_line(tmp_path):
    with pytest.raises(DataError, match="no folder and no prepared set"):
        load_tokenizer("nowhere-at-all")
    (tmp_path / "words.txt").write_text("dog")
    with pytest.raises(DataError, match=r"words.txt.*neither"):
        load_tokenizer(tmp_path / "words.txt")
    (tmp_path / "tokenizer.json").write_text("{broken")
    with pytest.raises(DataError, match="cannot be loaded") as caught:
        load_tokenizer(tmp_path)
    assert "\n" not in str(caught.value)


def test_no_code_of_a_folder_is_run(tmp_path):
    """A folder may name a class in its own Python files; they are left alone."""
    WORDS.save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    settings["auto_map"] = {"AutoTokenizer": ["own.Own", "own.Own"]}
    settings["tokenizer_class"] = "Own"
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    (tmp_path / "own.py").write_text(
        f"from pathlib import Path\nPath({str(tmp_path / 'run')!r}).touch()\nclass Own: pass\n"
    )
    with suppress(DataError):
        load_tokenizer(tmp_path)
    assert not (tmp_path / "run").exists()
