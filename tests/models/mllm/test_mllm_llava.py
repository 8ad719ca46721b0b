"""LLaVA of transformers as the suite's network: the same logits, gradients in the same weights, shared prefixes."""

import pytest
import torch
from branches_tiny import branched, one_by_one
from mllm_tiny import decoder

from vision_suite.errors import ConfigError
from vision_suite.models.mllm.branches import branch_logps, paired_logps
from vision_suite.models.mllm.llava import from_llava

transformers = pytest.importorskip("transformers")


def llava(layers=-2, strategy="default", attention="vision_suite", dtype=torch.float64):
    """A random LLaVA with a CLIP encoder, whose pictures have the tokens of the tiny batches."""
    vision = transformers.CLIPVisionConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=2, image_size=16, patch_size=8,
        projection_dim=8, initializer_range=0.3,
    )  # fmt: skip
    config = transformers.LlavaConfig(
        vision_config=vision, text_config=decoder().config, image_token_id=5, image_seq_length=4,
        vision_feature_select_strategy=strategy, vision_feature_layer=layers,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.LlavaForConditionalGeneration(config).to(dtype).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    model.model.language_model.set_attn_implementation(attention)
    return model


@pytest.mark.parametrize(("layers", "attention"), [(-2, "vision_suite"), ([-1, 1], "sdpa")])
def test_the_same_logits_and_weights(layers, attention):
    model = llava(layers, attention=attention)
    net, batch = from_llava(model), branched()
    rows = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        expected = model(**rows, pixel_values=batch["image"], use_cache=False).logits
        found = net({**rows, "image": batch["image"]})
    kept = batch["attention_mask"]
    torch.testing.assert_close(found[kept], expected[kept], rtol=1e-6, atol=1e-6)
    assert {id(each) for each in net.parameters()} == {id(each) for each in model.parameters()}
    assert net.tower.image_size == (16, 16)
    assert net.tower.tokens == 4


def test_shared_prefixes_train_all_its_parts():
    model, batch = llava(), branched()
    net = from_llava(model)
    results = []
    for way in (one_by_one, branch_logps, paired_logps):
        model.zero_grad()
        found = way(net, batch)
        found.sin().sum().backward()
        results.append((found.detach(), {name: each.grad for name, each in model.named_parameters()}))
    expected, theirs = results[0]
    used = [name for name, grad in theirs.items() if grad is not None]
    assert any("vision_tower" in name for name in used)
    for found, ours in results[1:]:
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
        for name in used:
            scale = float(theirs[name].abs().max())
            torch.testing.assert_close(ours[name], theirs[name], rtol=1e-4, atol=1e-5 * scale + 1e-9)


def test_half_precision_and_modes():
    model = llava(dtype=torch.bfloat16)
    assert from_llava(model).tower.tokens == 4
    assert not from_llava(model).decoder.training
    assert from_llava(model.train()).decoder.training


def test_other_models_are_refused():
    for model in (decoder(), torch.nn.Linear(2, 2)):
        with pytest.raises(ConfigError, match="is no LlavaForConditionalGeneration"):
            from_llava(model)
