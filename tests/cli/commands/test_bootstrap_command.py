"""The command `bootstrap`: mining with a small model, going on, other thresholds, files of pairs, mistakes as lines."""

import json
import pickle

import pytest
import torch
from PIL import Image

from vision_suite.cli import main as suite
from vision_suite.cli.commands.bootstrap import main
from vision_suite.cli.mining.config import read_config, threshold_of
from vision_suite.cli.mining.parts import read_picture
from vision_suite.cli.mining.sampler import CheckpointSampler
from vision_suite.datasets.conversations.settings import ChatSettings
from vision_suite.errors import CheckpointError, ConfigError, DataError
from vision_suite.lit_modules.wings import LitWings
from vision_suite.mining.decide import Threshold
from vision_suite.mining.store import Store

WORDS = "describe the picture . a cat dog fox owl bus cup and".split()
NAMES = ["cat", "dog", "fox", "owl", "bus", "cup"]
CONFIG = """
run: tiny
output: {folder}/tiny.sqlite
images: {{path: {folder}/instances.json, question: Describe the picture.}}
sampling: {{count: 8, temperature: 1.0, max_new_tokens: 12, seed: 5}}
rules: {{mode: paper, max_sentences: 3}}
objects: {{kind: vocabulary, vocabulary: {folder}/synonyms.json}}
detectors:
  truth: {{kind: truth, path: {folder}/instances.json, threshold: 0.5}}
  second: {{kind: truth, path: {folder}/others.json, threshold: {{low: 0.5, high: 0.5, names: {{dog: [0, 0]}}}}}}
"""


def instances(path, shown):
    """COCO's instances of pictures with the numbers of the names that they show."""
    path.write_text(
        json.dumps(
            {
                "images": [{"id": n, "file_name": f"{n}.png", "width": 40, "height": 40} for n in range(len(shown))],
                "categories": [{"id": n, "name": name} for n, name in enumerate(NAMES)],
                "annotations": [
                    {"id": 10 * n + c, "image_id": n, "category_id": c, "bbox": [1, 1, 9, 9], "area": 81, "iscrowd": 0}
                    for n, each in enumerate(shown)
                    for c in each
                ],
            }
        )
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folder of a checkpoint, pictures, their truth, another opinion, and a configuration."""
    folder = tmp_path_factory.mktemp("bootstrap")
    (folder / "words.txt").write_text("\n".join(WORDS))
    (folder / "synonyms.json").write_text(json.dumps([{"words": [name]} for name in NAMES]))
    data = {
        "colour": "RGB", "square": "pad", "resize": [64, 64], "interpolation": "bicubic", "scale": 1 / 255,
        "mean": [0.5] * 3, "std": [0.5] * 3, "tokenizer": str(folder / "words.txt"), "image_tokens": 5,
        "template": "auto", "system": "", "max_length": 64,
    }  # fmt: skip
    chat = ChatSettings(data["tokenizer"], 5, "auto", "").load()
    torch.manual_seed(0)
    shape = {"width": 32, "depth": 2, "heads": 4, "positions": 96, "tied": False}
    module = LitWings(chat.vocabulary_size, 5, tower={"kind": "conv"}, decoder={"shape": shape})
    for weight in module.parameters():
        if weight.ndim == 2:
            torch.nn.init.normal_(weight.data, std=0.1)
    contents = {
        "state_dict": module.state_dict(), "hyper_parameters": dict(module.hparams),
        "pytorch-lightning_version": "2.6.6", "InstructData": {"preprocessing": data},
    }  # fmt: skip
    contents["hyper_parameters"]["_class_path"] = "vision_suite.lit_modules.wings.LitWings"
    torch.save(contents, folder / "run.ckpt")
    for number in range(4):
        Image.new("RGB", (40, 40), (60 * number, 30, 200 - 60 * number)).save(folder / f"{number}.png")
    instances(folder / "instances.json", [[0, 1, 2], [2, 3, 4], [0, 1, 2, 3, 4], [5, 0, 1]])
    instances(folder / "others.json", [[0, 2], [2, 3, 4], [0, 1, 2, 3], [5, 0]])
    (folder / "mine.yaml").write_text(CONFIG.format(folder=folder))
    return folder


@pytest.fixture(scope="module")
def mined(folder):
    """The same folder after mining."""
    assert main(["-c", str(folder / "mine.yaml"), "--ckpt_path", str(folder / "run.ckpt"), "--quiet"]) == 0
    return folder


def test_what_was_mined_is_counted_and_drawn(mined, capsys):
    assert main(["report", str(mined / "tiny.sqlite")]) == 0
    lines = capsys.readouterr().out.splitlines()
    report = json.loads((mined / "tiny.tiny.mined.json").read_text())
    counts = report["counts"]
    assert lines[0].startswith("pictures    4: 4 done")
    assert counts["candidates"] == 8 * counts["steps"]
    assert counts["pairs"] > 3
    assert f"coherence   {counts['steps_without_coherent']} of {counts['steps_with_context']} steps" in "\n".join(lines)
    (agreement,) = report["agreement"]
    assert agreement["detectors"] == ["second", "truth"]
    assert sum(map(sum, agreement["counts"])) == sum(counts["objects"].values())
    assert agreement["names"]["dog"][2] == [0, 0, 0], "the second one finds a dog everywhere"
    with Image.open(mined / "tiny.tiny.mined.second.truth.png") as picture:
        assert picture.width > 500


def test_a_finished_run_stays_as_it_is(mined, capsys):
    before = (mined / "tiny.tiny.mined.json").read_text()
    assert main(["-c", str(mined / "mine.yaml"), "--ckpt_path", str(mined / "run.ckpt"), "--quiet"]) == 0
    assert (mined / "tiny.tiny.mined.json").read_text() == before
    with pytest.raises(ConfigError, match=r"the run 'tiny' with seed=5 instead of 6"):
        main(["-c", str(mined / "mine.yaml"), "--ckpt_path", str(mined / "run.ckpt"), "--quiet", "--seed", "6"])


def test_thresholds_make_other_pairs_without_detectors(mined, capsys, monkeypatch):
    monkeypatch.setattr("vision_suite.cli.mining.parts._detector", None)
    file = str(mined / "tiny.sqlite")
    assert main(["pairs", file, "--name", "truth", "--thresholds", "truth=0.5", "--rules", "positives=both"]) == 0
    assert "0 uncertain" in capsys.readouterr().out
    report = json.loads((mined / "tiny.tiny.truth.json").read_text())
    assert report["thresholds"] == {"truth": {"low": 0.5, "high": 0.5, "names": {}}}
    assert report["rules"]["positives"] == "both"
    assert report["agreement"] == []
    for flags, message in [
        ([], "give --name"),
        (["--name", "mined", "--thresholds", "truth=1"], "give --name"),
        (["--name", "x"], "give --thresholds or --rules"),
        (["--name", "x", "--thresholds", "none=0.5"], "no scores of detector 'none': it has second, truth"),
        (["--name", "x", "--thresholds", "truth=much"], "truth=much: give NAME=LIMIT"),
        (["--name", "x", "--thresholds", "truth=0.1:0.2:0.3"], "truth=0.1:0.2:0.3: give NAME=LIMIT"),
        (["--name", "x", "--thresholds", "truth=0.7:0.2"], "threshold"),
        (["--name", "x", "--rules", "growth=natural"], "growth: .*grew, by growth=non_hallucinated; .*new run only"),
        (["--name", "x", "--rules", "mode=released", "max_sentences=4"], "max_sentences=3; .*new run only"),
        (["--name", "x", "--rules", "positives=all"], "choose one of coherent, agnostic, both"),
    ]:
        with pytest.raises(ConfigError, match=message):
            main(["pairs", file, *flags])


def test_another_mode_keeps_the_rules_of_the_stored_contexts(mined, capsys):
    rules = ["--rules", "mode=released", "max_sentences=3"]
    assert main(["pairs", str(mined / "tiny.sqlite"), "--name", "released", *rules]) == 0
    made = json.loads((mined / "tiny.tiny.released.json").read_text())
    assert made["counts"]["first_pairs"] == 0
    own = json.loads((mined / "tiny.tiny.mined.json").read_text())["rules"]
    changed = {name for name, value in made["rules"].items() if value != own[name]}
    assert changed == {"first_pairs", "out_of_vocabulary"}


def test_a_further_detector_scores_what_was_mined(mined, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("vision_suite.cli.mining.parts.CheckpointSampler", None)
    file = str(tmp_path / "tiny.sqlite")
    (tmp_path / "tiny.sqlite").write_bytes((mined / "tiny.sqlite").read_bytes())
    third = f"  third: {{{{kind: truth, path: {mined}/others.json}}}}\n"
    (tmp_path / "more.yaml").write_text((CONFIG + third).format(folder=mined))
    command = ["score", file, "-c", str(tmp_path / "more.yaml"), "--quiet"]
    pairs = ["pairs", file, "--name", "third", "--thresholds", "truth=0.5", "third=0.5"]
    with pytest.raises(ConfigError, match=r"no scores of detector 'third': it has second, truth, and .*score` adds"):
        main(pairs)
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("third: ")
    assert lines[1:] == ["complete before: truth, second"]
    assert main(pairs) == 0
    assert main(["pairs", file, "--name", "second", "--thresholds", "truth=0.5", "second=0.5"]) == 0
    one, other = (json.loads((tmp_path / f"tiny.tiny.{name}.json").read_text()) for name in ("third", "second"))
    assert one["counts"] == other["counts"], "it has the opinion of the second one"
    capsys.readouterr()
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines() == ["complete before: truth, second, third"]
    (tmp_path / "more.yaml").write_text((CONFIG + third.replace("others", "none")).format(folder=mined))
    with pytest.raises(ConfigError, match="holds the detector 'third' with path"):
        main(command)


def test_files_of_pairs_hold_what_was_mined(mined, capsys):
    file = str(mined / "tiny.sqlite")
    count = json.loads((mined / "tiny.tiny.mined.json").read_text())["counts"]["pairs"]
    assert main(["export", file, "--output", str(mined / "pairs.jsonl")]) == 0
    rows = [json.loads(line) for line in (mined / "pairs.jsonl").read_text().splitlines()]
    assert len(rows) == count
    shown = [{NAMES[each] for each in numbers} for numbers in ([0, 1, 2], [2, 3, 4], [0, 1, 2, 3, 4], [5, 0, 1])]
    for row in rows:
        truth = shown[int(row["image_id"])]
        assert set(row["objects_of_y_win"]) <= truth
        assert row["hallu_objects_of_y_lose"]
        assert not truth & set(row["hallu_objects_of_y_lose"])
        assert set(row["nonhallu_objects"]) <= truth
        assert isinstance(row["chosen_ends"], bool)
    assert main(["export", file, "--output", str(mined / "pairs.parquet"), "--layout", "trl"]) == 0
    assert f"{count} pairs" in capsys.readouterr().out
    assert main(["export", file, "--output", str(mined / "images.jsonl"), "--layout", "images"]) == 0
    assert f"4 pictures: {mined / 'images.jsonl'}" in capsys.readouterr().out
    images = [json.loads(line) for line in (mined / "images.jsonl").read_text().splitlines()]
    assert [(each["image_id"], each["image_path"]) for each in images] == [(str(n), f"{n}.png") for n in range(4)]
    assert not any(set(each["nonhallu_objects"]) - truth for each, truth in zip(images, shown, strict=True))
    with pytest.raises(ConfigError, match=r"layout='image' .*trl_json, images"):
        main(["export", file, "--output", str(mined / "a.jsonl"), "--layout", "image"])
    with pytest.raises(DataError, match="no such file of mining"):
        main(["export", str(mined / "none.sqlite"), "--output", str(mined / "a.jsonl")])
    with pytest.raises(ConfigError, match="has no pairs 'other'"):
        main(["export", file, "--name", "other", "--output", str(mined / "a.jsonl")])


def test_a_sampler_is_the_same_in_another_process(folder):
    sampler = CheckpointSampler(folder / "run.ckpt", temperature=1.0, max_new_tokens=12)
    image, _ = read_picture(str(folder / "0.png"))
    first = sampler(image, "Describe the picture.", "a cat.", count=4, seed=3)
    copy = pickle.loads(pickle.dumps(sampler))
    assert copy._model is None
    assert copy(image, "Describe the picture.", "a cat.", count=4, seed=3) == first
    assert copy(image, "Describe the picture.", "a cat.", count=4, seed=4) != first
    (likeliest,) = sampler(image, "Describe the picture.", "", count=1, seed=0, greedy=True)
    assert sampler(image, "Describe the picture.", "", count=1, seed=9, greedy=True) == [likeliest]
    assert sampler(image, "Describe the picture.", "a cat . " * 40, count=2, seed=0) == [], "no room is left"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("run: tiny", "runs: tiny", "no setting 'runs'"),
        ("mode: paper", "mode: own", "rules.mode='own'"),
        ("count: 8", "count: 1", r"sampling.count=1 must be a whole number at least 2"),
        ("seed: 5", "seeds: 5", "sampling has no setting 'seeds'"),
        ("threshold: 0.5}", "threshold: 2}", "detectors.truth.threshold=2"),
        ("kind: vocabulary", "kind: words", "objects.kind='words'"),
        ("images:", "pictures:", "no setting 'pictures'"),
        ("path: {folder}/instances.json, question", "question", "images.path is missing"),
    ],
)
def test_mistakes_in_a_configuration_are_one_line(old, new, message, tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text(CONFIG.replace(old, new, 1).format(folder=tmp_path))
    with pytest.raises(ConfigError, match=message) as caught:
        read_config(str(file))
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


def test_mistakes_in_flags_are_one_line(folder, capsys):
    assert suite(["bootstrap", "-c", "sentinel/mine_scene", "--ckpt_path", "a"]) == 2
    assert "did you mean 'sentinel/mine_scenes'" in capsys.readouterr().err
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        main(["-c", str(folder / "mine.yaml"), "--ckpt_path", str(folder / "none.ckpt")])
    (folder / "bad.yaml").write_text(CONFIG.replace("kind: truth", "kind: eyes").format(folder=folder))
    with pytest.raises(ConfigError, match=r"detectors.truth.kind='eyes' .*truth, small, hub, centernet"):
        main(["-c", str(folder / "bad.yaml"), "--ckpt_path", str(folder / "run.ckpt")])
    (folder / "bad.yaml").write_text(CONFIG.replace("threshold: 0.5", "threshold: validated").format(folder=folder))
    with pytest.raises(ConfigError, match=r"detectors.truth has no threshold of its own"):
        main(["-c", str(folder / "bad.yaml"), "--ckpt_path", str(folder / "run.ckpt")])


def test_pictures_that_all_fail_are_no_success(folder, tmp_path, capsys):
    gone = {**json.loads((folder / "instances.json").read_text())}
    gone["images"] = [{**each, "file_name": f"gone/{each['file_name']}"} for each in gone["images"]]
    (folder / "gone.json").write_text(json.dumps(gone))
    text = CONFIG.replace("path: {folder}/instances.json, question", "path: {folder}/gone.json, question")
    (tmp_path / "mine.yaml").write_text(text.replace("output: {folder}", f"output: {tmp_path}").format(folder=folder))
    flags = ["bootstrap", "-c", str(tmp_path / "mine.yaml"), "--ckpt_path", str(folder / "run.ckpt"), "--quiet"]
    assert suite(flags) == 2
    assert "none of 4 pictures could be read; the first one: " in capsys.readouterr().err


def test_what_is_missing_is_named(folder, tmp_path):
    with Store(tmp_path / "empty.sqlite"):
        pass
    with pytest.raises(ConfigError, match="no run has begun in it"):
        main(["report", str(tmp_path / "empty.sqlite")])
    small = CONFIG.replace(
        "second: {{kind: truth, path: {folder}/others.json,", "second: {{kind: small, checkpoint: a.ckpt,"
    )
    (tmp_path / "small.yaml").write_text(small.format(folder=folder))
    with pytest.raises(DataError, match=r"detector's file 'a.ckpt' does not exist"):
        main(["-c", str(tmp_path / "small.yaml"), "--ckpt_path", str(folder / "run.ckpt")])


def test_thresholds_in_three_forms():
    assert threshold_of(0.3, "a") == Threshold(0.3, 0.3)
    assert threshold_of([0.3, 0.6], "a") == Threshold(0.3, 0.6)
    named = {"low": 0.1, "high": 0.2, "names": {"dog": 0.5}}
    assert threshold_of(named, "a") == Threshold(0.1, 0.2, {"dog": (0.5, 0.5)})
    assert named["names"] == {"dog": 0.5}
    with pytest.raises(ConfigError, match="give low and high"):
        threshold_of({"low": 0.1}, "a")
