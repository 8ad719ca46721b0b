"""Evaluations: COCO's truth with other words, AMBER's and POPE's files, and pictures without a truth."""

import json
from pathlib import Path

import pytest
from conversations import picture
from pairs import official, settings, write_pairs_set

from vision_suite.datasets.preference import PreferenceData
from vision_suite.errors import ConfigError, DataError
from vision_suite.metrics.hallucination.report import hallucination_report
from vision_suite.types.preference import HallucinationItem

SHARED = Path(__file__).parents[4] / "shared" / "data"
INSTANCES = {
    "images": [{"id": 7, "file_name": "a.png"}, {"id": 3, "file_name": "b.png"}, {"id": 4, "file_name": "c.png"}],
    "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "dining table"}, {"id": 9, "name": "emu"}],
    "annotations": [
        {"image_id": 7, "category_id": 1, "bbox": [1, 2, 3, 4]},
        {"image_id": 7, "category_id": 1, "bbox": [5, 2, 3, 4]},
        {"image_id": 3, "category_id": 2, "bbox": [0, 0, 9, 9]},
        {"image_id": 3, "category_id": 9, "bbox": [0, 0, 1, 1]},
    ],
}
CAPTIONS = {
    "images": INSTANCES["images"],
    "annotations": [{"image_id": 7, "caption": "Two puppies beside a man."}, {"image_id": 4, "caption": "A blue sky."}],
}


@pytest.fixture
def folder(tmp_path):
    made = write_pairs_set(tmp_path / "set", [official(n) for n in range(2)])
    for name in "abc":
        picture(made / f"{name}.png", (9, 9, 9))
    (made / "instances.json").write_text(json.dumps(INSTANCES))
    (made / "captions.json").write_text(json.dumps(CAPTIONS))
    (made / "words.json").write_text(json.dumps([{"words": ["dog", "puppy"]}, {"words": ["emu", "bird"]}]))
    return made


def made(folder, stage="test", **evaluations):
    data = PreferenceData(**settings(folder, test_on=evaluations, sources=None))
    data.setup(stage)
    return data


def coco(folder, **changes):
    return {"kind": "chair", "path": str(folder / "instances.json"), "question": "Describe it."} | changes


def test_objects_of_instances_and_reference_captions(folder):
    files = [str(folder / name) for name in ("instances.json", "captions.json")]
    data = made(folder, coco=coco(folder, annotations=files), own=coco(folder, synonyms=str(folder / "words.json")))
    items = {(item.task, item.id): item for item in data.hallucination_items("test")}
    assert items["coco", "7"].objects == ("dog", "person"), "the man is in a caption alone"
    assert items["coco", "3"].objects == ("dining table", "emu"), "a category that is no word keeps its name"
    assert items["coco", "4"].objects == ()
    assert items["own", "7"] == HallucinationItem(
        "7", "chair", "own", objects=("dog",), picture=str(folder / "a.png"),
        boxes=(("dog", (1.0, 2.0, 3.0, 4.0)), ("dog", (5.0, 2.0, 3.0, 4.0))),
    )  # fmt: skip
    lexicons = data.lexicons("test")
    assert lexicons["own"].names("A bird") == ["emu"]
    assert lexicons["coco"].names("A bird and a couch") == ["bird", "couch"]


def test_words_as_published_ports_of_chair_find_them(folder, monkeypatch):
    (table := folder / "cache" / "wordnet").mkdir(parents=True)
    nouns = ("man", "men", "dog", "puppy", "table", "emu")
    (table / "nouns.tsv").write_text("".join(f"{noun}\tanimal\n" for noun in nouns))
    (table / "plurals.tsv").write_text("men\tman\n")
    monkeypatch.setenv("VISION_SUITE_DATA", str(folder / "cache"))
    (folder / "captions.json").write_text(json.dumps({"images": [], "annotations": [
        {"image_id": 7, "caption": "Two men beside two puppies."}
    ]}))  # fmt: skip
    files = [str(folder / name) for name in ("instances.json", "captions.json")]
    settings = coco(folder, annotations=files)
    data = made(folder, ours=settings, theirs=settings | {"compat": "wordnet"})
    items = {(item.task, item.id): item.objects for item in data.hallucination_items("test")}
    assert items["ours", "7"] == ("dog", "person")
    assert items["theirs", "7"] == ("dog",), "men is a lemma of WordNet, and no word of COCO"
    assert items["ours", "3"] == items["theirs", "3"] == ("dining table", "emu")
    assert "lemmas of WordNet" in data.lexicons("test")["theirs"].rule


def test_rows_items_and_batches_have_one_order(folder):
    listed = folder / "list.jsonl"
    listed.write_text(
        "".join(
            json.dumps(each) + "\n" for each in ({"image_id": 3, "question": "Describe it. big red"}, {"image_id": 7})
        )
    )
    annotations = [str(folder / "instances.json")]
    data = made(folder, all=coco(folder), some=coco(folder, path=str(listed), annotations=annotations, request="big."))
    rows, items = data.rows("test"), data.hallucination_items("test")
    assert [(row.source, row.id) for row in rows] == [(item.task, item.id) for item in items]
    assert [row.id for row in rows] == ["7", "3", "4", "7", "3"], "of like length together"
    assert rows[3].messages[0].parts == (0, "\nDescribe it.\nbig.")
    assert [str(row.images[0].path) for row in rows] == [item.picture for item in items]
    index, source = [], []
    for batch in data.test_dataloader():
        for place, number in enumerate(batch["index"].tolist()):
            prompt = data.chat.prompt(rows[number].messages).ids
            assert batch["input_ids"][place, : len(prompt)].tolist() == prompt
            assert not batch["attention_mask"][place, len(prompt) :].any()
        index += batch["index"].tolist()
        source += [data.sources[each] for each in batch["source"].tolist()]
    assert index == list(range(5))
    assert source == [row.source for row in rows]


def test_amber(folder):
    (folder / "annotations.json").write_text(
        json.dumps(
            [
                {"id": 1, "type": "generative", "truth": ["sky", "road"], "hallu": ["cloud"]},
                {"id": 2, "type": "discriminative-relation", "truth": "yes"},
            ]
        )
    )
    queries = [{"id": 1, "image": "a.png", "query": "Describe it."}, {"id": 2, "image": "b.png", "query": "Is it big?"}]
    (folder / "query.json").write_text(json.dumps(queries))
    path = str(folder / "query.json")
    with pytest.raises(DataError, match=r"relation\.json cannot be read"):
        made(folder, a={"kind": "amber", "path": path})
    (folder / "relation.json").write_text(json.dumps({"sky": [], "road": ["street"], "cloud": [], "dog": []}))
    (folder / "safe_words.txt").write_text("light\n")
    data = made(folder, a={"kind": "amber", "path": path}, q={"kind": "amber_question", "path": path})
    caption, question = data.hallucination_items("test")
    assert (caption.kind, caption.objects, caption.hallucinated) == ("amber", ("sky", "road"), ("cloud",))
    assert (question.kind, question.answer, question.type) == ("amber_question", "yes", "discriminative-relation")
    assert [row.reference for row in data.rows("test")] == ["", "yes"]
    words = data.lexicons("test")
    assert list(words) == ["a"], "questions need none"
    # Four mentions, of which the cloud and the dog are made up; one of two objects is covered, one trap stepped into.
    report = hallucination_report(
        [caption, question], {0: "A street, a street, a cloud and a dog.", 1: "Yes"}, protocol={}, words=words
    )
    found = [report.metrics[f"amber_{name}/a"] for name in ("chair", "cover", "hal", "cog")]
    assert found == pytest.approx([0.5, 0.5, 1.0, 1.0], abs=1e-3)
    (folder / "annotations.json").write_text("[]")
    with pytest.raises(DataError, match="not AMBER's queries and annotations"):
        made(folder, a={"kind": "amber", "path": path})


def test_pope(folder):
    rows = [{"question_id": n, "image": "a.png", "text": f"Is there a dog? {n}", "label": "yes"} for n in (5, 6)]
    (folder / "pope.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = made(folder, p={"kind": "pope", "path": str(folder / "pope.json"), "limit": 1})
    (item,) = data.hallucination_items("test")
    assert (item.id, item.kind, item.answer, item.picture) == ("5", "pope", "yes", str(folder / "a.png"))
    for change, words in (
        ({"question_id": 6}, "there twice"),
        ({"label": "maybe"}, "not yes or no"),
        ({"text": 3}, "no text"),
    ):
        (folder / "pope.json").write_text("".join(json.dumps(row) + "\n" for row in ({**rows[0], **change}, rows[1])))
        with pytest.raises(DataError, match=words):
            made(folder, p={"kind": "pope", "path": str(folder / "pope.json")})


@pytest.mark.skipif(not SHARED.is_dir(), reason="the annotations of AMBER and POPE are not here")
def test_the_published_files_have_their_published_numbers(folder):
    amber, pope = str(SHARED / "amber/query_all.json"), str(SHARED / "pope_coco/coco_pope_adversarial.json")
    evaluations = {
        "a": {"kind": "amber", "path": amber},
        "q": {"kind": "amber_question", "path": amber},
        "p": {"kind": "pope", "path": pope},
    }
    opened = PreferenceData(**settings(folder, sources=None, test_on=evaluations))._opened["test"]
    items = [[source.item(index) for index in range(len(source))] for source in opened]
    assert [len(each) for each in items] == [1004, 14216, 3000]
    existence = [item for item in items[1] if item.type == "discriminative-hallucination"]
    assert len(existence) == 4924
    assert {item.answer for item in existence} == {"no"}
    assert sum(item.answer == "yes" for item in items[2]) == 1500


def test_pictures_are_found_in_the_data_cache(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("VISION_SUITE_DATA", str(folder))
    monkeypatch.chdir(tmp_path)
    (folder / "own.json").write_text(json.dumps([["fox", "vixen"]]))
    mine = {"kind": "pictures", "path": "pictures", "question": "Describe it.", "synonyms": "own.json"}
    data = PreferenceData(**settings(folder, sources=None, predict_on={"mine": mine}))
    data.setup("predict")
    assert [row.id for row in data.rows("predict")] == ["0.png", "1.png"]
    assert [each.name for each in data.lexicons("predict")["mine"].find("A vixen and a dog.")] == ["fox"]


def test_pictures_without_a_truth_are_there_to_predict(folder):
    mine = {"kind": "pictures", "path": str(folder / "pictures"), "question": "Describe it."}
    data = PreferenceData(**settings(folder, sources=None, predict_on={"mine": mine}))
    data.setup("predict")
    assert [row.id for row in data.rows("predict")] == ["0.png", "1.png"]
    assert next(iter(data.predict_dataloader()))["image"].shape == (2, 3, 8, 8)
    with pytest.raises(ConfigError, match="give it to predict_on"):
        made(folder, mine=mine)
    tested = made(folder, coco=coco(folder))
    tested.setup("predict")
    assert tested.rows("predict") == tested.rows("test")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "pope", "annotations": ["a"]}, "takes no annotations"),
        ({"kind": "amber", "synonyms": "a"}, "takes no synonyms"),
        ({"synonyms": "a", "compat": "wordnet"}, "compat=wordnet .* is for COCO's own words"),
        ({"kind": "pope", "compat": "wordnet"}, "compat=wordnet .* is for COCO's own words"),
        ({"limit": 0}, "limit=0"),
        ({"kind": "chairs"}, r"evaluation\.kind"),
        ({"kinds": "chair"}, "test_on has no setting 'kinds'"),
    ],
)
def test_settings_that_cannot_be_meant(folder, changes, words):
    with pytest.raises(ConfigError, match=words):
        made(folder, coco=coco(folder, **changes))


def test_files_that_cannot_be_meant(folder):
    captions = str(folder / "captions.json")
    with pytest.raises(DataError, match="no file has COCO's instances"):
        made(folder, coco=coco(folder, annotations=[captions]))
    with pytest.raises(DataError, match="no file of COCO's"):
        made(folder, coco=coco(folder, annotations=[str(folder / "words.json")]))
    with pytest.raises(DataError, match="no groups of synonyms"):
        made(folder, coco=coco(folder, synonyms=captions))
    (folder / "list.jsonl").write_text('{"image_id": 99}\n')
    with pytest.raises(DataError, match="no picture '99'"):
        made(folder, coco=coco(folder, path=str(folder / "list.jsonl"), annotations=[str(folder / "instances.json")]))
