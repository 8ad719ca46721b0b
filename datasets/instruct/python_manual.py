"""Python-manual built: text to replay while a model learns to see, and held-out text to measure its drift on.

Source: ``pydoc_data.topics``, the manual that Python's own ``help()`` prints. Topics are held out whole.
"""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

from vision_suite.datasets.instruct.python_manual_recipe import RECIPE
from vision_suite.datasets.instruct.question_rows import conversation, write_lines, write_list

SOURCE = "python-manual"
VAL_SHARE = 20  # percent of topics
SHORTEST = 60  # letters of a paragraph
SENTENCE_WORDS = range(8, 25)
_SENTENCE_END = re.compile(r"(?<=[a-z\")]\.)\s+(?=[A-Z\"])")
_NO_PROSE = re.compile(r"::=|>>>|\+--|\|  |====|\*\*\*\*|----|\.\.\. ")


def build(part: Path) -> None:
    """Write ``text_*.jsonl`` (paragraphs) and ``train.json``, ``val.json`` (sentences to continue) into a new folder.

    Args:
        part: Folder to create.
    """
    from pydoc_data.topics import topics

    part.mkdir(parents=True)
    counts = {}
    for split, own in split_topics(topics).items():
        texts = [
            {"id": f"{topic}-{number:03d}", "source": SOURCE, "text": text}
            for topic, many in own.items()
            for number, text in enumerate(many)
        ]
        sentences = [
            conversation(f"{topic}-{number:04d}", f"Continue: {start}", end)
            for topic, many in own.items()
            for number, (start, end) in enumerate(halves(many))
        ]
        counts[split] = {
            "topics": len(own),
            "paragraphs": write_lines(part / f"text_{split}.jsonl", texts),
            "sentences": write_list(part / f"{split}.json", sentences),
        }
    whole = "\n".join(f"{name}\n{text}" for name, text in sorted(topics.items()))
    RECIPE.seal(
        part,
        {
            "counts": counts,
            "python": platform.python_version(),
            "topics": {"count": len(topics), "sha256": hashlib.sha256(whole.encode()).hexdigest()},
            "split": f"by sha256 of the topic's name, modulo 100, below {VAL_SHARE}: val; repeated paragraphs left out",
        },
    )


def split_topics(topics: Mapping[str, str]) -> dict[str, dict[str, list[str]]]:
    """The paragraphs of each topic by split; one that stands in several topics stays in the first only.

    Args:
        topics: Texts by name.
    """
    result: dict[str, dict[str, list[str]]] = {"train": {}, "val": {}}
    seen: set[str] = set()
    for name, text in sorted(topics.items()):
        bucket = int(hashlib.sha256(name.encode()).hexdigest(), 16) % 100
        own = [found for found in dict.fromkeys(paragraphs(text)) if found not in seen]
        seen.update(own)
        if own:
            result["val" if bucket < VAL_SHARE else "train"][name] = own
    return result


def paragraphs(text: str) -> list[str]:
    """The paragraphs of prose in a page of the manual, each in one line.

    Args:
        text: Page as plain text.
    """
    found = []
    for block in re.split(r"\n\s*\n", text):
        lines = dedent(block.strip("\n")).splitlines()
        # A hanging indent is that of an entry's explanation or of code.
        if not lines or any(line.startswith(" ") for line in lines):
            continue
        joined = " ".join(line.strip() for line in lines).replace("\u2019", "'").replace("\u201c", '"')
        joined = re.sub(r"\s+", " ", joined.replace("\u201d", '"'))
        prose = joined.endswith(".") and re.match(r'[A-Z"]', joined) and not _NO_PROSE.search(block)
        if prose and len(joined) >= SHORTEST:
            found.append(joined)
    return found


def halves(texts: list[str]) -> list[tuple[str, str]]:
    """The first and second half of each sentence of a usual length, cut between words.

    Args:
        texts: Paragraphs.
    """
    found = []
    for text in texts:
        for sentence in _SENTENCE_END.split(text):
            words = sentence.split()
            if len(words) in SENTENCE_WORDS and not words[-1].endswith(("i.e.", "e.g.")):
                middle = len(words) // 2
                found.append((" ".join(words[:middle]), " ".join(words[middle:])))
    return found
