"""Files of wings: names, the check of their base, the released code's names, whole models in a folder."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from vision_suite.errors import CheckpointError, ConfigError
from vision_suite.layers.decoders import DecoderShape, new_decoder
from vision_suite.models.mllm import Mllm, Projector, ProjectorConfig, TowerConfig, build_tower
from vision_suite.models.mllm.lora import LoraSettings, add_lora, lora_parameters
from vision_suite.models.wings.adapter import base_weights, fingerprint, import_reference, load_wings, wings_tensors
from vision_suite.models.wings.attach import attach, find, wings_parameters
from vision_suite.models.wings.config import WingsConfig
from vision_suite.models.wings.folder import load_model, save_model
from vision_suite.text.chat import ChatFormat
from vision_suite.text.tokenizers import word_tokenizer
from vision_suite.types.instruct import Message

WORDS = "what kind of thing is shown in this picture a red fox dog and an old clock on my desk"
SHAPE = DecoderShape(width=32, depth=3, heads=4, key_heads=2, positions=128)
CONFIG = WingsConfig(rank=4, s_max=64)
IDS = torch.tensor([[6, 7, 8, 9, 10, 11]])
IMAGE = torch.tensor([[False, True, True, False, False, False]])


def decoder(seed=0):
    torch.manual_seed(seed)
    return new_decoder(SHAPE, 40)


def randomised(model, seed=1):
    torch.manual_seed(seed)
    for each in wings_parameters(model).values():
        nn.init.normal_(each, std=0.3)
    return model


@torch.no_grad()
def logits(model):
    return model(input_ids=IDS, is_image=IMAGE, use_cache=False).logits


def test_names_and_sizes_of_the_files():
    model = decoder()
    attach(model, CONFIG)
    tensors = wings_tensors(model)
    names = {
        f"layers.{n}.{side}.{part}.{factor}.weight"
        for n in range(3) for side in ("visual", "textual") for part in "qkvo" for factor in "ab"
    } | {f"layers.{n}.router.{part}" for n in range(3) for part in ("weight", "bias")}  # fmt: skip
    assert set(tensors) == names
    assert sum(each.numel() for each in tensors.values()) == 3 * (2 * 8 * 32 * 4 + 2 * 64 + 2)


def test_wings_go_to_a_fresh_base_and_nowhere_else(tmp_path):
    model = decoder()
    attach(model, CONFIG)
    expected = logits(randomised(model))
    save_file({n: each.contiguous() for n, each in wings_tensors(model).items()}, tmp_path / "wings.safetensors")
    tensors = load_file(tmp_path / "wings.safetensors")
    other = decoder()
    attach(other, CONFIG)
    zero = logits(other)
    for wrong in (
        {n: each for n, each in tensors.items() if n != "layers.1.visual.q.a.weight"},
        {**tensors, "layers.7.router.bias": torch.zeros(2)},
        {**tensors, "layers.0.router.bias": torch.zeros(3)},
    ):
        with pytest.raises(CheckpointError, match="attach wings with the file's settings"):
            load_wings(other, wrong, "file")
        torch.testing.assert_close(logits(other), zero, atol=0, rtol=0)
    load_wings(other, tensors, "file")
    torch.testing.assert_close(logits(other), expected, atol=0, rtol=0)


def test_a_base_is_known_by_its_weights_alone():
    own = fingerprint(decoder())
    model = decoder()
    attach(model, CONFIG)
    add_lora(model, LoraSettings(rank=2))
    assert fingerprint(randomised(model)) == own
    assert fingerprint(decoder().to(torch.bfloat16)) == own
    assert fingerprint(decoder(seed=3)) != own
    plain = decoder().state_dict()
    kept = base_weights(model)
    assert kept.keys() == plain.keys()
    assert all(torch.equal(kept[name], plain[name]) for name in plain)


def released(layers=(0, 1, 2), rank=4, width=32, positions=64, seed=2, router=True):
    """Tensors as the released code stores them, and its linear layers."""
    torch.manual_seed(seed)
    tensors, modules = {"model.embed_tokens.weight": torch.zeros(2, 2)}, {}
    for layer in layers:
        for side in ("attn_pool", "attn_t_pool"):
            for part in "qkvo":
                pair = nn.Sequential(nn.Linear(width, rank, bias=False), nn.Linear(rank, width, bias=False))
                modules[layer, side, part] = pair
                name = f"model.layers.{layer}.{side}.{part}_proj"
                tensors |= {f"{name}.{n}.weight": each.weight.detach() for n, each in enumerate(pair)}
        if router:
            linear = nn.Linear(positions, 2)
            tensors |= {f"model.layers.{layer}.reweight_module.linear.{n}": value.detach()
                        for n, value in linear.state_dict().items()}  # fmt: skip
    for number, inner in ((0, 12), (2, width)):
        linear = nn.Linear(inner, width)
        tensors |= {f"model.mm_projector.{number}.{n}": value.detach() for n, value in linear.state_dict().items()}
    return tensors, modules


def test_released_names_give_the_released_products():
    tensors, modules = released()
    model, projector = decoder(), Projector(ProjectorConfig(), 12, 32, tokens=5)
    done = import_reference(model, tensors, projector)
    assert done == (3 * 18, 4, ("model.embed_tokens.weight",))
    x = torch.randn(7, 32)
    sides = {"attn_pool": "visual", "attn_t_pool": "textual"}
    for (layer, side, part), pair in modules.items():
        factors = getattr(getattr(model.model.layers[layer].self_attn.wings, sides[side]), part)
        torch.testing.assert_close(x @ factors.a @ factors.b, pair(x))
    router = model.model.layers[1].self_attn.wings.router
    assert torch.equal(router.weight, tensors["model.layers.1.reweight_module.linear.weight"])
    weights = [tensors[f"model.mm_projector.{n}.weight"] for n in (0, 2)]
    biases = [tensors[f"model.mm_projector.{n}.bias"] for n in (0, 2)]
    y = torch.randn(2, 5, 12)
    expected = nn.functional.gelu(y @ weights[0].T + biases[0]) @ weights[1].T + biases[1]
    torch.testing.assert_close(projector(y), expected)
    config = find(model).config
    assert (config.rank, config.s_max, config.stage, config.leak) == (4, 64, 2, True)


def test_released_first_stage_and_layers():
    tensors, _ = released(layers=(0, 2), router=False)
    model = decoder()
    import_reference(model, tensors, leak=False)
    config = find(model).config
    assert (config.layers, config.stage, config.leak) == ((0, 2), 1, False)
    with pytest.raises(CheckpointError, match="is not known"):
        import_reference(decoder(), {**tensors, "model.layers.0.attn_pool.norm.weight": torch.ones(2)})
    with pytest.raises(CheckpointError, match="lacks"):
        import_reference(
            decoder(), {n: each for n, each in tensors.items() if n != "model.layers.0.attn_pool.q_proj.0.weight"}
        )
    with pytest.raises(CheckpointError, match="wings of the ranks"):
        import_reference(decoder(), {"model.embed_tokens.weight": torch.ones(2)})


def model_and_chat(lora=False, wings=True):
    tokenizer = word_tokenizer([WORDS])
    tower = build_tower(TowerConfig("conv")).requires_grad_(False)
    chat = ChatFormat(tokenizer, image_tokens=tower.tokens, system="")
    torch.manual_seed(0)
    base = new_decoder(SHAPE, chat.vocabulary_size, pad_id=chat.pad_id, end_ids=chat.end_ids)
    if wings:
        attach(base, CONFIG)
        randomised(base)
    if lora:
        for each in add_lora(base, LoraSettings(rank=2)).values():
            nn.init.normal_(each, std=0.3)
    projector = Projector(ProjectorConfig(norm=True), tower.width, 32, tokens=tower.tokens)
    return Mllm(base, tower, projector, chat.image_token_id).eval(), chat


@torch.no_grad()
def answer_logits(net, chat):
    prompt = chat.prompt([Message("user", (0, "\nwhat is shown ?"))])
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    return net({"input_ids": torch.tensor([prompt.ids]), "image": image})


@pytest.mark.parametrize(("lora", "wings"), [(True, True), (False, True), (True, False)])
def test_a_whole_model_comes_back_from_its_folder(lora, wings, tmp_path):
    net, chat = model_and_chat(lora, wings)
    save_model(tmp_path / "model", net, chat)
    loaded, format = load_model(tmp_path / "model")
    torch.testing.assert_close(answer_logits(loaded, format), answer_logits(net, chat), atol=0, rtol=0)
    assert bool(lora_parameters(loaded)) == lora
    assert format.settings == chat.settings
    usual = (tmp_path / "model" / "wings_config.json").stat().st_mode
    assert {path.stat().st_mode for path in (tmp_path / "model").rglob("*.safetensors")} == {usual}, (
        "readable by others"
    )
    plain = load_file(tmp_path / "model" / "base" / "model.safetensors")
    assert not any("wings" in name or "lora" in name or "base_layer" in name for name in plain)


def test_a_named_base_is_not_copied_and_is_checked(tmp_path):
    net, chat = model_and_chat()
    torch.manual_seed(0)
    names = {"pad_id": chat.pad_id, "end_ids": chat.end_ids}
    new_decoder(SHAPE, chat.vocabulary_size, **names).save_pretrained(tmp_path / "lm")
    torch.manual_seed(9)
    new_decoder(SHAPE, chat.vocabulary_size, **names).save_pretrained(tmp_path / "other")
    save_model(tmp_path / "model", net, chat, base=str(tmp_path / "lm"))
    assert not (tmp_path / "model" / "base").exists()
    loaded, format = load_model(tmp_path / "model")
    torch.testing.assert_close(answer_logits(loaded, format), answer_logits(net, chat), atol=0, rtol=0)
    with pytest.raises(CheckpointError, match="has other weights: give that base"):
        load_model(tmp_path / "model", base=str(tmp_path / "other"))
    settings = json.loads((tmp_path / "model" / "wings_config.json").read_text())
    (tmp_path / "model" / "wings_config.json").write_text(json.dumps({**settings, "format": 7}))
    with pytest.raises(CheckpointError, match="this version reads 1"):
        load_model(tmp_path / "model")
    (tmp_path / "model" / "wings_config.json").write_text("[")
    with pytest.raises(CheckpointError, match="is malformed"):
        load_model(tmp_path / "model")
    with pytest.raises(CheckpointError, match="no wings_config"):
        load_model(tmp_path / "lm")


def test_the_tower_of_a_checkpoint_keeps_its_weights(tmp_path):
    net, chat = model_and_chat()
    # A checkpoint's tower is built of its recorded structure, beside the name of a file that is read no more.
    tower = build_tower(TowerConfig("conv", checkpoint="gone.ckpt", structure=net.tower.structure))
    nn.init.normal_(tower.network.stem[0][0].weight)
    net.tower = tower.eval()
    save_model(tmp_path / "model", net, chat)
    loaded, format = load_model(tmp_path / "model")
    torch.testing.assert_close(answer_logits(loaded, format), answer_logits(net, chat), atol=0, rtol=0)


def settings_with(change):
    def damage(folder):
        path = folder / "wings_config.json"
        settings = json.loads(path.read_text())
        change(settings)
        path.write_text(json.dumps(settings))

    return damage


def not_finite(folder):
    tensors = load_file(folder / "wings_adapter.safetensors")
    tensors["layers.0.visual.q.a.weight"][0] = float("nan")
    save_file(tensors, folder / "wings_adapter.safetensors")


def other_tokenizer(folder):
    word_tokenizer([WORDS, "and more words"]).save_pretrained(folder / "tokenizer")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "model"
    save_model(folder, *model_and_chat(lora=True))
    return folder


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "tower.safetensors").unlink(), "tower.safetensors cannot be read"),
        (lambda folder: save_file({"a": torch.zeros(1)}, folder / "tower.safetensors"), "is missing"),
        (lambda folder: shutil.rmtree(folder / "lora"), "no adapter_config.json"),
        (lambda folder: (folder / "lora/adapter_model.safetensors").write_bytes(b"short"), "no LoRA that can be read"),
        (lambda folder: (folder / "wings_adapter.safetensors").write_bytes(b"short"), "cannot be read"),
        (not_finite, "layers.0.visual.q.a.weight holds values that are not finite"),
        (other_tokenizer, "is not the tokenizer"),
        (settings_with(lambda settings: settings.pop("wings")), "wings is missing or wrong"),
        (settings_with(lambda settings: settings.pop("embedding")), "tower_width is missing or wrong"),
        (settings_with(lambda settings: settings["base"].pop("fingerprint")), "fingerprint is missing or wrong"),
        (settings_with(lambda settings: settings.update(image_token_id="4")), "image_token_id is missing or wrong"),
        (settings_with(lambda settings: settings.update(image_token_id=7)), "is not the tokenizer"),
        (settings_with(lambda settings: settings["chat"].update(colour=1)), "chat.colour is missing or wrong"),
    ],
)  # fmt: skip
def test_damaged_folders_are_refused_in_one_line(damage, words, saved, tmp_path):
    shutil.copytree(saved, tmp_path / "model")
    load_model(tmp_path / "model")
    damage(tmp_path / "model")
    with pytest.raises(CheckpointError, match=words) as caught:
        load_model(tmp_path / "model")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model.layers.0.attn_pool.q_proj.0.weight": None}, "lacks"),
        ({"model.layers.0.attn_pool.q_proj.0.weight": torch.zeros(4)}, "matrix of"),
        ({"model.layers.0.reweight_module.linear.weight": torch.zeros(())}, "matrix of"),
        ({"model.mm_projector.0.bias": None}, "projector"),
        ({"layers.1.attn_t_pool.v_proj.1.weight": torch.zeros(32, 4)}, "attn_t_pool.v_proj.1.weight, which are one"),
        ({"layers.1.reweight_module.linear.bias": torch.zeros(2)}, "which are one: leave one out"),
        ({"mm_projector.0.bias": torch.zeros(32)}, "and mm_projector.0.bias, which are one"),
    ],
)
def test_a_failed_import_leaves_no_wings(change, words):
    tensors = {name: each for name, each in {**released()[0], **change}.items() if each is not None}
    model = decoder()
    expected = model.state_dict().keys()
    with pytest.raises(CheckpointError, match=words):
        import_reference(model, tensors, Projector(ProjectorConfig(), 12, 32, tokens=5))
    assert model.state_dict().keys() == expected
    with pytest.raises(ConfigError, match="wings have no setting 'ranks'"):
        import_reference(model, tensors, ranks=4)
    import_reference(model, released()[0])


def test_a_tower_made_by_hand_is_refused(tmp_path):
    net, chat = model_and_chat()
    net.tower.config = None
    with pytest.raises(ConfigError, match="made by hand"):
        save_model(tmp_path, net, chat)
