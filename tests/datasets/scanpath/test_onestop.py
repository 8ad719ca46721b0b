"""OneStop-mini: the conversion on generated tables, and the real set where it is prepared."""

import csv
import io
import json
import math
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from vision_suite.datasets import sentence_vectors
from vision_suite.datasets.prepare.base import Options
from vision_suite.datasets.prepare.fetch import data_dir
from vision_suite.datasets.scanpath import onestop
from vision_suite.datasets.scanpath.data import ScanpathData
from vision_suite.datasets.scanpath.onestop_recipe import RECIPE
from vision_suite.errors import DataError, MissingDependencyError

PAGES = ("2_1_1_Ele", "2_2_5_Adv")
COUNTS = {"pages": 2, "words": 8, "trials": 4, "fixations": 13, "fixations_without_word": 1}


def as_csv(rows):
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def fake_members(**changes):
    """Two pages of 4 words in a line, 20 pixels wide, the picture's corner at (30, 40) of the display; two readers."""
    words, fixations, texts = [], [], []
    for page in PAGES:
        texts.append({"unique_paragraph_id": page, "role": "paragraph", "width": "100", "height": "60", "text": "..."})
        texts.append({"unique_paragraph_id": page, "role": "question", "width": "9", "height": "9", "text": "Why?"})
        for reader in ("a", "b"):
            common = {"participant_id": reader, "unique_paragraph_id": page, "unique_trial_id": f"{reader}_{page}"}
            corner = {"image_x": "30", "image_y": "40"}
            for n in range(4):
                sides = {"IA_LEFT": 20 * n + 30, "IA_RIGHT": 20 * n + 50, "IA_TOP": 45, "IA_BOTTOM": 75}
                norms = {"word_length_no_punctuation": n, "wordfreq_frequency": n * n, "gpt2_surprisal": -n}
                answer = {"is_in_aspan": str(n == 2)}
                words.append({**common, **corner, **sides, **norms, **answer, "IA_ID": n, "IA_LABEL": f"w{n}"})
            for number, word in enumerate([0, 1, 1] if reader == "a" else [3, 2, 0]):
                where = {"CURRENT_FIX_X": 20 * word + 40, "CURRENT_FIX_Y": 60, "CURRENT_FIX_DURATION": 200 + number}
                label = {"CURRENT_FIX_INTEREST_AREA_ID": word + 1, "CURRENT_FIX_INTEREST_AREA_LABEL": f"w{word}"}
                fixations.append({**common, **corner, **where, **label, "CURRENT_FIX_INDEX": number + 1})
    lost = {**fixations[0], "CURRENT_FIX_INTEREST_AREA_ID": ".", "CURRENT_FIX_INDEX": "2.5"[0]}
    fixations.insert(1, {**lost, **changes})
    pictures = {}
    for number, page in enumerate(PAGES):
        for role in ("paragraph", "question"):
            buffer = io.BytesIO()
            Image.new("RGB", (100, 60), (200, number, 0)).save(buffer, "PNG")
            pictures[f"images/{page}__{role}.png"] = buffer.getvalue()
    tables = {"ia.csv": as_csv(words), "fixations.csv": as_csv(fixations), "images/manifest.csv": as_csv(texts)}
    return {**tables, **pictures}


def can_embed(monkeypatch, answer):
    for module in (onestop, sentence_vectors):
        monkeypatch.setattr(module, "can_embed", lambda: answer)


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """The generated package in place of the real one, and vectors that count."""
    monkeypatch.setenv("VISION_SUITE_DATA", str(tmp_path))
    monkeypatch.setattr(onestop, "EXPECTED", COUNTS)
    monkeypatch.setattr(onestop, "PAGES", {PAGES[0]: 0, PAGES[1]: 1})
    can_embed(monkeypatch, True)
    vectors = lambda texts, *_: np.arange(len(texts) * 3, dtype=np.float32).reshape(-1, 3)  # noqa: E731
    monkeypatch.setattr(onestop, "sentence_vectors", vectors)
    calls = []
    members = {onestop.SAMPLE + name: data for name, data in fake_members().items()}
    monkeypatch.setattr(onestop, "fetch_members", lambda *_: calls.append(1) or members)
    return calls


def quiet(*step):
    return None


def test_traps_of_the_tables():
    pages, lost = onestop.convert(fake_members())
    assert lost == 1
    page = pages[0]
    assert page.boxes[1] == [20, 5, 40, 35], "the picture's corner is taken off"
    assert page.answer == [2]
    assert page.readings["a"][0] == [0, 1, 1], "a fixation's word counts from 1; the same word again is kept"
    assert page.readings["b"][1][0] == [70, 20, 200]
    wrong = {"CURRENT_FIX_INTEREST_AREA_ID": "1", "CURRENT_FIX_INTEREST_AREA_LABEL": "other"}
    with pytest.raises(DataError, match="word 0 of page 2_1_1_Ele is not the one that a fixation names"):
        onestop.convert(fake_members(**wrong))
    with pytest.raises(DataError, match="a table lacks or garbles"):
        onestop.convert(fake_members(CURRENT_FIX_INTEREST_AREA_ID="x"))


def test_prepared_once_read_by_the_same_reader(fake):
    folder = RECIPE.prepare(quiet, Options())
    assert RECIPE.prepare(quiet, Options()) == folder
    assert len(fake) == 1
    assert RECIPE.verify(folder, quiet).problems == ()
    data = ScanpathData("table", "onestop-mini", fold=1, validation_share=0, batch_size=2, num_workers=0, seed=0)
    assert data.protocol["split"]["folds"] == 2
    assert (data.in_channels, data.num_objects, data.target_from) == (3, 4, "given")
    data.setup("test")
    batch = next(iter(data.test_dataloader()))
    assert batch["sequence"].tolist() == [[0, 1, 1], [3, 2, 0]]
    assert batch["targets"].tolist() == [[False, False, True, False]] * 2
    assert batch["target"].tolist() == [-1, -1]
    assert batch["given"].tolist() == [1, 1]
    assert not batch["terminated"].any(), "the end of reading is no finding of a target"
    assert batch["duration"][0].tolist() == pytest.approx([0.2, 0.201, 0.202])
    assert batch["features"][0, :, 0].tolist() == [15, 18, 21, 24], "page after page: four words, then the question"
    assert batch["target_features"][0].tolist() == [27, 28, 29]
    more = ScanpathData("table", "onestop-mini", fold=1, validation_share=0, features="words_norms", batch_size=2)
    assert more.in_channels == 7
    more.setup("test")
    assert next(iter(more.test_dataloader()))["target_features"].tolist()[0] == [27, 28, 29, 0, 0, 0, 0]
    crops = ScanpathData("table", "onestop-mini", fold=1, validation_share=0, objects="crops", batch_size=2)
    crops.setup("test")
    assert {"crops", "target_crop"} <= set(next(iter(crops.test_dataloader())))


def test_changed_files_show_and_missing_ones_are_mended(fake):
    folder = RECIPE.prepare(quiet, Options())
    (folder / "words" / f"{PAGES[0]}.npy").write_bytes(b"")
    assert RECIPE.verify(folder, quiet).problems == (f"words/{PAGES[0]}.npy: missing or changed",)
    (folder / "trials.jsonl").unlink()
    RECIPE.prepare(quiet, Options())
    assert len(fake) == 2


def test_without_transformers_the_crops_remain(fake, monkeypatch):
    can_embed(monkeypatch, False)
    folder = RECIPE.prepare(quiet, Options())
    assert not (folder / "words").exists()
    assert json.loads((folder / "MANIFEST.json").read_text())["vectors"].startswith("none: transformers")
    assert ScanpathData("table", "onestop-mini", validation_share=0, batch_size=2).objects == "crops"
    assert RECIPE.why_not_ready(folder) is None
    can_embed(monkeypatch, True)
    assert RECIPE.why_not_ready(folder) == "made without sentence vectors, which can be made now"
    can_embed(monkeypatch, False)
    with pytest.raises(MissingDependencyError, match="needs the package transformers"):
        sentence_vectors.sentence_vectors(["a"], quiet)


def test_other_counts_stop_the_preparation(fake, monkeypatch):
    monkeypatch.setattr(onestop, "EXPECTED", {**COUNTS, "words": 9})
    with pytest.raises(DataError, match=r"'words': 8.* instead of .*'words': 9"):
        RECIPE.prepare(quiet, Options())
    assert not RECIPE.folder_of().exists(), "nothing half made is left"


@pytest.mark.real_data
@pytest.mark.skipif(
    not (data_dir() / "archives" / sentence_vectors.ARCHIVE.file).is_file() or not sentence_vectors.can_embed(),
    reason="prepare it: vision-suite data prepare onestop-mini, with transformers installed",
)
def test_sentences_of_one_meaning_are_near():
    texts = ["a cat sits on a mat", "a kitten on a rug", "stock markets fell", "a cat sits on a mat"]
    vectors = sentence_vectors.sentence_vectors(texts, quiet)
    assert vectors.shape == (4, sentence_vectors.WIDTH)
    np.testing.assert_allclose((vectors @ vectors.T)[0], [1, 0.624, 0.053, 1], atol=1e-3)
    assert vectors[1] @ vectors[2] == pytest.approx(0.036, abs=1e-3)


@pytest.fixture(scope="module")
def real():
    if not (data_dir() / RECIPE.name / "MANIFEST.json").is_file():
        pytest.skip("prepare it: vision-suite data prepare onestop-mini")
    return ScanpathData("table", RECIPE.name, fold=2, validation_share=0, window=12, batch_size=4, num_workers=0)


@pytest.mark.real_data
def test_the_real_set_has_the_published_counts(real):
    train, test = real.recordings("fit"), real.recordings("test")
    scenes = {**real.scenes("fit"), **real.scenes("test")}
    assert sum(len(scene.boxes) for scene in scenes.values()) == 1307
    assert (len(train), len(test)) == (16, 8)
    assert sum(t.length for t in train) + sum(t.length for t in test) == 3208, "and one on no word"
    assert (sum(t.length for t in train), sum(t.length for t in test)) == (1997, 1211)
    assert real.size("test") == 96
    assert {t.scene for t in test} == {f"pages/{n}.png" for n in ("2_1_5_Adv", "2_1_6_Ele", "2_2_5_Ele", "2_2_6_Ele")}
    for trial in [*train, *test]:
        box = scenes[trial.scene].boxes[trial.sequence]
        assert ((trial.xy >= box[:, :2]) & (trial.xy <= box[:, 2:])).all(), "every fixation lies in its own box"
    steps = np.concatenate([np.diff(t.sequence) for t in [*train, *test]])
    assert np.mean(steps == 0) == pytest.approx(0.129, abs=5e-4)
    assert np.mean(np.concatenate([np.isin(t.sequence, t.targets) for t in [*train, *test]])) == pytest.approx(
        0.372, abs=5e-4
    )


@pytest.mark.real_data
def test_baselines_of_the_real_set(real):
    scenes, test = real.scenes("test"), real.recordings("test")
    offsets = Counter(step for trial in real.recordings("fit") for step in np.diff(trial.sequence).tolist())
    uniform, histogram = [], []
    for trial in test:
        count = len(scenes[trial.scene].boxes)
        for now, then in zip(trial.sequence.tolist(), trial.sequence[1:].tolist(), strict=False):
            weights = [offsets[word - now] + 0.05 for word in range(count)]
            uniform.append(math.log(count))
            histogram.append(-math.log(weights[then] / sum(weights)))
    assert len(uniform) == 1203
    assert np.mean(uniform) == pytest.approx(4.701, abs=5e-4)
    assert np.mean(histogram) == pytest.approx(2.400, abs=5e-4)


@pytest.mark.real_data
def test_pieces_with_overlap_predict_every_transition_once(real):
    whole = ScanpathData("table", RECIPE.name, fold=2, validation_share=0, window=12, test_overlap=6, num_workers=0)
    assert sum(piece.length - piece.given for piece in whole.trials("test")) == 1203
