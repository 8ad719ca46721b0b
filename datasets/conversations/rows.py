"""Rules that turn the turns of any file into a row: speakers, markers of pictures, and what makes a row unusable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from vision_suite.errors import DataError
from vision_suite.text.tokenizers import refuse_halves
from vision_suite.types.conversations import ImageRef, Message, Row, Speaker

MARKER = "<image>"
SHOWN = 60  # signs of a name in a message
SPEAKERS: dict[str, Speaker] = {
    "human": "user", "user": "user", "gpt": "assistant", "chatgpt": "assistant", "bard": "assistant",
    "bing": "assistant", "model": "assistant", "assistant": "assistant", "system": "system",
}  # fmt: skip
Part = str | int
Turn = tuple[Speaker, tuple[Part, ...]]


class BadRow(DataError):
    """A row that cannot be used.

    Attributes:
        reason: Word that such rows are counted under: ``malformed``, ``marker_mismatch``, ``empty_answer``,
            ``no_answer``, ``no_targets`` or ``over_length``.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def speaker(word: object) -> Speaker:
    """Speaker of a turn by the word of its file.

    Raises:
        BadRow: The word is unknown, such as that of a tool.
    """
    if not isinstance(word, str) or word.lower() not in SPEAKERS:
        raise BadRow("malformed", f"speaker {str(word)[:40]!r} is none of {', '.join(SPEAKERS)}")
    return SPEAKERS[word.lower()]


def text_of(value: object, what: str) -> str:
    """A text of a file.

    Raises:
        BadRow: It is none, or holds half of a character, which no tokenizer and no file takes.
    """
    if not isinstance(value, str):
        raise BadRow("malformed", f"{what} is no text but {type(value).__name__}")
    try:
        refuse_halves(value)
    except DataError as error:
        raise BadRow("malformed", f"{what}: {error}") from None
    return value


def name_of(value: object, what: str) -> str:
    """A name of a file that is shown in lines and tables.

    Raises:
        BadRow: It is no text, or has line breaks or other signs that cannot be shown.
    """
    name = text_of(value, what)
    if not name.isprintable():
        raise BadRow("malformed", f"{what} {name[:40]!r} has signs that cannot be shown")
    return name


def split_markers(text: str, first: int) -> tuple[Part, ...]:
    """Parts of a text with markers: its pieces, and numbers of pictures from `first` in the markers' places."""
    pieces = text.split(MARKER)
    parts: list[Part] = [pieces[0]]
    for number, piece in enumerate(pieces[1:], start=first):
        parts += [number, piece]
    return tuple(part for part in parts if part != "")


def number_markers(turns: Sequence[tuple[Speaker, str]], images: int, notes: Counter[str]) -> list[Turn]:
    """Turns whose markers are replaced by the numbers of a row's pictures.

    Pictures without any marker are put before the first question; a row without pictures loses its markers.

    Args:
        turns: Speaker and text of each turn.
        images: Number of pictures of the row.
        notes: Takes the numbers of rows that were changed, by kind.

    Raises:
        BadRow: The markers are not as many as the pictures, or stand in another turn than a question.
    """
    texts = list(turns)
    total = sum(text.count(MARKER) for _, text in texts)
    if total and not images:
        notes["markers_without_image_removed"] += 1
        texts = [(who, text.replace(MARKER, "").strip()) for who, text in texts]
    elif images and not total:
        first = next((position for position, (who, _) in enumerate(texts) if who == "user"), None)
        if first is None:
            raise BadRow("malformed", "it has pictures and no question")
        notes["images_without_marker_put_first"] += 1
        texts[first] = ("user", f"{MARKER}\n" * images + texts[first][1])
    elif total != images:
        raise BadRow("marker_mismatch", f"it has {total} markers {MARKER} and {images} pictures")
    numbered: list[Turn] = []
    used = 0
    for who, text in texts:
        count = text.count(MARKER)
        if count and who != "user":
            raise BadRow("marker_mismatch", f"a marker {MARKER} stands in a turn of the {who}, not of the user")
        numbered.append((who, split_markers(text, used)))
        used += count
    return numbered


def conversation(name: str, turns: Sequence[Turn], images: Sequence[ImageRef], source: str, notes: Counter[str]) -> Row:
    """Row to train on: the system's turn first if there is one, then questions and answers in turn, an answer last.

    Answers before the first question and questions after the last answer are left out, neighbours of one speaker
    are joined; both are counted.

    Args:
        name: Name of the row.
        turns: Turns of the file.
        images: Pictures, by the numbers in the turns.
        source: Name of the source.
        notes: Takes the numbers of rows that were changed, by kind.

    Raises:
        BadRow: There is no answer or an empty one, or a system's turn stands later.
    """
    joined = join_neighbours(turns, notes)
    system = joined[:1] if joined and joined[0][0] == "system" else []
    rest = joined[len(system) :]
    if any(who == "system" for who, _ in rest):
        raise BadRow("malformed", "a system's turn stands behind the first question")
    if rest and rest[0][0] == "assistant":
        notes["leading_answers_left_out"] += 1
        rest = rest[1:]
    if rest and rest[-1][0] == "user":
        notes["last_questions_left_out"] += 1
        rest = rest[:-1]
    if not rest:
        raise BadRow("no_answer", "it has no answer to a question")
    if any(who == "assistant" and not "".join(map(str, parts)).strip() for who, parts in rest):
        raise BadRow("empty_answer", "an answer is empty")
    messages = tuple(Message(who, parts) for who, parts in [*system, *rest])
    return Row(name, messages, tuple(images), source)


def join_neighbours(turns: Sequence[Turn], notes: Counter[str]) -> list[Turn]:
    """Turns in which no two neighbours are of one speaker, joined by a line break."""
    joined: list[Turn] = []
    for who, parts in turns:
        if joined and joined[-1][0] == who:
            joined[-1] = (who, (*joined[-1][1], "\n", *parts))
        else:
            joined.append((who, parts))
    if len(joined) < len(turns):
        notes["turns_of_one_speaker_joined"] += 1
    return [(who, _merged(parts)) for who, parts in joined]


def _merged(parts: Sequence[Part]) -> tuple[Part, ...]:
    """Parts in which neighbouring texts are one."""
    merged: list[Part] = []
    for part in parts:
        if merged and isinstance(part, str) and isinstance(merged[-1], str):
            merged[-1] += part
        else:
            merged.append(part)
    return tuple(merged)
