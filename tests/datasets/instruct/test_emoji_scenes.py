"""Emoji-Scenes on a generated stand-in of the archives: truth of captions, questions and boxes; splits; bytes."""

import json
import re

import numpy as np
import pytest
from emoji_fixture import PLAIN, make_fake_set, silent
from PIL import Image

from vision_suite.datasets.instruct import emoji_scenes_recipe
from vision_suite.datasets.instruct.data import InstructData
from vision_suite.datasets.instruct.emoji_scenes_recipe import EmojiScenes
from vision_suite.datasets.instruct.question_rows import right_answer
from vision_suite.datasets.instruct.scenes import build as scenes_build
from vision_suite.datasets.instruct.scenes.layout import Sizes
from vision_suite.datasets.prepare.base import Options
from vision_suite.errors import ConfigError, DataError

COUNT = {"train": 12, "val": 6, "test": 6, "adversarial": 6}
FURTHER = {"mining": 5, "mining_prior": 4, "val_adversarial": 2, "familiar": 3, "familiar_adversarial": 2}
CLOSED = {"left": tuple(PLAIN[0:10:2]), "right": tuple(PLAIN[10:20:2])}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The open and the closed variant, built from generated archives."""
    folder = tmp_path_factory.mktemp("scenes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VISION_SUITE_DATA", str(folder / "data"))
        patch.setattr(scenes_build, "SCENES", {"open": COUNT, "closed": COUNT | FURTHER})
        sizes = {"open": Sizes(96, 20, 36, 2), "closed": Sizes(64, 20, 28, 2)}
        patch.setattr(scenes_build, "SIZES", sizes)
        patch.setattr(scenes_build, "COPIES", {"train": 2, "val": 1, "test": 3})
        patch.setattr(scenes_build, "CLOSED", CLOSED)
        patch.setattr(emoji_scenes_recipe, "CLOSED_DESIGNS", ("design0", "design1", "design4"))
        fake = make_fake_set(folder)
        recipe = EmojiScenes(fake.plan)
        yield {
            variant: recipe.prepare(silent, Options(fake.archives, None, 1, variant)) for variant in ("open", "closed")
        } | {"recipe": recipe, "archives": fake.archives}


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def truth(folder, split):
    """Names, and boxes by name, of each scene, from the COCO file."""
    table = json.loads((folder / f"instances_{split}.json").read_text())
    names = {category["id"]: category["name"] for category in table["categories"]}
    scenes = {image["id"]: {"file": image["file_name"], "boxes": {}} for image in table["images"]}
    for each in table["annotations"]:
        scenes[each["image_id"]]["boxes"][names[each["category_id"]]] = each["bbox"]
    return scenes


@pytest.mark.parametrize("variant", ["open", "closed"])
def test_folders_are_whole_and_found_again(made, variant):
    folder, recipe = made[variant], made["recipe"]
    assert folder.name == ("emoji-scenes" if variant == "open" else "emoji-scenes-closed")
    assert recipe.why_not_ready(folder) is None
    assert not recipe.verify(folder, silent).problems
    for name in ("train.json", "val.json"):
        rows = json.loads((folder / name).read_text())
        assert len({row["id"] for row in rows}) == len(rows)
        assert all((folder / row["image"]).is_file() for row in rows)
        assert all(row["conversations"][0]["value"].startswith("<image>\n") for row in rows)
    for path in folder.glob("questions_*.jsonl"):
        assert all((folder / image).is_file() for row in lines(path) for image in row["turns"][0]["images"])
    used = {row["image"] for name in ("train", "val") for row in json.loads((folder / f"{name}.json").read_text())}
    used |= {row["turns"][0]["images"][0] for path in folder.glob("*_*.jsonl") if "pref" not in path.name
             for row in lines(path)}  # fmt: skip
    assert used == {path.relative_to(folder).as_posix() for path in folder.rglob("*.png")}, "no picture without a row"


@pytest.mark.parametrize("variant", ["open", "closed"])
def test_the_same_bytes_come_again(made, variant, tmp_path, monkeypatch):
    monkeypatch.setenv("VISION_SUITE_DATA", str(tmp_path))
    again = made["recipe"].prepare(silent, Options(made["archives"], None, 2, variant))
    assert (again / "MANIFEST.json").read_bytes() == (made[variant] / "MANIFEST.json").read_bytes()


def test_boxes_are_those_of_the_visible_pixels(made):
    for scene in truth(made["open"], "train").values():
        picture = np.asarray(Image.open(made["open"] / scene["file"])).astype(int)
        boxes = list(scene["boxes"].values())
        outside = np.ones(picture.shape[:2], dtype=bool)
        for x, y, width, height in boxes:
            assert (outside[y : y + height, x : x + width]).all(), "no two overlap"
            outside[y : y + height, x : x + width] = False
            assert width >= 10
            assert height >= 10
        background = picture[outside][0]
        # Pixels of under 16 of 255 opacity may lie outside of a box.
        assert np.abs(picture[outside] - background).max() <= 16
        for x, y, width, height in boxes:
            inside = np.abs(picture[y : y + height, x : x + width] - background).max(2) > 16
            assert inside[0].any()
            assert inside[:, 0].any()
            assert inside[-1].any()
            assert inside[:, -1].any()


def test_sentences_are_true_and_begin_with_what_is_known(made):
    sentence = re.compile(
        r"(?:Above|Below|To the (?:left|right) of) the (?P<known1>.+?) there (?:is|are) (?:an? )?(?P<new1>.+)"
        r"|There (?:is|are) (?:an? )?(?P<new2>.+?) (?:above|below|to the (?:left|right) of) the (?P<known2>.+)"
        r"|(?:An? )?(?P<new3>.+?) (?:is|are) (?:above|below|to the (?:left|right) of) the (?P<known3>.+)"
    )
    checked = 0
    scenes = truth(made["closed"], "test")
    for row in lines(made["closed"] / "captions_test.jsonl"):
        boxes = scenes[int(row["id"].split("-")[1])]["boxes"]
        first, *rest = row["turns"][0]["answer"].rstrip(".").split(". ")
        named = [re.fullmatch(r"(?:There is|The picture shows) an? (.+)", first)[1]]
        for text in rest:
            groups = sentence.fullmatch(text).groupdict()
            known, new = (next(v for k, v in groups.items() if k.startswith(kind) and v) for kind in ("known", "new"))
            assert known in named
            assert new not in named
            assert new in boxes
            (x, y, w, h), (known_x, known_y, known_w, known_h) = boxes[new], boxes[known]
            across, down = x + w / 2 - known_x - known_w / 2, y + h / 2 - known_y - known_h / 2
            where = re.search(r"above|below|left|right", text, re.IGNORECASE)[0].lower()
            value = {"above": -down, "below": down, "left": -across, "right": across}[where]
            assert value > 0, "boxes of visible pixels are centred in the drawn square here"
            named.append(new)
            checked += 1
        assert sorted(named) == sorted(boxes), "everything is named once"
    assert checked


def test_plain_captions_name_everything_once_beside_something_named(made):
    folder, checked = made["closed"], 0
    sentence = re.compile(r"Next to the (?P<known>.+?) there (?:is|are) (?:an? )?(?P<new>.+)")
    for split in ("val", "adversarial", "mining", "familiar"):
        scenes = truth(folder, split)
        for row in lines(folder / f"plain_captions_{split}.jsonl"):
            boxes = scenes[int(row["id"].split("-")[1])]["boxes"]
            first, *rest = row["turns"][0]["answer"].rstrip(".").split(". ")
            named = [re.fullmatch(r"There (?:is|are) (?:an? )?(.+)", first)[1]]
            for known, new in (sentence.fullmatch(text).groups() for text in rest):
                assert known in named
                named.append(new)
                checked += 1
            assert sorted(named) == sorted(boxes)
    assert checked
    words = (folder / "words.txt").read_text().split()
    assert {"next", "to", "left"} <= set(words)
    rows, usual = (json.loads((folder / f"{kind}_caption.json").read_text()) for kind in ("train_plain", "train"))
    assert [row["image"] for row in rows] == [row["image"] for row in usual]
    assert all("left" not in row["conversations"][1]["value"] for row in rows)
    assert not list(made["open"].glob("*plain*"))


@pytest.mark.parametrize("variant", ["open", "closed"])
def test_answers_are_true(made, variant):
    for split in ("val", "test", "adversarial"):
        scenes = truth(made[variant], split)
        tasks = {}
        for row in lines(made[variant] / f"questions_{split}.jsonl"):
            (turn,) = row["turns"]
            tasks.setdefault(turn["source"], []).append(turn)
            answer, asked = right_answer(turn), turn["question"].removeprefix("<image>\n")
            if turn["source"] == "yes-no":
                name = re.fullmatch(r"(?:Is|Are) there (?:an? )?(.+)\?", asked)[1]
                boxes = scenes[int(row["id"].split("-")[2])]["boxes"]
                assert (name in boxes) == (answer == "yes")
            elif turn["source"] == "count":
                boxes = scenes[int(row["id"].split("-")[1])]["boxes"]
                assert answer == ["one", "two", "three", "four"][len(boxes) - 1]
            elif turn["source"] == "name":
                assert answer.replace(" ", "-") in row["id"]
        assert len(tasks["yes-no"]) == 2 * COUNT[split]
        assert len(tasks["count"]) == COUNT[split]


def test_splits_of_the_open_variant_share_no_name(made):
    names = {split: {name for scene in truth(made["open"], split).values() for name in scene["boxes"]}
             for split in COUNT}  # fmt: skip
    assert not names["train"] & (names["val"] | names["test"] | names["adversarial"])
    assert not names["val"] & names["test"]


def test_the_last_design_of_the_closed_variant_is_in_tests_only(made):
    designs = {
        split: {
            image["design"] for image in json.loads((made["closed"] / f"instances_{split}.json").read_text())["images"]
        }
        for split in COUNT
    }
    assert designs["train"] | designs["val"] == {"design0", "design1"}
    assert designs["test"] == designs["adversarial"] == {"design4"}
    rows = [row for row in lines(made["closed"] / "questions_test.jsonl") if row["id"].startswith("name-")]
    assert len(rows) == 10 * 3
    assert all("-design4-" in row["id"] for row in rows)
    manifest = json.loads((made["closed"] / "MANIFEST.json").read_text())
    assert [source["key"] for source in manifest["sources"]] == ["design0", "design1", "design4", "labels"]
    assert "Design2" not in manifest["attribution"], "a design that is not used is not credited"
    open_manifest = json.loads((made["open"] / "MANIFEST.json").read_text())
    assert "Share-alike: Design2" in open_manifest["attribution"]


def test_words_of_tests_are_words_of_training(made):
    folder = made["closed"]
    known = set((folder / "words.txt").read_text().split())
    texts = [t["value"] for row in json.loads((folder / "train.json").read_text()) for t in row["conversations"]]
    texts += [row["turns"][0]["question"] + " " + right_answer(row["turns"][0])
              for row in lines(folder / "questions_test.jsonl") + lines(folder / "captions_test.jsonl")]  # fmt: skip
    texts += [row["y_lose"] for row in lines(folder / "preferences_train.jsonl")]
    plain = json.loads((folder / "train_plain_caption.json").read_text())
    texts += [turn["value"] for row in plain for turn in row["conversations"]]
    found = {w for text in texts for w in re.findall(r"\w+|[^\w\s]", text.replace("<image>", "").lower())}
    assert found <= known


@pytest.mark.parametrize(
    ("variant", "name"), [("open", "preferences"), ("closed", "preferences"), ("closed", "plain_preferences")]
)
def test_preferences_are_true_against_made_up(made, variant, name):
    scenes = truth(made[variant], "train")
    pairs = lines(made[variant] / f"{name}_train.jsonl")
    assert pairs
    assert name == "preferences" or all(
        pair[side].startswith("Next to the ") for pair in pairs for side in ("y_win", "y_lose")
    )
    for pair in pairs:
        boxes = scenes[pair["image_id"]]["boxes"]
        known, new = pair["objects_of_y_win"]
        (false,) = pair["hallu_objects_of_y_lose"]
        assert known in pair["context_gen_objects"]
        assert known in pair["context"]
        assert new not in pair["context"]
        assert {known, new} <= set(boxes)
        assert false not in boxes
        assert known in pair["y_win"]
        assert new in pair["y_win"]
        assert false in pair["y_lose"]
        assert any(name in pair["y_lose"] for name in pair["context_gen_objects"])
        assert pair["type"] == "y+"
        assert pair["image_path"] == scenes[pair["image_id"]]["file"]
    last = [pair for pair in pairs if pair["is_last_sent"]]
    assert len(last) == sum(len(scene["boxes"]) > 1 for scene in scenes.values())


def test_scenes_to_mine_on_are_new_and_state_their_co_occurrence(made):
    folder = made["closed"]
    manifest = json.loads((folder / "MANIFEST.json").read_text())
    together = {"train": 0.8, "val": 0.8, "test": 0.8, "adversarial": 0.0, "mining": 0.4, "mining_prior": 0.6}
    together |= {"val_adversarial": 0.0, "familiar": 0.8, "familiar_adversarial": 0.0}
    assert manifest["together"] == together
    assert manifest["rule_version"] == 4
    assert "mining" not in json.loads((made["open"] / "MANIFEST.json").read_text())["together"]
    designs = {}
    numbers = []
    for split in COUNT | FURTHER:
        table = json.loads((folder / f"instances_{split}.json").read_text())
        designs[split] = {image["design"] for image in table["images"]}
        numbers += [image["id"] for image in table["images"]]
    assert len(set(numbers)) == len(numbers)
    assert not designs["mining"] & designs["adversarial"]
    for split, count in FURTHER.items():
        scenes, rows = truth(folder, split), json.loads((folder / f"{split}_caption.json").read_text())
        assert len(scenes) == len(rows) == manifest["counts"]["scenes"][split] == count
        asked = lines(folder / f"captions_{split}.jsonl")
        for row, question, scene in zip(rows, asked, scenes.values(), strict=True):
            answer = row["conversations"][1]["value"]
            assert row["image"] == scene["file"] == question["turns"][0]["images"][0]
            assert right_answer(question["turns"][0]) == answer
            assert all(name in answer for name in scene["boxes"])


def test_scenes_to_mine_on_change_no_other_file(made, tmp_path, monkeypatch):
    monkeypatch.setenv("VISION_SUITE_DATA", str(tmp_path))
    monkeypatch.setattr(scenes_build, "SCENES", {"closed": COUNT})
    less = made["recipe"].prepare(silent, Options(made["archives"], None, 1, "closed"))
    for path in (each for each in less.rglob("*.*") if each.name != "MANIFEST.json"):
        assert path.read_bytes() == (made["closed"] / path.relative_to(less)).read_bytes(), path.name


def test_a_name_that_no_design_draws_stops_the_closed_variant(made, tmp_path, monkeypatch):
    monkeypatch.setenv("VISION_SUITE_DATA", str(tmp_path))
    monkeypatch.setattr(scenes_build, "CLOSED", {"left": (PLAIN[1], *CLOSED["left"]), "right": CLOSED["right"]})
    with pytest.raises(DataError, match=rf"design design4 does not draw '{PLAIN[1]}' \(1 missing\)"):
        made["recipe"].prepare(silent, Options(made["archives"], None, 1, "closed"))
    assert not (tmp_path / "emoji-scenes-closed").exists()


def test_an_unknown_variant_is_one_line(made):
    with pytest.raises(ConfigError, match=r"emoji-scenes has no variant 'shut': choose open, closed, closed-256"):
        made["recipe"].prepare(silent, Options(variant="shut"))


@pytest.mark.parametrize("variant", ["open", "closed"])
def test_the_datamodule_reads_every_row(made, variant):
    folder = made[variant]
    words = str(folder / "words.txt")
    data = InstructData(str(folder), tokenizer=words, image_tokens=5, image_size=(64, 64), num_workers=0, seed=0)
    data.setup("fit")
    data.setup("test")
    assert data.size("fit") == len(json.loads((folder / "train.json").read_text()))
    assert data.size("test") == len(lines(folder / "questions_test.jsonl"))
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape[1:] == (3, 64, 64)
    assert (batch["image_of_token"] >= 0).sum() == 5 * len(batch["image"])
    assert data.chat.unknown_id is not None
    assert not (batch["input_ids"] == data.chat.unknown_id).any()
