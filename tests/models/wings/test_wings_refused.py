"""Models and settings that wings cannot serve: one line each."""

import pytest
import torch

from vision_suite.errors import ConfigError
from vision_suite.models.wings.attach import attach, detach, find, masses, routing
from vision_suite.models.wings.config import PRESETS, WingsConfig
from vision_suite.models.wings.pattern import adds_attention_to_its_input

transformers = pytest.importorskip("transformers")

from wings_tiny import SIZES, SMALL, decoder, llava, logits, rows, winged  # noqa: E402


def refused(words, function, *args, **kwargs):
    with pytest.raises(ConfigError, match=words) as caught:
        function(*args, **kwargs)
    assert "\n" not in str(caught.value)


def built(name, **more):
    config = getattr(transformers, f"{name}Config")(**{**SIZES, **more})
    kind = f"{name}LMHeadModel" if name == "GPT2" else f"{name}ForCausalLM"
    return getattr(transformers, kind)(config).eval()


@pytest.mark.parametrize(
    ("name", "more", "words"),
    [
        ("Olmo2", {}, "use wings.query=attn_input"),
        ("Phi3", {}, "use wings.query=attn_input"),
        ("Granite", {}, "use wings.query=attn_input"),
        ("Mistral", {"sliding_window": 16}, "window of 16 tokens"),
        ("GPT2", {}, "0 decoders with embed_tokens and layers"),
        ("GptOss", {"num_local_experts": 2, "num_experts_per_tok": 1}, "attention sinks"),
        ("Llama", {"hidden_size": 12, "num_attention_heads": 4}, "even multiple"),
    ],
)
def test_models(name, more, words):
    sizes = {} if name != "GPT2" else {"n_layer": 1, "n_head": 2, "n_embd": 16}
    refused(words, attach, built(name, **more, **sizes), WingsConfig(**SMALL))


def test_layers_of_another_order_take_the_input_of_the_attention():
    model, (ids, is_image) = built("Olmo2").double(), rows()
    before = logits(model, ids)
    attach(model, WingsConfig(**SMALL, query="attn_input", stats="exact"))
    assert torch.equal(logits(model, ids, is_image), before)
    detach(model)
    assert adds_attention_to_its_input(decoder().model.layers[0])
    assert not adds_attention_to_its_input(model.model.layers[0])


def test_calls():
    model, (ids, is_image) = winged(), rows()
    refused("has wings already", attach, model, WingsConfig(**SMALL))
    refused("rows' 12 new tokens", model, input_ids=ids, is_image=is_image[:, :5])
    refused("rows' 12 new tokens", model, input_ids=ids, is_image=is_image.long())
    refused("gives no attention maps", model, input_ids=ids, output_attentions=True)
    refused(r"a row has 70 tokens, wings.s_max is 64", model, input_ids=ids.repeat(1, 6)[:, :70])
    square = torch.ones(3, 1, 12, 12, dtype=torch.bool).tril()
    refused("4-D masks are not served", model, input_ids=ids, attention_mask=square)
    refused("positions of several axes", model, input_ids=ids, position_ids=torch.zeros(3, 3, 12, dtype=torch.int64))
    assert winged(router="mass")(input_ids=ids.repeat(1, 6)).logits.shape == (3, 72, 97)
    plain = decoder()
    refused("has no wings", find, plain)
    refused("has no wings", detach, plain)
    refused("no routing weights", routing, model)
    refused("queries", masses, model, "first")
    eager = winged(stats="exact")
    refused("shared prefixes need wings.stats=operator", eager, input_ids=ids, segments=torch.zeros_like(ids))


def test_settings():
    refused("wings.rank", WingsConfig, rank=0)
    refused("wings.router_act", WingsConfig, router_act="relu")
    refused("rising indices", WingsConfig, layers=(2, 1))
    refused("preset", WingsConfig.preset, "best")
    refused("names layer 7, LlamaModel has 3", attach, decoder(), WingsConfig(**SMALL, layers=(0, 7)))
    assert WingsConfig(layers=[0, 2]).layers == (0, 2)
    reference, paper = WingsConfig.preset("reference", rank=8), WingsConfig.preset("paper")
    assert (reference.rank, reference.leak, reference.router_scale, reference.stats) == (8, True, 2.0, "eager")
    assert (paper.query, paper.router_act, paper.router_scale, paper.leak) == ("attn_input", "none", 1.0, False)
    assert WingsConfig.preset("recommended") == WingsConfig()
    for name in PRESETS:
        model, (ids, is_image) = decoder(dtype=torch.float32), rows()
        before = logits(model, ids)
        attach(model, WingsConfig.preset(name, rank=4, s_max=64))
        torch.testing.assert_close(logits(model, ids, is_image), before, atol=1e-5, rtol=1e-5)


def test_two_decoders_are_refused():
    refused("2 decoders", attach, torch.nn.ModuleList([decoder(), llava()]), WingsConfig(**SMALL))
