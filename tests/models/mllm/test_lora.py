"""LoRA beside other parts of a decoder, against its formula and against peft's own reading of the files."""

import json

import pytest
import torch
from mllm_tiny import decoder
from safetensors.torch import load_file, save_file
from torch import nn

from vision_suite.errors import CheckpointError, ConfigError
from vision_suite.models.mllm.lora import LoraSettings, add_lora, load_lora, lora_parameters, merge_lora, save_lora

IDS = torch.tensor([[7, 8, 9, 10, 11]])


def logits(model):
    with torch.no_grad():
        return model(input_ids=IDS, use_cache=False).logits


def with_wings():
    """Decoder with bare parameters beside its attention, of which one is frozen."""
    model = decoder().requires_grad_(False)
    for layer in model.model.layers:
        layer.self_attn.wings = nn.ParameterDict({"a": torch.ones(3), "b": torch.ones(2)})
        layer.self_attn.wings["b"].requires_grad_(False)
    return model


def randomise(model):
    torch.manual_seed(5)
    for each in lora_parameters(model).values():
        nn.init.normal_(each, std=0.3)
    return model


@pytest.mark.parametrize("targets", [("q_proj", "v_proj"), ("all-linear",)])
def test_other_parameters_keep_their_state(targets):
    model = with_wings()
    before = logits(model)
    added = add_lora(model, LoraSettings(rank=3, targets=targets))
    torch.testing.assert_close(logits(model), before, atol=0, rtol=0)
    names = {name for name, each in model.named_parameters() if each.requires_grad}
    assert names == {f"model.layers.{n}.self_attn.wings.a" for n in range(3)} | set(added)
    assert len(added) == 3 * 2 * (2 if len(targets) == 2 else 7)
    assert not any("wings" in name or "lm_head" in name for name in added)


def test_updates_are_those_of_the_formula_and_merge():
    model = decoder()
    weights = {n: layer.self_attn.q_proj.weight.clone() for n, layer in enumerate(model.model.layers)}
    add_lora(model, LoraSettings(rank=3, alpha=6.0, targets=("q_proj",)))
    expected = logits(randomise(model))
    parts = {n: layer.self_attn.q_proj for n, layer in enumerate(model.model.layers)}
    updates = {n: 2.0 * each.lora_B["default"].weight @ each.lora_A["default"].weight for n, each in parts.items()}
    assert merge_lora(model) == 3
    assert not lora_parameters(model)
    torch.testing.assert_close(logits(model), expected, atol=1e-11, rtol=0)
    for number, layer in enumerate(model.model.layers):
        found = layer.self_attn.q_proj.weight
        torch.testing.assert_close(found, weights[number] + updates[number], atol=1e-13, rtol=0)
    assert {name for name, _ in model.named_parameters()} == {name for name, _ in decoder().named_parameters()}


def test_files_are_read_by_peft_and_here(tmp_path):
    from peft import PeftModel

    model = decoder()
    add_lora(model, LoraSettings(rank=3, targets=("q_proj", "down_proj")))
    expected = logits(randomise(model))
    save_lora(model, tmp_path)
    theirs = PeftModel.from_pretrained(decoder(), str(tmp_path))
    torch.testing.assert_close(logits(theirs), expected, atol=1e-12, rtol=0)
    ours = decoder()
    assert load_lora(ours, tmp_path).keys() == lora_parameters(model).keys()
    torch.testing.assert_close(logits(ours), expected, atol=0, rtol=0)
    assert all(each.requires_grad for each in lora_parameters(ours).values())


def test_what_does_not_fit_is_refused(tmp_path):
    model = decoder()
    with pytest.raises(ConfigError, match="cannot get LoRA"):
        add_lora(model, LoraSettings(targets=("no_such_layer",)))
    with pytest.raises(ConfigError, match="give a list of names"):
        LoraSettings(targets="q_proj")
    with pytest.raises(ConfigError, match="has no LoRA to save"):
        save_lora(model, tmp_path)
    add_lora(model, LoraSettings(rank=3))
    with pytest.raises(ConfigError, match="has LoRA already"):
        add_lora(model, LoraSettings(rank=3))
    save_lora(model, tmp_path)
    with pytest.raises(CheckpointError, match=r"no adapter_config\.json"):
        load_lora(decoder(), tmp_path / "nowhere")
    other = decoder(hidden_size=32)
    before = logits(other)
    with pytest.raises(CheckpointError, match="does not fit this decoder"):
        load_lora(other, tmp_path)
    torch.testing.assert_close(logits(other), before, atol=0, rtol=0)
    assert not lora_parameters(other)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    name = next(iter(tensors))
    save_file({n: value for n, value in tensors.items() if n != name}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(CheckpointError, match="does not fit this decoder"):
        load_lora(decoder(), tmp_path)
    settings = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps({**settings, "peft_type": "IA3"}))
    with pytest.raises(CheckpointError, match="only LoRA is read"):
        load_lora(decoder(), tmp_path)
