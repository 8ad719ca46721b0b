"""Small sets of conversations with pictures, for tests of instruction data."""

import json

from PIL import Image

WORDS = ["what is it? a cat and dog.", "say something no", "red green blue yes sure", "a b c d", "answer with the"]


def picture(path, colour, size=(12, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def llava(number, answer="A dog.", image=True):
    """Row of LLaVA's file."""
    asked = "<image>\nWhat is it?" if image else "Say something."
    row = {"id": f"r{number}", "conversations": [{"from": "human", "value": asked}, {"from": "gpt", "value": answer}]}
    return {**row, "image": f"pictures/{number}.png"} if image else row


def write_set(folder, pictured=14, texts=6):
    """A folder like a prepared set: train.json, questions, pictures and words."""
    folder.mkdir(exist_ok=True)
    rows = []
    for number in range(pictured):
        picture(folder / f"pictures/{number}.png", (number * 10, 90, 200 - number))
        rows.append(llava(number, "A cat and " * (number % 4) + "dog."))
    rows += [llava(number, "No " * (number % 3) + "yes.", image=False) for number in range(pictured, pictured + texts)]
    (folder / "train.json").write_text(json.dumps(rows))
    questions = [
        {
            "id": f"q{number}",
            "turns": [
                {
                    "kind": "V",
                    "source": "naming",
                    "question": "<image>\nWhat is it?",
                    "answer": "dog",
                    "images": [f"pictures/{number}.png"],
                }
            ],
        }
        for number in range(min(3, pictured))
    ]
    choice = {"kind": "T", "source": "colours", "question": "Red?", "choices": ["green", "red"], "answer": "B"}
    questions += [{"id": f"c{number}", "turns": [choice]} for number in range(2)]
    questions.append({"id": "p0", "source": "pages", "text": "a cat and a dog and a cat"})
    for split in ("val", "test"):
        (folder / f"questions_{split}.jsonl").write_text("\n".join(map(json.dumps, questions)))
    (folder / "words.txt").write_text("\n".join(WORDS))
    return rows


def settings(folder, **changes):
    """Arguments of a datamodule of such a folder."""
    own = {
        "root": str(folder),
        "tokenizer": str(folder / "words.txt"),
        "image_tokens": 3,
        "image_size": (8, 8),
        "system": "",
        "batch_size": 4,
        "eval_batch_size": 4,
        "num_workers": 0,
        "seed": 3,
    }
    return own | changes
