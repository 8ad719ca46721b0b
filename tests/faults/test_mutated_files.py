"""Damaged and odd files, given to real commands: each is refused in one line, or the result is right.

``pytest -m long -s tests/faults/test_mutated_files.py`` runs all cases and prints their ends by kind. ``SEED=7`` draws
others; ``CASE=mp4-3`` repeats one; ``WORKERS=1`` runs one at a time.
"""

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from fault_cases import SEED, Bench, Case
from fault_seeds import SEEDS, build, train
from forked import run

CASES = {
    "jpeg": 18, "png": 16, "tiff": 12, "mp4": 14, "mkv": 12, "annotations": 14, "times": 10, "scores": 8,
    "collages": 10, "scenes": 11, "trials": 11, "manifest": 12, "parts": 12, "counts": 8, "list": 14, "fixations": 12,
    "boxes": 10, "yaml": 12, "npy": 8, "npz": 6, "pt": 6, "rows_csv": 6, "h5": 9, "vectors": 6, "mat": 8, "ckpt": 12,
    "resume": 6, "export": 4, "weights": 8, "safetensors": 5,
}  # fmt: skip
# Those that end soon, of every format that needs no training.
SAMPLE = (
    "jpeg-0", "tiff-0", "mp4-0", "mp4-1", "mkv-0", "mkv-1", "annotations-2", "list-0", "yaml-1", "npz-2", "h5-0",
    "manifest-0", "manifest-1", "manifest-2", "manifest-4", "manifest-5", "manifest-6", "manifest-8", "manifest-10",
    "parts-0", "parts-1", "parts-2", "parts-5", "parts-6", "parts-8",
)  # fmt: skip
KINDS = {seed.kind: seed for seed in SEEDS}


def case_of(text):
    kind, number = text.rsplit("-", 1)
    return Case(KINDS[kind], int(number))


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    root = tmp_path_factory.mktemp("sample")
    build(root / "homes", {case_of(text).seed.home for text in SAMPLE})
    (root / "room").mkdir()
    return Bench(root / "homes", root / "room")


@pytest.mark.parametrize("text", SAMPLE)
def test_a_sample_of_files_ends_as_allowed(sample, text):
    outcome = sample.judge(case_of(text))
    assert not outcome.fault, str(outcome)


@pytest.mark.long
def test_every_mutated_file_is_refused_in_a_line_or_read_right(tmp_path):
    build(tmp_path / "homes")
    train(tmp_path / "homes", run)
    (tmp_path / "room").mkdir()
    bench = Bench(tmp_path / "homes", tmp_path / "room")
    texts = [f"{kind}-{number}" for kind, count in CASES.items() for number in range(count)]
    texts = [os.environ["CASE"]] if "CASE" in os.environ else texts
    with ThreadPoolExecutor(int(os.environ.get("WORKERS", os.cpu_count() or 1))) as pool:
        list(pool.map(bench.usual, {KINDS[text.rsplit("-", 1)[0]]: None for text in texts}))
        outcomes = list(pool.map(lambda text: bench.judge(case_of(text)), texts))
    counts = Counter((outcome.case.seed.kind, outcome.end) for outcome in outcomes)
    ends = sorted({end for _, end in counts})
    print(f"\nSEED={SEED}: {len(outcomes)} cases\n{'kind':<12}{''.join(f'{end:>13}' for end in ends)}")
    for kind in dict.fromkeys(outcome.case.seed.kind for outcome in outcomes):
        print(f"{kind:<12}{''.join(f'{counts[kind, end] or str():>13}' for end in ends)}")
    print(f"{'all':<12}{''.join(f'{sum(n for (_, e), n in counts.items() if e == end):>13}' for end in ends)}")
    faults = [str(outcome) for outcome in outcomes if outcome.fault]
    assert not faults, f"{len(faults)} faults\n\n" + "\n\n".join(faults)
