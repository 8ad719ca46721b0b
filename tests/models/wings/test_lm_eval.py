"""docs/lm_eval.md holds: lm-eval scores a winged decoder, with the likelihoods that the model gives."""

import ast
import json
import re
from pathlib import Path

import pytest
import torch

from vision_suite.layers.decoders import DecoderShape, new_decoder
from vision_suite.models.wings.attach import attach, wings_off, wings_parameters
from vision_suite.models.wings.config import WingsConfig
from vision_suite.text.tokenizers import word_tokenizer

PAGE = Path(__file__).parents[3] / "docs/lm_eval.md"
QUESTIONS = [
    ("Which animal barks ?", ["a dog", "a cat", "a grey fish"], "A"),
    ("Which one swims ?", ["a cat", "a grey fish"], "B"),
    ("Which one is at home ?", ["a dog", "a cat", "a fish"], "B"),
]


def block(kind):
    (found,) = re.findall(rf"```{kind}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return found


def run_here(tasks):
    """The page's own lines, but for the checkpoint and the place of the files."""
    statements = [
        statement
        for statement in ast.parse(block("python")).body
        if not (isinstance(statement, ast.ImportFrom) and str(statement.module).startswith("vision_suite"))
        and not (isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) in ("module", "tokenizer"))
    ]
    code = ast.unparse(ast.Module(statements, []))
    for old, new in (
        ("include_path='tasks'", f"include_path={tasks!r}"),
        ("max_length=1024", "max_length=64"),
        ("print(", "str("),
        ("module.model.decoder", "decoder"),
        ("tasks=['choices'],", "tasks=['choices'], log_samples=True,"),
    ):
        assert code.count(old) == 1, old
        code = code.replace(old, new)
    return code


def test_the_page_names_a_task_of_questions_as_the_suite_writes_them():
    assert "questions_test.jsonl" in block("yaml")
    compile(block("python"), str(PAGE), "exec")
    code = run_here("tasks")
    compile(code, str(PAGE), "exec")
    assert "HFLM(pretrained=decoder," in code
    assert "log_samples" in code
    assert "max_length=64" in code
    assert "vision_suite" not in code


def winged():
    """A new decoder whose wings take part."""
    tokenizer = word_tokenizer([" ".join([asked, *choices]) for asked, choices, _ in QUESTIONS] + ["Question : Answer"])
    torch.manual_seed(0)
    decoder = new_decoder(DecoderShape(width=32, depth=2, heads=2, positions=64), len(tokenizer))
    attach(decoder, WingsConfig(rank=4, s_max=64))
    with torch.no_grad():
        for parameter in wings_parameters(decoder).values():
            parameter.normal_(0, 0.3)
    return decoder.eval(), tokenizer


def expected(decoder, tokenizer, question, choice):
    """Log-probability of a choice behind a question."""
    prompt = tokenizer(f"Question: {question}\nAnswer:")["input_ids"]
    ids = torch.tensor([prompt + tokenizer(f" {choice}")["input_ids"]])
    with torch.no_grad():
        logps = decoder(input_ids=ids, use_cache=False).logits.log_softmax(-1)[0]
    return float(sum(logps[place - 1, ids[0, place]] for place in range(len(prompt), ids.shape[1])))


@pytest.mark.parametrize("with_wings", [True, False])
def test_lm_eval_scores_a_winged_decoder(tmp_path, monkeypatch, with_wings):
    pytest.importorskip("lm_eval", reason="lm-eval is not installed")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    questions, tasks = tmp_path / "questions_test.jsonl", tmp_path / "tasks"
    turns = [{"kind": "T", "source": "animals", "question": q, "choices": c, "answer": a} for q, c, a in QUESTIONS]
    lines = [{"id": str(n), "config": "T", "turns": [turn]} for n, turn in enumerate(turns)]
    questions.write_text("\n".join(map(json.dumps, lines)))
    tasks.mkdir()
    (tasks / "choices.yaml").write_text(
        block("yaml").replace("/path/to/text-choices/questions_test.jsonl", str(questions))
    )
    decoder, tokenizer = winged()
    code = run_here(str(tasks))
    names = {"decoder": decoder, "tokenizer": tokenizer}
    if with_wings:
        exec(code, names)
    else:
        with wings_off(decoder):
            exec(code, names)
    right = 0
    samples = sorted(names["found"]["samples"]["choices"], key=lambda sample: sample["doc_id"])
    assert len(samples) == len(QUESTIONS)
    for sample, (asked, choices, answer) in zip(samples, QUESTIONS, strict=True):
        if with_wings:
            own = [expected(decoder, tokenizer, asked, choice) for choice in choices]
        else:
            with wings_off(decoder):
                own = [expected(decoder, tokenizer, asked, choice) for choice in choices]
        theirs = [float(found[0]) for found in sample["filtered_resps"]]
        assert theirs == pytest.approx(own, abs=1e-4)
        right += "ABC"[own.index(max(own))] == answer
    assert names["found"]["results"]["choices"]["acc,none"] == pytest.approx(right / len(QUESTIONS))
