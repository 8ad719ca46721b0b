"""Tokenizers: loaded from a folder, a prepared set, a GGUF file or a hub, or made of the words of a text."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vision_suite.errors import ConfigError, DataError, MissingDependencyError, SuiteError
from vision_suite.network import cached_first
from vision_suite.prepared import language_folder
from vision_suite.types.instruct import Speaker

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

TemplateName = Literal["auto", "chatml", "plain"]
CHATML_SYSTEM = "You are a helpful assistant."
CHATML = (
    "{% if messages and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n" + CHATML_SYSTEM + "<|im_end|>\n' }}"
    "{% endif %}{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
PAD, UNKNOWN, START, END, IMAGE = "<|pad|>", "<|unk|>", "<|im_start|>", "<|im_end|>", "<image>"
SPEAKERS: tuple[Speaker, ...] = ("system", "user", "assistant")
# A word with its apostrophes, a line break, or a single sign. The expression means the same to Python and to Rust.
WORD = r"\w+(?:'\w+)*|\n|[^\w\s]"


def load_tokenizer(source: str | Path) -> PreTrainedTokenizerBase:
    """Tokenizer of a language model; no code of its folder is run.

    Args:
        source: Folder in transformers' layout, .gguf file, name of a prepared set, or a hub's ``owner/name``.

    Raises:
        DataError: There is no tokenizer, or its files are malformed.
        MissingDependencyError: The packages of the extra ``language`` are missing.
    """
    _require("transformers", "a language model's tokenizer")
    from transformers import AutoTokenizer

    place = language_folder(source)
    options: dict[str, Any] = {}
    if isinstance(place, Path) and place.is_file():
        if place.suffix != ".gguf":
            raise DataError(f"{place}: a tokenizer is read from a folder or a .gguf file, and this is neither")
        _require("gguf", "a tokenizer in a .gguf file")
        options["gguf_file"] = place.name
        place = place.parent

    def load(local: bool) -> PreTrainedTokenizerBase:
        rules = {"trust_remote_code": False, "local_files_only": local, **options}
        found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(str(place), **rules)
        return found

    try:
        tokenizer = load(True) if isinstance(place, Path) else cached_first(load, place)
    except SuiteError:
        raise
    except Exception as error:  # a broken file raises whatever its parser raises
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"tokenizer of {str(source)!r} cannot be loaded ({type(error).__name__}: {reason}): give a folder with "
            "tokenizer.json, a .gguf file, a prepared set, or a hub's owner/name that can be reached"
        ) from error
    if not isinstance(tokenizer, _base()):
        raise DataError(f"tokenizer of {str(source)!r} is a {type(tokenizer).__name__}, not one of transformers")
    if not tokenizer.get_vocab():
        raise DataError(f"tokenizer of {str(source)!r} has no tokens: copy it again")
    return tokenizer


def word_tokenizer(texts: Iterable[str], *, special: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """Tokenizer whose tokens are the lower-case words and the signs of texts, for decoders trained from scratch.

    It has ChatML's tokens and template, a picture's placeholder ``<image>``, a padding token and one for unknown words.
    Line breaks are tokens; other white space is not kept. Its ``save_pretrained(folder)`` writes a folder that
    `load_tokenizer` reads.

    Args:
        texts: Texts whose words make the vocabulary, the commonest first.
        special: Further special tokens.

    Raises:
        ConfigError: A special token is given twice.
        MissingDependencyError: The packages of the extra ``language`` are missing.

    Example:
        >>> tokenizer = word_tokenizer(["A dog."])
        >>> tokenizer.decode(tokenizer("A DOG.")["input_ids"])
        'a dog.'
    """
    _require("transformers", "a tokenizer of words")
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    specials = [PAD, UNKNOWN, START, END, IMAGE, *special]
    if twice := [token for token, count in Counter(specials).items() if count > 1]:
        raise ConfigError(f"special={list(special)}: {twice[0]!r} is a special token already, leave it out")
    counts = Counter(word for text in texts for word in words_of(text))
    # Words of the template itself are always known.
    own = dict.fromkeys(["\n", *SPEAKERS, *words_of(CHATML_SYSTEM)])
    ordered = [word for word, _ in sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])) if word not in own]
    vocabulary = {token: number for number, token in enumerate([*specials, *own, *ordered])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    backend.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in specials])
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(WORD), behavior="removed", invert=True)
    backend.decoder = decoders.WordPiece(prefix="##", cleanup=True)  # no blank before a sign
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend,
        pad_token=PAD,
        unk_token=UNKNOWN,
        eos_token=END,
        chat_template=CHATML,
        clean_up_tokenization_spaces=False,
    )


def words_of(text: str) -> list[str]:
    """Lower-case words and signs of a text, as `word_tokenizer` cuts it.

    Example:
        >>> words_of("It's a dog!")
        ["it's", 'a', 'dog', '!']
    """
    return re.findall(WORD, text.lower())


def refuse_halves(text: str) -> None:
    """Refuse half of a character (a lone surrogate), which no tokenizer takes.

    Raises:
        DataError: The text holds one.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"a text holds half of a character at {error.start}: take it out of the text") from None


def vocabulary_sha256(tokenizer: PreTrainedTokenizerBase) -> str:
    """Checksum of a tokenizer's tokens and their ids: data and networks with the same one understand each other."""
    entries = sorted((number, token) for token, number in tokenizer.get_vocab().items())
    return hashlib.sha256(json.dumps(entries, ensure_ascii=False).encode()).hexdigest()


def fingerprint(tokenizer: PreTrainedTokenizerBase, template: str) -> str:
    """Checksum of how a tokenizer cuts texts into ids, and of a chat template.

    Args:
        tokenizer: Tokenizer.
        template: Source of the template.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = "" if backend is None else backend.to_str()
    return hashlib.sha256(f"{vocabulary_sha256(tokenizer)}\0{rules}\0{template}".encode()).hexdigest()


def special_texts(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Texts of a tokenizer's special tokens, longest first."""
    known = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    known |= {str(token) for token in tokenizer.all_special_tokens}
    return sorted(known - {""}, key=lambda text: (-len(text), text))


def begin_text(tokenizer: PreTrainedTokenizerBase) -> str:
    """Text of the token that the tokenizer itself puts before every text; empty if there is none."""
    ids = tokenizer("a", verbose=False)["input_ids"]
    begins = tokenizer.bos_token_id is not None and ids[:1] == [tokenizer.bos_token_id]
    return str(tokenizer.bos_token) if begins else ""


def template_text(tokenizer: PreTrainedTokenizerBase, name: TemplateName) -> str | None:
    """Source of a template; None for ``plain``."""
    if name == "plain":
        if tokenizer.eos_token is None:
            raise ConfigError("template=plain needs a tokenizer with an end token (eos_token), and this one has none")
        return None
    own = tokenizer.chat_template
    if name == "auto" and own is not None:
        if isinstance(own, str):
            return own
        return str(tokenizer.get_chat_template())
    known = tokenizer.get_vocab()
    if START in known and END in known:
        return CHATML
    if name == "chatml":
        raise ConfigError(f"template=chatml needs a tokenizer with the tokens {START} and {END}: use template=auto")
    raise ConfigError(
        "template=auto: the tokenizer has no chat template: use template=plain, or the tokenizer of a tuned model"
    )


def _require(package: str, feature: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise MissingDependencyError(feature, package, extra="language")


def _base() -> type:
    from transformers import PreTrainedTokenizerBase

    return PreTrainedTokenizerBase
