"""Conversations become ids as each template renders them, and the right ids are supervised."""

import copy
import warnings
from functools import cache

import pytest
from chat_templates import SPECIALS, TEXT, bpe_tokenizer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vision_suite.errors import ConfigError, DataError
from vision_suite.text.chat import ChatFormat
from vision_suite.text.token_ids import Encoded
from vision_suite.text.tokenizers import load_tokenizer, word_tokenizer
from vision_suite.types.instruct import IGNORED, Message

# The shape of LLaVA writes another header before an answer than before an answered one, which is said.
pytestmark = pytest.mark.filterwarnings("ignore:chat template")
SHAPES = [*SPECIALS, "words"]
O4 = [
    Message("user", (0, "\nWhat?")),
    Message("assistant", ("Red",)),
    Message("user", ("Sure?",)),
    Message("assistant", ("Yes",)),
]


@cache
def tokenizer(shape):
    return word_tokenizer([TEXT]) if shape == "words" else bpe_tokenizer(shape)


@cache
def chat(shape, **settings):
    return ChatFormat(tokenizer(shape), image_tokens=5, **settings)


def supervised(form: ChatFormat, encoded: Encoded) -> list[list[str]]:
    """Supervised runs, each as its tokens."""
    runs: list[list[str]] = []
    before = IGNORED
    for label in encoded.labels:
        if label != IGNORED:
            if before == IGNORED:
                runs.append([])
            runs[-1].append(form.tokenizer.decode([label]))
        before = label
    return runs


def test_labels_of_the_oracle():
    """Oracle O4 of the method document: exactly these pieces, in ChatML with words as tokens."""
    form = chat("words")
    encoded = form.encode(O4)
    assert supervised(form, encoded) == [["red", "<|im_end|>", "\n"], ["yes", "<|im_end|>"]]
    assert encoded.image_of_token.count(0) == 5
    assert {label for label, image in zip(encoded.labels, encoded.image_of_token, strict=True) if image >= 0} == {
        IGNORED
    }


def test_text_of_the_oracle():
    form = ChatFormat(bpe_tokenizer("smollm"), image_tokens=1, template="chatml")
    place = form.tokenizer.convert_ids_to_tokens(form.image_token_id)
    assert form.tokenizer.decode(form.encode(O4).ids).replace(place, "<image>") == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<image>\nWhat?<|im_end|>\n"
        "<|im_start|>assistant\nRed<|im_end|>\n<|im_start|>user\nSure?<|im_end|>\n<|im_start|>assistant\nYes<|im_end|>"
    )
    assert form.tokenizer.decode(form.prompt(O4[:3]).ids).endswith("Sure?<|im_end|>\n<|im_start|>assistant\n")
    runs = ["".join(run) for run in supervised(form, form.encode(O4))]
    assert runs == ["Red<|im_end|>\n", "Yes<|im_end|>"]


@pytest.mark.parametrize(
    ("shape", "runs"),
    [
        ("smollm", ["Red<|im_end|>\n", "Yes<|im_end|>"]),
        ("llama3", ["Red<|eot_id|>", "Yes<|eot_id|>"]),
        ("mistral", ["Red </s>", "Yes </s>"]),
        ("qwen3", ["Red<|im_end|>\n", "Yes<|im_end|>"]),
        ("llava", ["Red<|im_end|>\n", "Yes<|im_end|>"]),
    ],
)
def test_supervised_runs_of_each_template(shape, runs):
    form = chat(shape)
    encoded = form.encode(O4)
    assert [form.tokenizer.decode([id for id in part]).strip(" ") for part in runs_of_ids(encoded)] == runs


def runs_of_ids(encoded: Encoded) -> list[list[int]]:
    runs: list[list[int]] = []
    before = IGNORED
    for label in encoded.labels:
        if label != IGNORED:
            runs = runs if before != IGNORED else [*runs, []]
            runs[-1].append(label)
        before = label
    return runs


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape != "llava"])
def test_ids_are_those_of_the_rendered_conversation(shape):
    """The tokenizer's own template and call, as transformers users run them, give the same ids."""
    form = ChatFormat(tokenizer(shape), image_tokens=1)
    place = form.tokenizer.convert_ids_to_tokens(form.image_token_id)
    turns = [
        {"role": turn.role, "content": "".join(place if part == 0 else part for part in turn.parts)} for turn in O4
    ]
    whole = form.tokenizer.apply_chat_template(turns, tokenize=False, enable_thinking=False)
    ids = form.tokenizer(whole, add_special_tokens=False)["input_ids"]
    encoded = form.encode(O4)
    assert encoded.ids == ids[: len(encoded.ids)]
    assert form.tokenizer.decode(ids[len(encoded.ids) :]).strip() == ""
    prompt = form.tokenizer.apply_chat_template(
        turns[:3], tokenize=False, add_generation_prompt=True, enable_thinking=False
    )
    assert form.prompt(O4[:3]).ids == form.tokenizer(prompt, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_an_answer_continues_its_prompt(shape, data):
    """For any texts: encode = prompt + answer, pictures keep their order, all three lists are equally long."""
    texts = st.text(alphabet="abRed .\n?12é", max_size=8)
    count = data.draw(st.integers(1, 3))
    pictures = iter(range(10))
    turns = []
    for _ in range(count):
        parts = data.draw(st.lists(st.one_of(texts, st.just(None)), min_size=1, max_size=3))
        turns.append(Message("user", tuple(next(pictures) if part is None else part for part in parts)))
        turns.append(Message("assistant", (data.draw(texts),)))
    form = chat(shape)
    encoded, prompt = form.encode(turns), form.prompt(turns[:-1])
    answer = form.answer(turns[-1].parts[0])
    assert encoded.ids == prompt.ids + answer
    assert encoded.labels[len(prompt.ids) :] == answer
    assert set(prompt.labels) == {IGNORED}
    assert len(encoded.ids) == len(encoded.labels) == len(encoded.image_of_token)
    shown = [image for image in encoded.image_of_token if image >= 0]
    assert shown == [number for number in range(next(pictures)) for _ in range(5)]
    ids = {id for id, image in zip(encoded.ids, encoded.image_of_token, strict=True) if image >= 0}
    assert ids <= {form.image_token_id}


@pytest.mark.parametrize("shape", SHAPES)
def test_sentences_continue_a_partial_answer(shape):
    """Prompt with context, then the next sentence, are the ids of the joined answer."""
    form = chat(shape)
    turns = [Message("user", ("What is shown?",))]
    first, second = "A dog.", " A cat."
    joined = form.prompt(turns).ids + form.answer(first + second)
    parts = form.prompt(turns, context=first).ids + form.answer(second, context=first)
    assert parts == joined
    assert form.prompt(turns, context=first).ids == form.prompt(turns).ids + form.answer(first, end_of_turn=False)


@pytest.mark.parametrize("shape", SHAPES)
def test_system_block(shape):
    turns = [Message("user", ("Sure?",)), Message("assistant", ("Yes",))]
    none = chat(shape, system="")
    own = chat(shape, system="Be brief.")
    text = none.tokenizer.decode(none.encode(turns).ids)
    assert "system" not in text
    assert "helpful" not in text
    assert none.tokenizer.decode(own.encode(turns).ids).lower().count("be brief.") == 1
    # A conversation's own system turn is kept by each of them.
    given = [Message("system", ("Be brief.",)), *turns]
    assert none.encode(given) == own.encode(given) == own.encode(turns) == chat(shape).encode(given)


def test_no_system_block_keeps_the_beginning_of_text():
    turns = [Message("user", ("Sure?",)), Message("assistant", ("Yes",))]
    for shape in ("llama3", "mistral"):
        ids = chat(shape, system="").encode(turns).ids
        assert ids == chat(shape).encode(turns).ids
        assert ids[0] == tokenizer(shape).bos_token_id
    ids = chat("smollm", system="").encode(turns).ids
    assert tokenizer("smollm").decode(ids) == "<|im_start|>user\nSure?<|im_end|>\n<|im_start|>assistant\nYes<|im_end|>"


def test_placeholders():
    assert tokenizer("smollm").convert_ids_to_tokens(chat("smollm").image_token_id) == "<repo_name>"
    assert tokenizer("llama3").convert_ids_to_tokens(chat("llama3").image_token_id) == "<|reserved_special_token_0|>"
    assert tokenizer("qwen3").convert_ids_to_tokens(chat("qwen3").image_token_id) == "<|image_pad|>"
    assert tokenizer("words").convert_ids_to_tokens(chat("words").image_token_id) == "<image>"
    # No token is free: a new one, behind the vocabulary of a copy.
    form = chat("mistral")
    assert form.image_token_id == len(tokenizer("mistral")) == form.vocabulary_size - 1
    assert "<image>" not in tokenizer("mistral").get_vocab()
    assert form.vocabulary_sha256 == ChatFormat(tokenizer("mistral")).vocabulary_sha256
    assert ChatFormat(tokenizer("mistral")).image_token_id == -1
    assert chat("smollm", image_token="<reponame>").image_token_id == 4 == chat("smollm", image_token=4).image_token_id


@pytest.mark.parametrize("shape", SHAPES)
def test_settings_make_the_same_format(shape):
    form = chat(shape, system="Be brief.")
    again = ChatFormat(tokenizer(shape), **form.settings)
    assert again.encode(O4) == form.encode(O4)
    assert again.settings == form.settings


def test_plain_template_has_pictures_and_answers_alone():
    form = ChatFormat(tokenizer("llama3"), image_tokens=2, template="plain")
    turns = [Message("user", ("Describe this.", 0)), Message("assistant", ("A dog.",))]
    encoded = form.encode(turns)
    place = "<|reserved_special_token_0|>"
    assert form.tokenizer.decode(encoded.ids) == f"{place}{place}A dog.<|eot_id|>"
    assert runs_of_ids(encoded) == [encoded.ids[2:]]
    assert encoded.ids == form.prompt(turns[:1]).ids + form.answer("A dog.")
    with pytest.raises(DataError, match="no picture"):
        form.encode([Message("user", ("Sure?",)), Message("assistant", ("Yes",))])


def test_plain_text_is_supervised_but_for_its_first_id():
    form = chat("smollm")
    encoded = form.plain("A dog.<|im_end|>")
    assert form.tokenizer.decode(encoded.ids) == "A dog.<|im_end|>"
    assert tokenizer("smollm").convert_tokens_to_ids("<|im_end|>") not in encoded.ids
    assert encoded.labels == [IGNORED, *encoded.ids[1:]]
    assert form.plain("") == Encoded([], [], [])


@pytest.mark.parametrize("shape", SHAPES)
def test_decode_gives_the_text_back(shape):
    form = chat(shape)
    text = "the sky is blue." if shape == "words" else "The sky is blue."
    assert form.decode(form.answer(text)).strip() == text
    assert form.decode([-1, *form.answer(text), form.image_token_id, 10**6]) == form.decode(form.answer(text))


def test_texts_with_special_tokens_are_refused():
    form = chat("smollm")
    for parts in (("a<|im_end|>b",), ("<repo_name>",), ("<|im_", "end|>")):
        with pytest.raises(DataError, match="special token"):
            form.encode([Message("user", parts), Message("assistant", ("Yes",))])
    with pytest.raises(DataError, match="special token"):
        form.answer("Yes<|im_end|>")


def test_what_does_not_fit_a_template_is_one_line():
    with pytest.raises(DataError, match=r"roles must alternate.*template=chatml") as caught:
        chat("mistral").encode([Message("assistant", ("Yes",)), Message("assistant", ("Yes",))])
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="user's turn"):
        chat("smollm").prompt(O4)
    with pytest.raises(DataError, match="image_tokens=0"):
        ChatFormat(tokenizer("smollm")).encode(O4)
    with pytest.raises(ConfigError, match="template=chatml needs"):
        ChatFormat(tokenizer("mistral"), template="chatml")
    with pytest.raises(ConfigError, match="no special token"):
        ChatFormat(tokenizer("smollm"), image_token="dog")
    with pytest.raises(ConfigError, match="no special token"):
        ChatFormat(tokenizer("smollm"), image_token=10**6)
    with pytest.raises(ConfigError, match="image_tokens"):
        ChatFormat(tokenizer("smollm"), image_tokens=-1)


def test_templates_that_no_answer_can_follow():
    broken = bpe_tokenizer("smollm")
    broken.chat_template = (
        "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\n' }}{% endfor %}"
    )
    with pytest.raises(ConfigError, match="no special token"):
        ChatFormat(broken)
    broken.chat_template = None
    assert ChatFormat(broken).encode(O4[2:]) == ChatFormat(broken, template="chatml").encode(O4[2:])
    other = bpe_tokenizer("mistral")
    other.chat_template = None
    with pytest.raises(ConfigError, match="no chat template"):
        ChatFormat(other)


def test_a_template_that_looks_at_contents_is_told_once():
    form = ChatFormat(tokenizer("qwen3"))
    turns = [Message("user", ("Sure?",)), Message("assistant", ("no</think>Yes",))]
    with pytest.warns(UserWarning, match="turn by turn"):
        encoded = form.encode(turns)
    assert encoded.ids == form.prompt(turns[:1]).ids + form.answer("no</think>Yes")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert form.encode(turns) == encoded


def test_a_template_with_another_header_for_answers_is_told():
    with pytest.warns(UserWarning, match="not the beginning of the answered conversation"):
        form = ChatFormat(bpe_tokenizer("llava"))
    text = form.tokenizer.decode(form.encode(O4[2:]).ids)
    assert text == "<|im_start|>user Sure?<|im_end|>\n<|im_start|>assistant\nYes<|im_end|>"


def test_fit_drops_the_oldest_exchanges():
    form = chat("words")
    turns = [Message("system", ("Be brief.",)), *O4]
    whole = len(form.encode(turns).ids)
    assert form.fit(turns, whole) == (turns, 0)
    kept = form.fit(turns, whole - 1)
    assert kept == ([turns[0], *O4[2:]], 2)
    short = len(form.encode(kept[0]).ids)
    assert form.fit(turns, short) == kept
    assert form.fit(turns, short - 1) is None
    assert form.fit(O4[:3], len(form.prompt(O4[:3]).ids)) == (O4[:3], 0)
    assert form.fit([], 10) is None


def test_preview_shows_what_is_supervised():
    form = chat("words", system="")
    assert form.preview(form.encode(O4)) == (
        r"<|im_start|>|user|\n|<picture 0 x5>|\n|what|?|<|im_end|>|\n|<|im_start|>|assistant|\n|[[red|<|im_end|>|\n]]"
        r"<|im_start|>|user|\n|sure|?|<|im_end|>|\n|<|im_start|>|assistant|\n|[[yes|<|im_end|>]]"
    )
    twice = [Message("user", (0, 0, 1)), Message("assistant", ("Yes",))]
    assert form.preview(form.encode(twice)).count("<picture 0 x5>|<picture 0 x5>|<picture 1 x5>") == 1


def test_a_saved_tokenizer_makes_the_same_format(tmp_path):
    form = chat("words")
    form.tokenizer.save_pretrained(tmp_path)
    again = ChatFormat.load(tmp_path, image_tokens=5)
    assert again.encode(O4) == form.encode(O4)
    assert again.vocabulary_sha256 == form.vocabulary_sha256
    assert type(load_tokenizer(tmp_path)).__name__


def test_fit_of_many_turns_halves_the_turns():
    form = ChatFormat(tokenizer("words"), system="")
    turns = [message for n in range(400) for message in (Message("user", (f"{n} a",)), Message("assistant", ("b",)))]
    calls = []
    form.encode = lambda kept: calls.append(len(kept)) or ChatFormat.encode(form, kept)
    length = len(form.encode(turns[-20:]).ids)
    assert form.fit(turns, length) == (turns[-20:], 780)
    assert form.fit(turns, length - 1) == (turns[-18:], 782)
    assert len(calls) < 30


def test_templates_that_fail_are_one_line():
    for source in ("{{ 1 / 0 }}", "{% for i in range(10 ** 12) %}x{% endfor %}", "{{ [][3].x }}", "{{"):
        broken = copy.deepcopy(tokenizer("words"))
        broken.chat_template = source
        with pytest.raises(ConfigError) as caught:
            ChatFormat(broken)
        assert "\n" not in str(caught.value)


def test_a_fingerprint_tells_templates_apart():
    one, same = chat("words"), chat("words")
    other = copy.deepcopy(tokenizer("words"))
    other.chat_template = other.chat_template.replace("user", "person") + " "
    assert one.fingerprint() == same.fingerprint() != ChatFormat(other).fingerprint()
    assert one.vocabulary_sha256 == ChatFormat(other).vocabulary_sha256


def test_half_of_a_character_is_refused():
    form = chat("words")
    for call in (form.plain, form.answer, lambda text: form.prompt([Message("user", (text,))])):
        with pytest.raises(DataError, match="half of a character at 2"):
            call("a \ud83e")
