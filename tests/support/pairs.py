"""Small sets of preference pairs with pictures, for tests."""

import json

from conversations import picture

WORDS = "describe it. there is a cat dog cow fish pig. the left of above below another big red ! user assistant system"
CONTEXT = "There is a cat."


def official(number, **changes):
    """One line of the authors' file."""
    pair = {
        "image_id": number,
        "image_path": f"pictures/{number}.png",
        "question": "Describe it.",
        "context": CONTEXT,
        "y_win": "A dog is above the cat.",
        "y_lose": "A big cow is left of the cat.",
        "objects_of_y_win": ["dog", "cat"],
        "hallu_objects_of_y_lose": ["cow"],
        "type": "y+",
    }
    return pair | changes


def write_pairs_set(folder, pairs):
    """A folder with pairs.jsonl, pictures and words."""
    folder.mkdir(exist_ok=True)
    for number in range(len(pairs)):
        picture(folder / f"pictures/{number}.png", (number * 20, 90, 200 - number))
    (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    (folder / "words.txt").write_text(WORDS)
    return folder


def settings(folder, **changes):
    """Arguments of a datamodule of such a folder."""
    own = {
        "sources": {"pairs": {"path": str(folder / "pairs.jsonl")}},
        "tokenizer": str(folder / "words.txt"),
        "image_tokens": 3,
        "image_size": (8, 8),
        "system": "",
        "batch_size": 2,
        "eval_batch_size": 2,
        "num_workers": 0,
        "seed": 3,
    }
    return own | changes
