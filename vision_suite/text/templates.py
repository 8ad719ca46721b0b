"""Chat templates as skeletons: the fixed text around the turns, found once for each order of speakers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from vision_suite.errors import ConfigError, DataError
from vision_suite.text.tokenizers import TemplateName, begin_text, special_texts, template_text
from vision_suite.types.instruct import Speaker

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Marks that no text holds. The wide blanks tell whether a template strips a turn.
BLANK, OPEN, CLOSE = "\u2003", "\ue000", "\ue001"
MARK = re.compile(f"({BLANK}?){OPEN}(\\d+){CLOSE}({BLANK}?)")
# Settings of templates: no thinking, and a fixed date, so that ids do not depend on the day (Llama 3.1's own default).
SETTINGS: dict[str, Any] = {"enable_thinking": False, "date_string": "26 Jul 2024"}


class Slot(NamedTuple):
    """Place of a turn's content in a rendered conversation.

    Attributes:
        turn: Number of the turn.
        left: The content's leading white space is kept.
        right: The content's trailing white space is kept.
        text: The content's texts are rendered; otherwise its pictures only.
    """

    turn: int
    left: bool = True
    right: bool = True
    text: bool = True


Part = str | Slot


@dataclass(frozen=True)
class Turn:
    """Fixed texts around an assistant's turn.

    Attributes:
        header: Text between the user's content and the point where the assistant begins to write.
        lead: Text that the template puts before the assistant's content; the assistant has to write it.
        left: Leading white space of the assistant's content is kept.
        right: Its trailing white space is kept.
        end: Text that ends the turn, up to and with its special token.
        tail: Text that follows the end before another turn.
    """

    header: str
    lead: str
    left: bool
    right: bool
    end: str
    tail: str


class Segment(NamedTuple):
    """A run of text of a rendered conversation.

    Attributes:
        text: Text, with placeholders of pictures.
        before: Text that stands before it wherever it is used, which decides how its beginning is cut into tokens.
        supervised: The assistant has to write it.
    """

    text: str
    before: str
    supervised: bool


class Template:
    """Chat template of a tokenizer, its fixed texts taken apart.

    Args:
        tokenizer: Tokenizer.
        name: ``auto`` for the tokenizer's own template (ChatML if it has none but ChatML's tokens), ``chatml``, or
            ``plain``: pictures and the assistant's texts alone, without users' words, as LLaVA aligns its projector.
        block: False leaves out the system block that a template begins with when there is no system turn.

    Attributes:
        turn: Fixed texts around an assistant's turn.
        note: Why an assistant's turn cannot be rendered as the template renders whole conversations; empty if it can.

    Raises:
        ConfigError: The tokenizer has no such template, or the template never ends an assistant's turn.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, name: TemplateName = "auto", *, block: bool = True) -> None:
        self._tokenizer = tokenizer
        self.source = template_text(tokenizer, name)
        self._as_list = False
        self._known: dict[tuple[tuple[Speaker, ...], bool], tuple[Part, ...]] = {}
        self._block = True
        self.note = ""
        if self.source is not None:
            self._choose_content()
        self.turn = self._find_turn()
        self._opening = "" if block or self.source is None else self._find_opening()
        self._block = block
        self._known.clear()

    def skeleton(self, roles: Sequence[Speaker], *, generation: bool) -> tuple[Part, ...]:
        """Fixed texts and slots of a conversation, in the order in which they are rendered.

        Args:
            roles: Speakers of the turns.
            generation: The assistant is to write next.

        Raises:
            DataError: The template does not accept this order of speakers.
        """
        key = (tuple(roles), generation)
        if key not in self._known:
            found = self._plain(key[0]) if self.source is None else self._marked(key[0], generation)
            self._known[key] = found if self._block or "system" in roles else self._without_block(found)
        return self._known[key]

    def segments(
        self, roles: Sequence[Speaker], contents: Sequence[tuple[str, str]], *, generation: bool
    ) -> list[Segment]:
        """A rendered conversation as runs of text, the assistant's turns apart from the rest.

        Args:
            roles: Speakers of the turns.
            contents: Content of each turn with placeholders, and its placeholders alone.
            generation: The assistant is to write next.
        """
        close = self.turn.end + self.turn.tail
        found: list[Segment] = []
        waiting, answer = "", False  # text that no run has yet, and whether it is the assistant's

        def end_run(text: str, supervised: bool) -> None:
            if text:
                before = self.turn.header if supervised else close
                found.append(Segment(text, before if found else "", supervised))

        for part in self.skeleton(roles, generation=generation):
            if isinstance(part, str):
                if answer:
                    shared = next(end for end in (close, self.turn.end, "") if part.startswith(end))
                    end_run(waiting + shared, True)
                    waiting, answer, part = "", False, part[len(shared) :]
                waiting += part
                continue
            if roles[part.turn] == "assistant":
                lead = self.turn.lead if waiting.endswith(self.turn.lead) else ""
                end_run(waiting[: len(waiting) - len(lead)], False)
                waiting, answer = lead, True
            waiting += stripped(contents[part.turn][0 if part.text else 1], part.left, part.right)
        end_run(waiting, answer)
        return found

    def rendered(self, turns: Sequence[tuple[Speaker, str]]) -> str | None:
        """A conversation as the tokenizer renders it; None where the skeleton differs on purpose."""
        if self.source is None or not (self._block or any(role == "system" for role, _ in turns)):
            return None
        return self._render(turns, generation=False)

    def _render(self, turns: Sequence[tuple[Speaker, str]], *, generation: bool) -> str:
        conversation: list[Mapping[str, object]] = [
            {"role": role, "content": [{"type": "text", "text": text}] if self._as_list else text}
            for role, text in turns
        ]
        try:
            return str(
                self._tokenizer.apply_chat_template(
                    conversation,  # type: ignore[arg-type]
                    chat_template=self.source,
                    tokenize=False,
                    add_generation_prompt=generation,
                    **SETTINGS,
                )
            )
        except Exception as error:  # a template is a program of its tokenizer and fails in any way
            reason = " ".join(str(error).split())[:160]
            raise DataError(
                f"the chat template does not accept turns of {', '.join(role for role, _ in turns)} ({reason}): mend "
                "the order of the turns, or use template=chatml"
            ) from error

    def _marked(self, roles: tuple[Speaker, ...], generation: bool) -> tuple[Part, ...]:
        """The skeleton of the tokenizer's template, from a rendering with marks in place of contents."""
        marks = [(role, f"{BLANK}{OPEN}{number}{CLOSE}{BLANK}") for number, role in enumerate(roles)]
        text = self._render(marks, generation=generation)
        parts: list[Part] = []
        end = 0
        for found in MARK.finditer(text):
            parts += [text[end : found.start()], Slot(int(found[2]), bool(found[1]), bool(found[3]))]
            end = found.end()
        parts.append(text[end:])
        turns = sorted(part.turn for part in parts if isinstance(part, Slot))
        if turns != list(range(len(roles))):
            odd = next(number for number in range(len(roles)) if turns.count(number) != 1)
            raise DataError(
                f"the chat template shows turn {odd} ({roles[odd]}) {turns.count(odd)} times instead of once: leave "
                "such turns out, or use template=chatml"
            )
        return tuple(parts)

    def _plain(self, roles: tuple[Speaker, ...]) -> tuple[Part, ...]:
        """Pictures of users and texts of the assistant, nothing else but the ends."""
        parts: list[Part] = [begin_text(self._tokenizer)]
        for number, role in enumerate(roles):
            if role == "assistant":
                parts += [Slot(number), str(self._tokenizer.eos_token)]
            else:
                parts += [Slot(number, text=False), ""]
        return tuple(parts)

    def _choose_content(self) -> None:
        """Find out whether contents are strings or lists of parts; templates of vision-language models want lists."""
        try:
            self._marked(("user",), True)
        except DataError as error:
            self._as_list = True
            try:
                self._marked(("user",), True)
            except DataError:
                raise ConfigError(f"{error} (seen with a single user's turn)") from error

    def _find_turn(self) -> Turn:
        whole = self.skeleton(("user", "assistant"), generation=False)
        prompt = self.skeleton(("user",), generation=True)
        slots = [part for part in whole if isinstance(part, Slot)]
        between, close, header = str(whole[2]), str(whole[4]), str(prompt[2])
        if between.startswith(header):
            lead = between[len(header) :]
        else:
            lead = ""
            self.note = "its prompt for an answer is not the beginning of the answered conversation"
        found = re.search("|".join(map(re.escape, special_texts(self._tokenizer))) or "(?!)", close)
        if found is None:
            raise ConfigError(
                "the chat template ends an assistant's turn with no special token, so that no answer would end: use "
                "template=chatml, or a tokenizer whose template ends turns"
            )
        end = close[: found.end()]
        return Turn(header, lead, slots[1].left, slots[1].right, end, close[len(end) :])

    def _find_opening(self) -> str:
        """Beginning of a conversation without its system block."""
        chain = self.skeleton(("user", "assistant", "user"), generation=True)
        first, second, close = str(chain[0]), str(chain[4]), self.turn.end + self.turn.tail
        user = second[len(close) :]
        if not (second.startswith(close) and first.endswith(user)):
            raise ConfigError(
                "system='': the chat template's system block cannot be told from a user's turn: give a system text, or "
                "use template=chatml"
            )
        bos = begin_text(self._tokenizer) or str(self._tokenizer.bos_token or "")
        return bos + user if bos and first.startswith(bos) and not user.startswith(bos) else user

    def _without_block(self, parts: tuple[Part, ...]) -> tuple[Part, ...]:
        return (self._opening, *parts[1:]) if self.source is not None else parts


def stripped(text: str, left: bool, right: bool) -> str:
    """A text without white space at the ends that are not kept."""
    text = text if left else text.lstrip()
    return text if right else text.rstrip()
