"""The span rule, against the library's own post-processing and by hand."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_detectors import bert_tokenizer

from vision_suite.detectors.span import (
    BOX_THRESHOLD,
    TEXT_THRESHOLD,
    chunks,
    join_names,
    prompt_name,
    span_boxes,
    span_scores,
    token_spans,
)

WORDS = ("dining", "table", "dog", "car", "carrot", "fork", "knife", "wine", "glass")
# Names, probabilities of the prompt's tokens for each box, labels that the library decodes, names that the substring
# rule finds in them, names that the span rule finds, and span scores.
CASES = [
    (
        ["dining table", "dog"], [[0.40, 0.30, 0.02, 0.05], [0.10, 0.36, 0.01, 0.02]], ["dining table", "table"],
        {"dining table"}, {"dining table"}, [0.30, 0.05],
    ),
    (["car", "carrot"], [[0.05, 0.01, 0.60]], ["carrot"], {"car", "carrot"}, {"carrot"}, [0.05, 0.60]),
    (["fork", "knife"], [[0.40, 0.02, 0.33]], ["fork knife"], {"fork", "knife"}, {"fork", "knife"}, [0.40, 0.33]),
    (["wine glass", "dog"], [[0.10, 0.50, 0.01, 0.02]], ["glass"], set(), set(), [0.10, 0.02]),
]  # fmt: skip


@pytest.mark.parametrize(("names", "rows", "decoded", "by_substring", "by_span", "scores"), CASES)
def test_the_oracle(names, rows, decoded, by_substring, by_span, scores, tmp_path):
    transformers = pytest.importorskip("transformers")
    tokenizer = bert_tokenizer(tmp_path, WORDS)
    prompt, places = join_names(names)
    tokens = tokenizer(prompt, return_offsets_mapping=True)
    spans = token_spans(tokens["offset_mapping"], places)
    words = [[tokenizer.convert_ids_to_tokens(tokens["input_ids"][at]) for at in span] for span in spans]
    assert [" ".join(each) for each in words] == names
    # The table leaves out the special tokens at both ends, and gives a name's period where another name follows.
    length = len(tokens["input_ids"])
    probabilities = torch.full((len(rows), length), 1e-6)
    for box, row in enumerate(rows):
        probabilities[box, 1 : 1 + len(row)] = torch.tensor(row)
    output = transformers.models.grounding_dino.modeling_grounding_dino.GroundingDinoObjectDetectionOutput(
        logits=torch.logit(probabilities)[None], pred_boxes=torch.full((1, len(rows), 4), 0.5)
    )
    processor = transformers.GroundingDinoProcessor(transformers.GroundingDinoImageProcessor(), tokenizer)
    found = processor.post_process_grounded_object_detection(
        output, [tokens["input_ids"]], threshold=BOX_THRESHOLD, text_threshold=TEXT_THRESHOLD
    )[0]["text_labels"]
    assert found == decoded
    assert {name for name in names if any(name in label for label in found)} == by_substring
    mine = span_scores(probabilities, spans)
    torch.testing.assert_close(mine, torch.tensor(scores))
    assert {name for name, score in zip(names, mine.tolist(), strict=True) if score > TEXT_THRESHOLD} == by_span


@given(st.integers(0, 2**16), st.floats(0, 0.9), st.floats(0, 0.9))
def test_a_score_above_the_text_threshold_is_the_rule_of_two_thresholds(seed, box, text):
    """Written out for each box: its best token above one threshold, every token of the name above the other."""
    generator = torch.Generator().manual_seed(seed)
    probabilities = torch.rand(5, 9, generator=generator)
    spans = [[1], [2, 3], [5, 6, 7]]
    present = [
        any(max(row) > box and min(row[at] for at in span) > text for row in probabilities.tolist()) for span in spans
    ]
    scores = span_scores(probabilities, spans, box)
    assert [score > text for score in scores.tolist()] == present
    assert span_boxes(probabilities, spans, box).shape == (5, 3)
    assert (span_scores(probabilities, spans, 0.0) >= scores).all()


def test_names_become_prompts():
    assert [prompt_name(name) for name in (" Wine  Glass ", "St. Bernard?", "...")] == ["wine glass", "st bernard", ""]
    prompt, places = join_names(["car", "hot dog", "cat"])
    assert prompt == "car. hot dog. cat."
    assert [prompt[start:end] for start, end in places] == ["car", "hot dog", "cat"]
    assert join_names([]) == ("", [])


@given(st.lists(st.integers(1, 12), max_size=20), st.integers(1, 20))
def test_chunks_keep_order_and_fit(costs, room):
    numbers = list(range(len(costs)))
    parts = list(chunks(numbers, costs.__getitem__, room))
    assert [number for part in parts for number in part] == numbers
    for part in parts:
        assert len(part) == 1 or sum(costs[number] for number in part) <= room
    # Two neighbours would not fit into one.
    for one, two in itertools.pairwise(parts):
        assert sum(costs[number] for number in one) + costs[two[0]] > room
