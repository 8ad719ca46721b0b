"""Tiny random decoders of transformers, with and without wings."""

import copy

import torch

from vision_suite.models.wings.attach import attach, wings_parameters
from vision_suite.models.wings.config import WingsConfig

SIZES = {
    "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": None,
}  # fmt: skip
KINDS = {
    "qwen2": ("Qwen2", {}),
    "qwen3": ("Qwen3", {"head_dim": 16}),
    "llama": ("Llama", {}),
    "mistral": ("Mistral", {"sliding_window": None}),
    "smol": (
        "Llama",
        {"hidden_size": 36, "num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True},
    ),
}
SMALL = {"rank": 4, "s_max": 64}


def draw(parameters, deviation=0.2, seed=1):
    """Random values in place, so that attention is not nearly uniform."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in parameters:
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * deviation)


def decoder(kind="llama", dtype=torch.float64, **more):
    """A tiny causal language model with random weights."""
    import transformers

    name, changes = KINDS[kind]
    config = getattr(transformers, f"{name}Config")(**{**SIZES, **changes, **more})
    model = getattr(transformers, f"{name}ForCausalLM")(config).to(dtype).eval()
    draw(model.parameters(), seed=0)
    return model


def winged(kind="llama", dtype=torch.float64, random=True, model=None, **settings):
    """A tiny model with wings, whose matrices are random too unless they are to be new."""
    model = decoder(kind, dtype) if model is None else copy.deepcopy(model)
    attach(model, WingsConfig(**{**SMALL, **settings}))
    if random:
        draw(wings_parameters(model).values())
    return model


def llava(dtype=torch.float64):
    """A tiny LLaVA: a picture encoder of SigLIP and a decoder of Qwen2; a picture has 4 tokens of number 5."""
    import transformers

    vision = transformers.SiglipVisionConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=2, image_size=8, patch_size=4,
        vision_use_head=False,
    )  # fmt: skip
    config = transformers.LlavaConfig(
        vision_config=vision, text_config=transformers.Qwen2Config(**SIZES), image_token_id=5, image_seq_length=4,
        vision_feature_select_strategy="full", vision_feature_layer=-2,
    )  # fmt: skip
    model = transformers.LlavaForConditionalGeneration(config).to(dtype).eval()
    draw(model.parameters(), seed=0)
    return model


def rows(length=12, seed=2):
    """Ids (3, length) and kinds of tokens: a late picture, an early one, and text alone."""
    ids = torch.randint(6, 97, (3, length), generator=torch.Generator().manual_seed(seed))
    is_image = torch.zeros(3, length, dtype=torch.bool)
    is_image[0, 5:9], is_image[1, 1:5] = True, True
    return ids, is_image


@torch.no_grad()
def logits(model, ids, is_image=None, **more):
    """Logits of one pass without a cache."""
    return model(input_ids=ids, is_image=is_image, use_cache=False, **more).logits


@torch.no_grad()
def in_pieces(model, ids, is_image, lengths, **more):
    """Logits of several passes with a cache."""
    cache, found = None, []
    for part, kinds in zip(ids.split(lengths, 1), is_image.split(lengths, 1), strict=True):
        out = model(input_ids=part, is_image=kinds, past_key_values=cache, use_cache=True, **more)
        cache = out.past_key_values
        found.append(out.logits)
    return torch.cat(found, 1)
