"""Form of a record: which of the known ways of writing a conversation it follows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from vision_suite.datasets.conversations.llava import alpaca_row, llava_row, named_images
from vision_suite.datasets.conversations.messages import messages_row
from vision_suite.datasets.conversations.questions import Choices, question_row, text_row
from vision_suite.datasets.conversations.rows import SHOWN, BadRow, name_of
from vision_suite.types.conversations import ImageRef, Row

FORMS = ("turns", "conversations", "messages", "prompt with completion", "instruction with output", "text")


def row_of(
    record: object,
    name: str,
    folder: Path,
    source: str,
    notes: Counter[str],
    *,
    images: Sequence[ImageRef] | None = None,
    choices: Choices = "letters",
) -> Row:
    """Row of a record of any form.

    Args:
        record: Record of a file.
        name: Name of the row if the record has no ``id``.
        folder: Folder that the names of pictures are relative to.
        source: Name of the source.
        notes: Takes the numbers of rows that were changed, by kind.
        images: Pictures that stand beside the record in a table or archive; None if it names them itself.
        choices: Ask for letters or for the texts of choices.

    Raises:
        BadRow: It cannot be used.
    """
    if isinstance(record, Mapping) and isinstance(record.get("id"), str | int):
        name = str(record["id"])
    changed: Counter[str] = Counter()
    try:
        row = _row(record, name_of(name, "its id"), folder, source, changed, images, choices)
    except BadRow as error:
        raise BadRow(error.reason, f"row {name[:SHOWN]!r}: {error}") from None
    notes.update(changed)  # a row that is refused has not been changed
    return row


def _row(
    record: object,
    name: str,
    folder: Path,
    source: str,
    notes: Counter[str],
    images: Sequence[ImageRef] | None,
    choices: Choices,
) -> Row:
    if not isinstance(record, Mapping):
        raise BadRow("malformed", "it is no object")
    if record.get("turns") is not None:
        return question_row(record, name, folder, source, notes, choices)
    found = named_images(record, folder) if images is None else list(images)
    if record.get("conversations") is not None:
        return llava_row(record, name, found, source, notes)
    if record.get("messages") is not None or (record.get("prompt") is not None and "completion" in record):
        return messages_row(record, name, found, source, notes)
    if record.get("instruction") is not None and "output" in record:
        return alpaca_row(record, name, found, source, notes)
    if record.get("text") is not None:
        return text_row(record, name, source)
    raise BadRow("malformed", f"it has none of {', '.join(FORMS)}")
