"""The command `chat`: answers in the terminal, pictures by path, mistakes as lines."""

import io
import json

import pytest
import torch
from PIL import Image

from vision_suite.cli.commands.chat import main
from vision_suite.datasets.conversations.pictures import Appearance
from vision_suite.datasets.conversations.settings import ChatSettings
from vision_suite.errors import CheckpointError, ConfigError, DataError
from vision_suite.layers.decoders import DecoderShape, new_decoder
from vision_suite.lit_modules.wings import LitWings
from vision_suite.models.mllm import Mllm, Projector, ProjectorConfig, TowerConfig, build_tower
from vision_suite.models.mllm.dialogue import Dialogue
from vision_suite.models.wings.attach import attach
from vision_suite.models.wings.config import WingsConfig
from vision_suite.models.wings.folder import longest_row, save_model
from vision_suite.text.chat import ChatFormat
from vision_suite.text.tokenizers import word_tokenizer

WORDS = "what is this a red fox dog and an old clock on my desk or the other one"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Folder of a model with wings, of a plain one, and a picture."""
    folder = tmp_path_factory.mktemp("chat")
    torch.manual_seed(0)
    tower = build_tower(TowerConfig("conv")).requires_grad_(False)
    chat = ChatFormat(word_tokenizer([WORDS]), image_tokens=tower.tokens, system="")
    shape = DecoderShape(width=32, depth=2, heads=4, positions=128, tied=False)
    decoder = new_decoder(shape, chat.vocabulary_size, pad_id=chat.pad_id, end_ids=chat.end_ids)
    for weight in decoder.parameters():  # so large that every token matters
        if weight.ndim == 2:
            torch.nn.init.normal_(weight, std=0.4)
    decoder.save_pretrained(folder / "plain")
    chat.tokenizer.save_pretrained(folder / "plain")
    attach(decoder, WingsConfig(rank=4, s_max=96))
    net = Mllm(decoder, tower, Projector(ProjectorConfig(), 128, 32, tokens=5), chat.image_token_id).eval()
    save_model(folder / "model", net, chat)
    Image.new("RGB", (40, 20), (200, 30, 30)).save(folder / "red.png")
    return folder, net, chat


def picture(net, path):
    form = Appearance(net.tower.image_size, net.tower.mean, net.tower.std)
    with Image.open(path) as image:
        return form.normalise(form.pixels(image)[None])[0]


def test_one_answer(model, capsys):
    folder, net, chat = model
    assert longest_row(net) == 96
    path = str(folder / "red.png")
    assert (
        main(["--model", str(folder / "model"), "--prompt", "what is this", "--image", path, "--max_new_tokens", "5"])
        == 0
    )
    dialogue = Dialogue(net, chat, max_new_tokens=5, do_sample=False)
    assert capsys.readouterr().out == dialogue.say("what is this", [picture(net, path)]) + "\n"


def said_of_wide_picture(folder, model, capsys):
    flags = ["--prompt", "what is this", "--image", str(folder / "half.png"), "--max_new_tokens", "9"]
    assert main(["--model", str(model), *flags]) == 0
    return capsys.readouterr().out


def test_a_folder_shows_pictures_as_the_run_did(model, tmp_path, capsys):
    folder, net, chat = model
    wide = Image.new("RGB", (40, 20), (200, 30, 30))
    wide.paste((20, 20, 220), (0, 0, 13, 20))
    wide.save(tmp_path / "half.png")
    size, mean, std = (64, 64), (0.2, 0.5, 0.4), (0.02, 0.01, 0.03)  # not the tower's, and so that a picture matters
    said = {}
    for square in ("stretch", "pad"):
        form = Appearance(size, mean, std, "bilinear", square)
        save_model(tmp_path / square, net, chat, form)
        shown = form.normalise(form.pixels(wide)[None])[0]
        said[square] = Dialogue(net, chat, max_new_tokens=9, do_sample=False).say("what is this", [shown]) + "\n"
        assert said_of_wide_picture(tmp_path, tmp_path / square, capsys) == said[square]
    assert said["stretch"] != said["pad"]
    # A folder of an earlier version has no such record, and pads to the tower's size.
    usual = Dialogue(net, chat, max_new_tokens=9, do_sample=False).say(
        "what is this", [picture(net, tmp_path / "half.png")]
    )
    assert said_of_wide_picture(tmp_path, folder / "model", capsys) == usual + "\n"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"square": "crop"}, "square='crop', which is not one of pad, stretch"),
        ({"std": [0.5, 0.0, 0.5]}, "not 3 finite numbers above 0"),
        ({"crop": 3}, "has the entry 'crop'"),
        ({"size": None}, "which is not a height and a width"),
        (None, "appearance is missing or wrong"),
        ({}, "appearance.size is missing"),
    ],
)
def test_a_damaged_form_of_pictures_is_one_line(change, words, model, tmp_path):
    _, net, chat = model
    save_model(tmp_path / "model", net, chat, Appearance((64, 64), (0.5,) * 3, (0.5,) * 3))
    path = tmp_path / "model" / "wings_config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps(settings | {"appearance": {**settings["appearance"], **change} if change else change}))
    with pytest.raises(CheckpointError, match=words) as caught:
        main(["--model", str(tmp_path / "model"), "--prompt", "what is this"])
    assert "\n" not in str(caught.value)
    assert "wings_config.json" in str(caught.value)


def test_a_conversation(model, capsys, monkeypatch):
    folder, net, chat = model
    path = folder / "red.png"
    lines = [
        "what is this", f"/image {path}", "", "and this", "/image nowhere.png", "/what", "<image> or", "/reset",
        "the fox", "/exit", "not read",
    ]  # fmt: skip
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines)))
    assert main(["--model", str(folder / "model"), "--max_new_tokens", "5"]) == 0
    dialogue = Dialogue(net, chat, max_new_tokens=5, do_sample=False)
    expected = [dialogue.say("what is this"), dialogue.say("and this", [picture(net, path)])]
    dialogue.reset()
    assert expected[0] != expected[1]
    said = "\n".join([*expected, ""])
    out = capsys.readouterr().out
    assert out.startswith(said)
    lines = out[len(said) :].splitlines()
    assert "nowhere.png" in lines[0]
    assert lines[1].startswith("/what is no command")
    assert "1 <image> markers, and 0 pictures" in lines[2]
    assert "\n".join(lines[3:]) + "\n" == dialogue.say("the fox") + "\n"


def test_a_checkpoint_of_a_run(tmp_path, capsys):
    (tmp_path / "words.txt").write_text("\n".join(WORDS.split()))
    data = {
        "colour": "RGB", "square": "pad", "resize": [64, 64], "interpolation": "bicubic", "scale": 1 / 255,
        "mean": [0.5] * 3, "std": [0.5] * 3, "tokenizer": str(tmp_path / "words.txt"), "image_tokens": 5,
        "template": "auto", "system": "", "max_length": 64,
    }  # fmt: skip
    chat = ChatSettings(data["tokenizer"], 5, "auto", "").load()
    torch.manual_seed(0)
    module = LitWings(
        chat.vocabulary_size, 5, tower={"kind": "conv"}, wings={"rank": 4, "s_max": 96},
        decoder={"shape": {"width": 32, "depth": 2, "heads": 4, "positions": 128, "tied": False}},
    )  # fmt: skip
    for weight in module.parameters():
        if weight.ndim == 2:
            torch.nn.init.normal_(weight.data, std=0.4)
    contents = {
        "state_dict": module.state_dict(), "hyper_parameters": dict(module.hparams),
        "pytorch-lightning_version": "2.6.6", "InstructData": {"preprocessing": data},
    }  # fmt: skip
    contents["hyper_parameters"]["_class_path"] = "vision_suite.lit_modules.wings.LitWings"
    torch.save(contents, tmp_path / "run.ckpt")
    Image.new("RGB", (40, 20), (200, 30, 30)).save(tmp_path / "red.png")
    flags = ["--prompt", "what is this", "--image", str(tmp_path / "red.png"), "--max_new_tokens", "5"]
    assert main(["--ckpt_path", str(tmp_path / "run.ckpt"), *flags]) == 0
    net = module.model.eval()
    net.image_token_id = chat.image_token_id
    dialogue = Dialogue(net, chat, max_new_tokens=5, do_sample=False)
    assert capsys.readouterr().out == dialogue.say("what is this", [picture(net, tmp_path / "red.png")]) + "\n"
    del contents["InstructData"]
    torch.save(contents, tmp_path / "run.ckpt")
    with pytest.raises(CheckpointError, match="does not hold the data's"):
        main(["--ckpt_path", str(tmp_path / "run.ckpt"), *flags])


def test_draws_are_those_of_the_seed(model, capsys):
    folder, _, _ = model
    said = []
    for seed in ("1", "1", "2"):
        flags = ["--temperature", "5", "--top_p", "0.99", "--seed", seed, "--max_new_tokens", "12"]
        assert main(["--model", str(folder / "model"), "--prompt", "what is this", *flags]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] != said[2]


def test_a_plain_language_model(model, capsys):
    folder, _, _ = model
    assert main(["--model", str(folder / "plain"), "--prompt", "what is this", "--max_new_tokens", "5"]) == 0
    assert capsys.readouterr().out.endswith("\n")
    with pytest.raises(ConfigError, match="reads no pictures"):
        main(["--model", str(folder / "plain"), "--prompt", "what", "--image", str(folder / "red.png")])


def test_mistakes_are_one_line(model):
    folder, _, _ = model
    with pytest.raises(ConfigError, match="give either --ckpt_path"):
        main([])
    with pytest.raises(ConfigError, match=r"--image belongs to --prompt"):
        main(["--model", str(folder / "model"), "--image", "a.png"])
    with pytest.raises(ConfigError, match="--top_p belongs to --temperature"):
        main(["--model", str(folder / "model"), "--prompt", "a", "--top_p", "0.9"])
    with pytest.raises(ConfigError, match=r"--top_p 1\.5"):
        main(["--model", str(folder / "model"), "--prompt", "a", "--temperature", "1", "--top_p", "1.5"])
    with pytest.raises(DataError, match="nowhere"):
        main(["--model", str(folder / "nowhere"), "--prompt", "a"])
