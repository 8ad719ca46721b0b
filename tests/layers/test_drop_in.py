"""Models of others give the same outputs and gradients with the suite's attention."""

import pytest
import timm
import torch

from vision_suite.errors import ConfigError
from vision_suite.layers.drop_in import use_suite_attention

SMALL = {"depth": 2, "embed_dim": 48, "num_heads": 3, "img_size": 32, "num_classes": 5}


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("vit_tiny_patch16_224", {}),
        ("deit_tiny_distilled_patch16_224", {}),
        ("vit_tiny_patch16_224", {"qk_norm": True, "attn_drop_rate": 0.1}),
        ("deit3_small_patch16_224", {}),
    ],
)
def test_timm_vision_transformers(name, more):
    torch.manual_seed(0)
    model = timm.create_model(name, **{**SMALL, **more}).eval()
    image = torch.randn(2, 3, 32, 32)
    before = model(image)
    gradient = torch.autograd.grad(before.sum(), model.blocks[0].attn.qkv.weight)[0]
    names = list(model.state_dict())
    assert use_suite_attention(model) == 2
    after = model(image)
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-5)
    again = torch.autograd.grad(after.sum(), model.blocks[0].attn.qkv.weight)[0]
    torch.testing.assert_close(again, gradient, atol=1e-4, rtol=1e-4)
    assert list(model.state_dict()) == names
    model.train()(image).sum().backward()


def test_what_has_no_plain_attention_is_refused():
    with pytest.raises(ConfigError, match="nothing to replace"):
        use_suite_attention(torch.nn.Linear(2, 2))


@pytest.mark.parametrize("padded", [False, True])
def test_a_language_model_with_cache_and_grouped_heads(padded):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=50, hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, attn_implementation="eager",
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config).eval()
    tokens = torch.randint(0, 50, (2, 9))
    mask = torch.ones(2, 9, dtype=torch.int64)
    if padded:
        mask[0, :3] = 0
    arguments = {"input_ids": tokens, "attention_mask": mask, "use_cache": True}
    before = model(**arguments)
    longer = torch.cat([mask, torch.ones(2, 2, dtype=torch.int64)], 1)
    step = {"input_ids": torch.randint(0, 50, (2, 2)), "attention_mask": longer}
    next_before = model(**step, past_key_values=before.past_key_values).logits
    assert use_suite_attention(model) == 1
    after = model(**arguments)
    kept = mask.bool()
    torch.testing.assert_close(after.logits[kept], before.logits[kept], atol=1e-5, rtol=1e-4)
    next_after = model(**step, past_key_values=after.past_key_values).logits
    torch.testing.assert_close(next_after, next_before, atol=1e-5, rtol=1e-4)


def test_a_picture_encoder_of_transformers():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.CLIPVisionConfig(
        hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, image_size=32, patch_size=8,
        attn_implementation="eager",
    )  # fmt: skip
    model = transformers.CLIPVisionModel(config).eval()
    image = torch.randn(2, 3, 32, 32)
    before = model(image).last_hidden_state
    use_suite_attention(model)
    torch.testing.assert_close(model(image).last_hidden_state, before, atol=1e-5, rtol=1e-4)
