"""Forms of attention in transformers models: each is that of ``sdpa``, or an error in one line."""

import copy

import pytest
import torch

from vision_suite.errors import ConfigError
from vision_suite.layers.drop_in import NAME, padding_mask, transformers_attention, use_suite_attention

transformers = pytest.importorskip("transformers")
masking_utils = pytest.importorskip("transformers.masking_utils")

SIZES = {
    "vocab_size": 40, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 64,
}  # fmt: skip
DECODER = {**SIZES, "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": None}
ENCODER_DECODER = {
    "vocab_size": 40, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_position_embeddings": 64,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1,
}  # fmt: skip


def pair(kind, config):
    """One network twice: with sdpa, and with the suite's attention."""
    torch.manual_seed(0)
    config._attn_implementation = "sdpa"
    plain = kind(config).eval()
    with torch.no_grad():
        for parameter in plain.parameters():  # attention of new networks is nearly uniform
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    changed = copy.deepcopy(plain)
    assert use_suite_attention(changed) == 1
    assert plain.config._attn_implementation == "sdpa"
    return plain, changed


def llama(**more):
    return pair(transformers.LlamaForCausalLM, transformers.LlamaConfig(**{**DECODER, **more}))


def tokens(rows=2, length=9, seed=1):
    return torch.randint(3, 40, (rows, length), generator=torch.Generator().manual_seed(seed))


def padding(side):
    mask = torch.ones(2, 9, dtype=torch.int64)
    if side == "left":
        mask[0, :4] = 0
    if side == "right":
        mask[0, 5:] = 0
    return mask


@torch.no_grad()
def compare(models, name, kept=None, **inputs):
    before, after = (getattr(model(**copy.deepcopy(inputs)), name) for model in models)
    kept = torch.ones(before.shape[:2], dtype=torch.bool) if kept is None else kept.bool()
    torch.testing.assert_close(after[kept], before[kept], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("side", ["none", "left", "right"])
@pytest.mark.parametrize("heads", [4, 2, 1])
def test_a_language_model(heads, side):
    mask = padding(side)
    compare(llama(num_key_value_heads=heads), "logits", mask, input_ids=tokens(), attention_mask=mask)


def test_a_language_model_without_a_mask_and_with_a_cache_that_grows():
    models = llama()
    compare(models, "logits", input_ids=tokens())
    compare(models, "logits", input_ids=tokens(), use_cache=False, position_ids=torch.arange(9)[None])
    for new in (1, 3):
        found = []
        for model in models:
            with torch.no_grad():
                cache = model(input_ids=tokens(), use_cache=True).past_key_values
                found.append(model(input_ids=tokens(length=new, seed=2), past_key_values=cache).logits)
        torch.testing.assert_close(found[1], found[0], atol=1e-4, rtol=1e-4)


def test_generation_and_assisted_decoding():
    models = llama()
    for more in ({}, {"prompt_lookup_num_tokens": 2}, {"use_cache": False}):
        rows = 1 if "prompt_lookup_num_tokens" in more else 2
        settings = {"max_new_tokens": 6, "do_sample": False, "attention_mask": padding("left")[-rows:], **more}
        before, after = (model.generate(tokens()[-rows:], **settings) for model in models)
        assert torch.equal(before, after)
        assert before.shape[1] == 15


@pytest.mark.parametrize("side", ["none", "right"])
def test_a_decoder_that_looks_both_ways(side):
    mask = padding(side)
    models = llama()
    compare(models, "logits", mask, input_ids=tokens(), attention_mask=mask, is_causal=False, use_cache=False)
    compare(models, "logits", input_ids=tokens(), is_causal=False, use_cache=False)


@pytest.mark.parametrize("side", ["none", "left", "right"])
def test_text_encoders(side):
    mask = padding(side)
    bert = pair(transformers.BertModel, transformers.BertConfig(**SIZES))
    compare(bert, "last_hidden_state", mask, input_ids=tokens(), attention_mask=mask)
    compare(bert, "last_hidden_state", input_ids=tokens())
    clip = pair(transformers.CLIPTextModel, transformers.CLIPTextConfig(**SIZES))  # which is causal
    if side != "left":
        compare(clip, "last_hidden_state", mask, input_ids=tokens(), attention_mask=mask)


def test_picture_encoders():
    sizes = {k: SIZES[k] for k in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")}
    config = transformers.ViTConfig(**sizes, image_size=16, patch_size=4)
    image = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    compare(pair(transformers.ViTModel, config), "last_hidden_state", pixel_values=image)
    models = pair(
        transformers.CLIPModel,
        transformers.CLIPConfig(
            text_config=SIZES, vision_config={**sizes, "image_size": 16, "patch_size": 4}, projection_dim=16
        ),
    )
    assert models[1].vision_model.config._attn_implementation == NAME
    mask = padding("right")
    with torch.no_grad():
        before, after = (m(input_ids=tokens(), attention_mask=mask, pixel_values=image) for m in models)
    torch.testing.assert_close(after.logits_per_image, before.logits_per_image, atol=1e-4, rtol=1e-4)


def test_encoders_with_decoders():
    mask = padding("right")
    bart = pair(transformers.BartForConditionalGeneration, transformers.BartConfig(**ENCODER_DECODER))
    compare(
        bart, "logits", input_ids=tokens(), attention_mask=mask, decoder_input_ids=tokens(length=5, seed=3),
        decoder_attention_mask=torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]),
        kept=torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]),
    )  # fmt: skip
    before, after = (m.generate(tokens(), attention_mask=mask, max_new_tokens=5, num_beams=2) for m in bart)
    assert torch.equal(before, after)
    whisper = pair(
        transformers.WhisperForConditionalGeneration,
        transformers.WhisperConfig(
            **ENCODER_DECODER, max_source_positions=10, max_target_positions=20, num_mel_bins=8,
        ),
    )  # fmt: skip
    sound = torch.randn(2, 8, 20, generator=torch.Generator().manual_seed(0))
    compare(whisper, "logits", input_features=sound, decoder_input_ids=tokens(length=5))


def refused(model, words, **inputs):
    with pytest.raises(ConfigError, match=words) as caught:
        model(**inputs)
    assert "use attn_implementation='sdpa'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_packed_rows_are_refused():
    plain, changed = llama()
    packed = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3, 4]])
    inputs = {"input_ids": tokens(1), "position_ids": packed, "use_cache": False}
    refused(changed, "packed rows", **inputs)
    apart = torch.cat([plain(input_ids=part).logits for part in tokens(1).split([4, 5], 1)], 1)
    torch.testing.assert_close(plain(**inputs).logits, apart, atol=1e-4, rtol=1e-4)  # what sdpa computes
    bounds = torch.tensor([0, 4, 9], dtype=torch.int32)
    refused(changed, "cu_seq_lens_q", input_ids=tokens(1), cu_seq_lens_q=bounds, cu_seq_lens_k=bounds)


def test_static_caches_are_refused():
    _, changed = llama()
    cache = transformers.StaticCache(config=changed.config, max_cache_len=20)
    refused(changed, "cache is static", input_ids=tokens(), past_key_values=cache)
    with pytest.raises(ConfigError, match="cache is static"):
        changed.generate(tokens(), max_new_tokens=3, do_sample=False, cache_implementation="static")
    # Also where the step that fills the cache was computed in another way.
    cache = transformers.StaticCache(config=changed.config, max_cache_len=20)
    changed.set_attn_implementation("sdpa")
    changed(input_ids=tokens(), past_key_values=cache)
    changed.set_attn_implementation(NAME)
    refused(changed, "cache is static", input_ids=tokens(length=1), past_key_values=cache)


def test_windows_chunks_biases_and_soft_caps_are_refused():
    for window in (4, 50):
        config = transformers.MistralConfig(**DECODER, sliding_window=window)
        refused(pair(transformers.MistralForCausalLM, config)[1], f"of {window} tokens", input_ids=tokens())
    whole = pair(transformers.MistralForCausalLM, transformers.MistralConfig(**DECODER, sliding_window=None))
    compare(whole, "logits", input_ids=tokens())
    capped = transformers.Gemma2ForCausalLM(
        transformers.Gemma2Config(**DECODER, layer_types=["full_attention"] * 2, attn_implementation="eager")
    )
    use_suite_attention(capped)
    refused(capped, "window or chunk of 4096 tokens", input_ids=tokens())
    config = transformers.T5Config(vocab_size=40, d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=4)
    model = pair(transformers.T5EncoderModel, config)[1]
    refused(model, "needs position_bias", input_ids=tokens())


def test_masks_of_single_tokens_are_refused():
    _, changed = llama()
    square = torch.ones(9, 9, dtype=torch.bool).tril()[None, None].expand(2, 1, 9, 9)
    refused(changed, r"a mask \[2, 1, 9, 9\] of torch.bool", input_ids=tokens(), attention_mask=square)
    additive = torch.zeros(2, 1, 9, 9).masked_fill(~square, torch.finfo().min)
    refused(changed, r"a mask \[2, 1, 9, 9\] of torch.float32", input_ids=tokens(), attention_mask=additive)


@pytest.mark.parametrize(
    ("make", "more", "words"),
    [
        ("create_causal_mask", {"or_mask_function": lambda b, h, q, k: k < 3}, "prefix"),
        ("create_causal_mask", {"and_mask_function": lambda b, h, q, k: k != 3}, "single tokens"),
        ("create_causal_mask", {"block_sequence_ids": torch.tensor([[-1, 0, 0, 0, -1]])}, "blocks"),
        ("create_causal_mask", {"allow_is_causal_skip": False}, "computes with its mask"),
        ("create_bidirectional_mask", {"and_mask_function": lambda b, h, q, k: k != 3}, "single tokens"),
        ("create_bidirectional_mask", {"allow_is_bidirectional_skip": False}, "computes with its mask"),
        ("create_bidirectional_sliding_window_mask", {}, "window or chunk of 4 tokens"),
        ("create_sliding_window_causal_mask", {}, "window or chunk of 4 tokens"),
        ("create_chunked_causal_mask", {}, "window or chunk of 4 tokens"),
    ],
)
def test_every_other_rule_of_a_mask_is_refused(make, more, words):
    config = llama()[1].config
    config.sliding_window = config.attention_chunk_size = 4
    with pytest.raises(ConfigError, match=words):
        getattr(masking_utils, make)(
            config=config, inputs_embeds=torch.zeros(1, 5, 32), attention_mask=None, past_key_values=None, **more
        )


def test_positions_of_earlier_releases_say_the_same():
    """transformers 5.0 gives positions of the queries in place of their number and offset."""
    rule = masking_utils.causal_mask_function
    rows = {"batch_size": 2, "mask_function": rule, "attention_mask": None}
    assert padding_mask(**rows, kv_length=5, cache_position=torch.arange(5)) is None
    assert padding_mask(**rows, kv_length=5, cache_position=torch.arange(3, 5)).tolist() == [[True] * 5] * 2
    for positions in (torch.arange(3), torch.tensor([2])):
        with pytest.raises(ConfigError, match="cache is static"):
            padding_mask(**rows, kv_length=5, cache_position=positions)


def test_a_layer_that_asks_for_more_is_refused():
    layer = torch.nn.Identity()
    query, key = torch.randn(1, 4, 3, 8), torch.randn(1, 4, 5, 8)
    for more, words in (
        ({"softcap": 50.0}, "needs softcap"),
        ({"s_aux": torch.zeros(4)}, "needs s_aux"),
        ({"cache": object()}, "needs cache"),
        ({"is_causal": True}, "no mask for 3 queries and 5 keys"),
        ({"value": torch.randn(1, 4, 5, 6)}, "values of width 6 and keys of 8"),
        ({"attention_mask": torch.ones(1, 5, dtype=torch.int64)}, "of torch.int64"),
        ({"key": torch.randn(1, 3, 5, 8), "value": torch.randn(1, 3, 5, 8)}, "Identity"),
    ):
        given = {"key": key, "value": key, "attention_mask": None, "is_causal": False, **more}
        with pytest.raises(ConfigError, match=words):
            transformers_attention(layer, query, **given)


def test_one_mask_for_all_queries_is_served():
    query, key = torch.randn(2, 4, 3, 8), torch.randn(2, 2, 5, 8)
    kept = torch.tensor([[1, 1, 0, 1, 1], [0, 1, 1, 1, 0]], dtype=torch.bool)[:, None, None]
    out, _ = transformers_attention(torch.nn.Identity(), query, key, key, kept, is_causal=True)
    keys = key.repeat_interleave(2, 1)
    expected = torch.nn.functional.scaled_dot_product_attention(query, keys, keys, attn_mask=kept)
    torch.testing.assert_close(out.transpose(1, 2), expected, atol=1e-5, rtol=1e-5)


def test_a_model_that_does_not_look_its_attention_up_is_refused():
    class OldAttention(transformers.PreTrainedModel):
        config_class = transformers.BertConfig

    OldAttention._can_set_attn_implementation_cached_value = False
    with pytest.raises(ConfigError, match="does not look its attention up by name"):
        use_suite_attention(OldAttention(transformers.BertConfig(**SIZES)))
