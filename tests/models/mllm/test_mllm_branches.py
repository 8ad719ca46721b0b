"""Continuations behind a shared prefix: the log-probabilities and gradients of rows of their own."""

import pytest
import torch
from branches_tiny import branched, one_by_one
from mllm_tiny import IMAGE, decoder, mllm

from vision_suite.errors import ConfigError, DataError
from vision_suite.models.mllm.branches import branch_logps, check_branches, paired_logps, repeat_rows, verify_branches
from vision_suite.models.mllm.lora import LoraSettings, add_lora, lora_parameters
from vision_suite.models.wings.attach import attach, wings_parameters
from vision_suite.models.wings.config import WingsConfig

transformers = pytest.importorskip("transformers")

WAYS = (branch_logps, paired_logps)
WINGS = [
    {}, {"router": "mass"}, {"stage": 1}, {"query": "attn_input", "blend": "masked"}, {"visual_mask": "full"},
    {"text_key_start": 3},
]  # fmt: skip


def winged(**settings):
    model = mllm()
    attach(model.decoder, WingsConfig(rank=4, s_max=64, **settings))
    torch.manual_seed(5)
    for each in wings_parameters(model.decoder).values():
        torch.nn.init.normal_(each, std=0.3)
    return model


def gradients(model, batch, way):
    """Values, and the gradient of each parameter of a loss that weighs all branches."""
    model.zero_grad()
    found = way(model, batch)
    found.sin().sum().backward()
    return found.detach(), {name: each.grad for name, each in model.named_parameters() if each.grad is not None}


def compare(model, batch):
    """Both ways against each row alone, in values and gradients; transformers' norms round to float32."""
    expected, theirs = gradients(model, batch, one_by_one)
    for way in WAYS:
        found, ours = gradients(model, batch, way)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            torch.testing.assert_close(ours[name], value, rtol=1e-4, atol=1e-5 * float(value.abs().max()) + 1e-9)
    return expected


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "mistral"])
def test_decoders(kind):
    found = compare(mllm(kind), branched())
    assert found[2, 2] == 0
    assert (found.flatten()[:-1] < -1).all()


@pytest.mark.parametrize("settings", WINGS)
def test_wings(settings):
    compare(winged(**settings), branched())


def test_lora_and_checkpointing():
    model = mllm()
    model.decoder.requires_grad_(False)
    add_lora(model.decoder, LoraSettings(rank=2, targets=("q_proj", "v_proj")))
    torch.manual_seed(5)
    for each in lora_parameters(model.decoder).values():
        torch.nn.init.normal_(each, std=0.3)
    batch = branched()
    compare(model, batch)
    expected = gradients(model, batch, branch_logps)
    model.decoder.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    found = gradients(model, batch, branch_logps)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


def test_pairs_and_many_branches_of_one_id():
    compare(mllm(), branched(((1, 1), (1, 1), (1, 1))))
    compare(mllm(), branched(((1,), (6,), (2,))))
    compare(mllm(), branched(((1, 2, 3, 4, 5, 4, 3, 2, 1, 2),) * 3))


def test_weights_of_ids():
    batch = branched()
    draw = torch.Generator().manual_seed(4)
    batch["branch_weights"] = 1 + 4 * torch.rand(batch["branch_ids"].shape, generator=draw, dtype=torch.float64)
    plain = one_by_one(mllm(), branched())
    assert (compare(mllm(), batch)[:2] < plain[:2]).all()


def test_pictures_are_encoded_once():
    model, batch = mllm(), branched()
    for way in WAYS:
        model.tower.network.calls = 0
        way(model, batch)
        assert model.tower.network.calls == 1


def test_features_and_batches_without_pictures():
    model, batch = mllm(), branched()
    expected = branch_logps(model, batch)
    features = {**batch, "features": model.tower_features(batch["image"]).detach()}
    del features["image"]
    for way in WAYS:
        torch.testing.assert_close(way(model, features), expected, rtol=0, atol=1e-9)
    text = {name: value[2:] for name, value in batch.items() if name != "image"}
    one, other = (way(model, text) for way in WAYS)
    torch.testing.assert_close(one[0], expected[2], rtol=0, atol=1e-6)
    torch.testing.assert_close(other, one, rtol=0, atol=1e-6)
    for way in WAYS:
        model.zero_grad()
        way(model, text, dummy=True).sum().backward()
        assert all(each.grad is not None for each in model.projector.parameters())


def test_repeated_rows_have_their_own_pictures():
    batch = branched()
    found = repeat_rows(batch, 2)
    owned = [torch.unique(row[row >= 0]).tolist() for row in found["image_of_token"]]
    assert owned == [[0], [1], [2, 3], [4, 5], [], []]
    order = [0, 0, 1, 2, 1, 2]
    assert torch.equal(found["image"], batch["image"][order])
    del batch["image_of_token"]
    with pytest.raises(DataError, match="give image_of_token"):
        repeat_rows(batch, 2)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_verification_passes_and_keeps_the_mode(dtype):
    model, batch = mllm().to(dtype), branched()
    batch["image"] = batch["image"].to(dtype)
    model.train()
    model.projector.eval()
    verify_branches(model, batch)
    assert model.decoder.training
    assert not model.projector.training


def test_verification_fails_where_a_branch_sees_another(monkeypatch):
    model, batch = mllm(), branched()

    def all_causal(q, k, v, *, scale=None, **_):
        return torch.nn.functional.scaled_dot_product_attention(
            q, k, v, is_causal=True, scale=scale, enable_gqa=True
        ), None  # fmt: skip

    monkeypatch.setattr("vision_suite.layers.drop_in.branch_attention", all_causal)
    with pytest.raises(ConfigError, match="other log-probabilities with a shared prefix"):
        verify_branches(model, batch)
    with pytest.raises(ConfigError, match="other log-probabilities"):
        verify_branches(model.to(torch.bfloat16), {**batch, "image": batch["image"].bfloat16()})


def refused(words, model, batch=None):
    with pytest.raises(ConfigError, match=words) as caught:
        branch_logps(model, batch or branched())
    assert "\n" not in str(caught.value)


def test_models_that_would_not_be_exact_are_refused():
    refused("shared prefixes need 'vision_suite'", mllm(attention="sdpa"))
    refused("windows of 6 tokens", mllm("mistral", sliding_window=6))
    model = mllm("qwen2", use_sliding_window=True, sliding_window=4, max_window_layers=1)
    refused("sliding_attention", model)
    model = mllm(attention_dropout=0.1)
    branch_logps(model, branched())
    refused("dropout is on in", model.train())
    model = mllm()
    model.decoder.config.is_causal = False
    refused("looks both ways", model)
    refused("wings.leak", winged(leak=True))
    refused("wings.stats=operator", winged(stats="exact"))


def test_dropout_of_lora_is_refused():
    model = mllm()
    add_lora(model.decoder, LoraSettings(rank=2, targets=("q_proj",), dropout=0.1))
    check_branches(model.eval())
    refused("dropout is on in decoder", model.train())


def test_batches_that_do_not_fit_are_refused():
    model, batch = mllm(), branched()
    for way in WAYS:
        ids = batch["branch_ids"].clone()
        ids[0, 0, 1] = IMAGE
        with pytest.raises(DataError, match="placeholder"):
            way(model, {**batch, "branch_ids": ids})
        with pytest.raises(DataError, match="do not fit"):
            way(model, {**batch, "branch_ids": ids[:, :, :2]})
    with pytest.raises(DataError, match="elsewhere than on the right"):
        branch_logps(model, {**batch, "branch_mask": batch["branch_mask"].flip(2)})


def test_a_cache_or_a_full_mask_do_not_go_with_branches():
    from vision_suite.layers.branches import find_branches

    model = decoder()
    ids = torch.arange(6, 14)[None]
    branches = find_branches(torch.ones(1, 4, dtype=torch.bool), torch.ones(1, 2, 2, dtype=torch.bool))
    model.model(ids, attention_mask=torch.ones_like(ids), branches=branches, use_cache=False)
    with pytest.raises(ConfigError, match="they do not go with full attention"):
        model.model(ids, is_causal=False, branches=branches, use_cache=False)
    with pytest.raises(ConfigError, match="rows of another length"):
        model.model(ids[:, :7], branches=branches, use_cache=False)
    with pytest.raises(ConfigError, match="packed rows"):
        model.model(ids, segments=torch.zeros_like(ids), branches=branches, use_cache=False)
