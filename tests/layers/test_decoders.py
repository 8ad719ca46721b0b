"""Decoders from every kind of source, compared with transformers' own."""

import importlib.util
import json

import pytest
import torch
from tiny_gguf import WORDS, write_gguf

from vision_suite import network
from vision_suite.errors import CheckpointError, ConfigError, DataError, MissingDependencyError
from vision_suite.layers.decoders import DecoderShape, dequantise, empty_decoder, load_decoder, new_decoder
from vision_suite.text.tokenizers import load_tokenizer

transformers = pytest.importorskip("transformers")
SHAPE = DecoderShape(width=32, depth=2, heads=4, key_heads=2, mlp=64, positions=16)
IDS = torch.tensor([[1, 3, 4, 5, 6, 2]])


def tiny(**settings):
    torch.manual_seed(0)
    return new_decoder(SHAPE, len(WORDS), pad_id=2, end_ids=(2,), **settings)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("decoder")
    tiny().save_pretrained(path)
    return path


def logits(model):
    with torch.no_grad():
        return model(IDS).logits


def test_a_new_decoder_is_a_llama_of_the_given_shape():
    model = tiny(attention="sdpa")
    assert type(model) is transformers.LlamaForCausalLM
    assert not model.training
    assert model.config._attn_implementation == "sdpa"
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    # Embedding, and in each of 2 layers q and o 32 x 32, k and v 16 x 32, three of 64 x 32, two norms; one more norm.
    expected = 8 * 32 + 2 * (2 * 32 * 32 + 2 * 16 * 32 + 3 * 64 * 32 + 2 * 32) + 32
    assert sum(parameter.numel() for parameter in model.parameters()) == expected
    assert (model.generation_config.eos_token_id, model.generation_config.pad_token_id) == ([2], 2)


def test_defaults_of_a_shape():
    config = new_decoder(DecoderShape(width=48, depth=1, heads=2, tied=False), 10).config
    assert (config.intermediate_size, config.num_key_value_heads, config.tie_word_embeddings) == (128, 2, False)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"width": 30}, "width=30 must be a multiple of twice"),
        ({"heads": 4, "key_heads": 3}, "multiple of shape.key_heads=3"),
        ({"depth": 0}, "shape.depth=0"),
        ({"mlp": 0}, "shape.mlp=0"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        DecoderShape(**settings)


def test_a_folder_gives_the_stored_weights_with_the_suites_attention(folder):
    loaded = load_decoder(folder)
    assert loaded.config._attn_implementation == "vision_suite"
    assert not loaded.training
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="sdpa")
    torch.testing.assert_close(logits(loaded), logits(theirs), atol=1e-6, rtol=1e-5)
    assert load_decoder(folder, dtype=torch.bfloat16).dtype == torch.bfloat16


def test_a_prepared_set_is_found_by_its_name(folder, tmp_path, monkeypatch):
    (tmp_path / "some-decoder").symlink_to(folder)
    monkeypatch.setenv("VISION_SUITE_DATA", str(tmp_path))
    assert torch.equal(logits(load_decoder("some-decoder")), logits(load_decoder(folder)))


def test_missing_weights_are_never_made_up(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    with pytest.raises(CheckpointError, match=r"no weights for model\.layers\.1\.mlp\.up_proj\.weight \(1 missing\)"):
        load_decoder(tmp_path)


def test_code_and_pickles_of_a_folder_are_never_used(folder, tmp_path):
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "foreign", "auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(CheckpointError) as caught:
        load_decoder(tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "config.json").write_bytes((folder / "config.json").read_bytes())
    torch.save(tiny().state_dict(), pickled / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="no language model can be read"):
        load_decoder(pickled)


def test_names_and_attentions_that_do_not_exist(folder, tmp_path):
    with pytest.raises(DataError, match="vision-suite data prepare smollm2"):
        load_decoder("no-such-set")
    with pytest.raises(CheckpointError, match="no language model can be read"):
        load_decoder(tmp_path)
    with pytest.raises(ConfigError, match="attention='nonsense'"):
        load_decoder(folder, attention="nonsense")


def test_a_name_of_a_hub_is_looked_for_on_this_machine_first(folder, monkeypatch):
    asked, auto = [], transformers.AutoModelForCausalLM
    read = auto.from_pretrained

    def answer(name, local_files_only=False, **settings):
        asked.append((name, local_files_only))
        if local_files_only or name == "owner/none":
            raise OSError("not in the cache\nand no network")
        return read(folder, **settings)

    monkeypatch.setattr(auto, "from_pretrained", answer)
    known = transformers.AutoConfig.from_pretrained
    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", lambda name, **settings: known(folder, **settings))
    monkeypatch.setattr(network, "hub_is_off", lambda: False)
    monkeypatch.setattr(network, "why_unreachable", lambda url: None)
    assert torch.equal(logits(load_decoder("owner/name")), logits(tiny()))
    with pytest.raises(
        CheckpointError, match=r"owner/none: no language model can be read from it \(not in the cache\)$"
    ):
        load_decoder("owner/none")
    assert asked == [("owner/name", True), ("owner/name", False), ("owner/none", True), ("owner/none", False)]


def test_a_hub_that_does_not_answer_is_asked_once(monkeypatch):
    """Not by the hub's client, which tries again for most of a minute."""
    asked = []
    monkeypatch.setattr(network, "hub_is_off", lambda: False)
    monkeypatch.setattr(network, "why_unreachable", lambda url: asked.append(url) or "no answer within 4 s")
    for load in (load_decoder, empty_decoder, load_tokenizer):
        with pytest.raises(DataError, match=r"'owner/none' is not in the hub.s cache, .*no answer within 4 s\)"):
            load("owner/none")
    assert len(asked) == 3
    monkeypatch.setattr(network, "hub_is_off", lambda: True)
    with pytest.raises(DataError, match="HF_HUB_OFFLINE is set"):
        load_decoder("owner/none")
    assert len(asked) == 3


def test_an_empty_decoder_takes_the_weights_of_its_source(folder, tmp_path):
    pytest.importorskip("gguf")
    model, path = tiny(), tmp_path / "tiny.gguf"
    write_gguf(path, model)
    for source in (folder, path):
        empty = empty_decoder(source)
        assert empty.config._attn_implementation == "vision_suite"
        assert empty.get_output_embeddings().weight is empty.get_input_embeddings().weight
        empty.load_state_dict(model.state_dict())
        torch.testing.assert_close(logits(empty.eval()), logits(model), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("quantised", [False, True])
def test_a_gguf_file_becomes_an_ordinary_model(tmp_path, quantised):
    pytest.importorskip("gguf")
    model, path = tiny(), tmp_path / "tiny.gguf"
    write_gguf(path, model, quantised=quantised)
    loaded = load_decoder(path)
    # Q8_0 stores 32 numbers with one scale of 1/127 of the largest, rounded.
    largest = max(float(value.abs().max()) for name, value in model.state_dict().items() if "norm" not in name)
    atol = largest / 127 * 0.51 if quantised else 0.0
    for name, value in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value, atol=atol, rtol=1e-3 if quantised else 0)
    if not quantised:
        torch.testing.assert_close(logits(loaded), logits(model), atol=1e-6, rtol=1e-5)
    assert not loaded.is_quantized
    assert not hasattr(loaded.config, "quantization_config")
    assert loaded.get_output_embeddings().weight is loaded.get_input_embeddings().weight
    loaded.train()(IDS, labels=IDS).loss.backward()
    assert loaded.get_input_embeddings().weight.grad.abs().sum() > 0


def test_dequantise_writes_a_folder_that_transformers_reads(tmp_path, capfd):
    gguf = pytest.importorskip("gguf")
    model, path, target = tiny(), tmp_path / "tiny.gguf", tmp_path / "written"
    write_gguf(path, model, quantised=True)
    dequantise(path, target)
    assert "it/s" not in capfd.readouterr().err, "no progress bar"
    theirs = transformers.AutoModelForCausalLM.from_pretrained(target)
    torch.testing.assert_close(logits(theirs), logits(load_decoder(target)), atol=1e-6, rtol=1e-5)
    stored = next(tensor for tensor in gguf.GGUFReader(path).tensors if tensor.name == "blk.1.ffn_down.weight")
    expected = gguf.quants.dequantize(stored.data, stored.tensor_type)
    assert torch.equal(theirs.model.layers[1].mlp.down_proj.weight, torch.from_numpy(expected.copy()))
    tokenizer = transformers.AutoTokenizer.from_pretrained(target)
    assert tokenizer("abcab", add_special_tokens=False)["input_ids"] == [WORDS.index("abc"), WORDS.index("ab")]
    assert {path.suffix for path in target.iterdir()} == {".json", ".safetensors"}
    assert len({path.stat().st_mode for path in target.iterdir()}) == 1, "weights are readable by others too"


def test_a_damaged_gguf_file_is_one_line(tmp_path):
    pytest.importorskip("gguf")
    path = tmp_path / "damaged.gguf"
    path.write_bytes(b"GGUF" + bytes(40))
    with pytest.raises(CheckpointError, match=r"damaged\.gguf: no language model") as caught:
        load_decoder(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("package", ["transformers", "gguf", "accelerate"])
def test_a_missing_package_is_named_with_its_extra(package, tmp_path, monkeypatch):
    path, find = tmp_path / "x.gguf", importlib.util.find_spec
    path.touch()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find(name))
    with pytest.raises(MissingDependencyError, match=rf"needs the package {package}.*vision-suite\[language\]"):
        load_decoder(path)
