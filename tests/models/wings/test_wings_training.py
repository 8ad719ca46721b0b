"""Gradients of wings: packed rows, gradient checkpointing, rows of text alone, mixed precision, memory."""

import copy

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from vision_suite.errors import ConfigError
from vision_suite.models.wings.attach import detach, find, masses, row_masses, set_stage, wings_parameters
from vision_suite.models.wings.state import build_state

pytest.importorskip("transformers")

from wings_tiny import decoder, draw, logits, rows, winged

EXACT = {"atol": 1e-12, "rtol": 0.0}


def gradients(model, ids, is_image, **more):
    model.zero_grad()
    loss = model(input_ids=ids, is_image=is_image, labels=ids, use_cache=False, **more).loss
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def packed_rows():
    """Samples of 5, 9 and 3 tokens, the second with a picture, in one row with two tokens of padding."""
    ids = torch.randint(6, 97, (1, 19), generator=torch.Generator().manual_seed(3))
    is_image = torch.zeros(1, 19, dtype=torch.bool)
    is_image[0, 7:11] = True
    segments = torch.tensor([[0] * 5 + [1] * 9 + [2] * 3 + [-1] * 2])
    places = torch.tensor([[*range(5), *range(9), *range(3), 0, 0]])
    return ids, is_image, segments, places


@pytest.mark.parametrize("settings", [{}, {"router": "mass"}, {"visual_mask": "full"}, {"stage": 1}, {"leak": True}])
def test_packed_as_separate(settings):
    model = winged(**settings)
    ids, is_image, segments, places = packed_rows()
    found = logits(model, ids, is_image, segments=segments, position_ids=places, attention_mask=segments >= 0)
    for start, stop in ((0, 5), (5, 14), (14, 17)):
        alone = logits(model, ids[:, start:stop], is_image[:, start:stop])
        torch.testing.assert_close(found[:, start:stop], alone, **EXACT)


def test_packed_gradients_and_shares_as_separate():
    model = winged()
    ids, is_image, segments, places = packed_rows()
    given = {"segments": segments, "position_ids": places, "attention_mask": segments >= 0}
    out = model(input_ids=ids, is_image=is_image, use_cache=False, **given).logits
    factor = torch.randn(out.shape, dtype=out.dtype, generator=torch.Generator().manual_seed(0))
    (out * factor)[:, :17].sum().backward()
    packed = {name: p.grad.clone() for name, p in model.named_parameters()}
    shares = row_masses(model)
    model.zero_grad()
    sums = 0
    for start, stop in ((0, 5), (5, 14), (14, 17)):
        part = slice(start, stop)
        out = model(input_ids=ids[:, part], is_image=is_image[:, part], use_cache=False).logits
        (out * factor[:, part]).sum().backward()
        sums = sums + row_masses(model) * (stop - start) / 17
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(packed[name], parameter.grad, atol=1e-10, rtol=1e-9)
    torch.testing.assert_close(shares, sums)


def test_packed_rows_take_no_cache():
    model = winged()
    ids, is_image, segments, _ = packed_rows()
    out = model(input_ids=ids, is_image=is_image, segments=segments, attention_mask=segments >= 0)
    assert out.past_key_values is None
    cache = model(input_ids=ids, use_cache=True).past_key_values
    with pytest.raises(ConfigError, match="packed rows are computed whole"):
        model(input_ids=ids, segments=segments, past_key_values=cache)


@pytest.mark.parametrize("settings", [{}, {"router": "mass"}, {"stage": 1}, {"query": "attn_input"}])
def test_gradient_checkpointing_changes_nothing(settings):
    model, (ids, is_image) = winged(**settings).train(), rows()
    loss, before = gradients(model, ids, is_image)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    again, after = gradients(model, ids, is_image)
    assert torch.equal(again, loss)
    assert before.keys() == after.keys()
    assert "model.embed_tokens.weight" in before
    for name, gradient in before.items():
        torch.testing.assert_close(after[name], gradient, atol=1e-14, rtol=1e-12)


def test_reentrant_checkpointing_is_refused():
    model, (ids, is_image) = winged().train(), rows()
    model.requires_grad_(False)
    set_stage(model, 2)
    before = gradients(model, ids, is_image)[1]
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": True})
    model.enable_input_require_grads()
    with pytest.raises(ConfigError, match="use_reentrant=True loses gradients"):
        gradients(model, ids, is_image)
    assert len(before) == 54


@pytest.mark.parametrize("settings", [{}, {"stage": 1}, {"router": "mass"}])
def test_rows_of_text_give_every_parameter_a_gradient(settings):
    """Otherwise a process without pictures would leave the others waiting."""
    model, (ids, is_image) = winged(**settings), rows()
    model.requires_grad_(False)
    set_stage(model, settings.get("stage", 2))
    _, found = gradients(model, ids, torch.zeros_like(is_image))
    trained = {name for name, p in wings_parameters(model).items() if p.requires_grad}
    assert found.keys() == trained
    for name, gradient in found.items():
        assert gradient.isfinite().all()
        assert gradient.abs().sum() == 0 or ".visual." not in name
    assert gradients(model, ids, is_image)[1].keys() == trained


def test_new_wings_learn_their_last_matrix_first():
    model, (ids, is_image) = winged(random=False), rows()
    _, found = gradients(model, ids, is_image)
    moved = {name for name in wings_parameters(model) if found[name].abs().sum() > 0}
    assert {name.split("wings.")[1] for name in moved} == {"visual.o.b", "textual.o.b"}


def dense(learner, query, x, allowed, heads, cos, sin):
    """A wing written out with whole matrices, rotary codes by transformers."""
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

    def projected(given, factors):
        return (given + given @ factors.a @ factors.b).unflatten(-1, (heads, -1)).transpose(1, 2)

    asked, key, value = projected(query, learner.q), projected(x, learner.k), projected(x, learner.v)
    asked, key = apply_rotary_pos_emb(asked, key, cos, sin)
    scores = (asked @ key.transpose(2, 3) * key.shape[-1] ** -0.5).masked_fill(~allowed[:, None], -1e30)
    share = scores.softmax(-1) * allowed.any(-1)[:, None, :, None]
    return (share @ value).transpose(1, 2).flatten(2) @ learner.o.a


@pytest.mark.parametrize("visual_mask", ["causal", "full"])
def test_both_wings_and_their_gradients_against_whole_matrices(visual_mask):
    model, (_, is_image) = winged(visual_mask=visual_mask, text_key_start=2), rows()
    part, known = model.model.layers[1].self_attn.wings, find(model)
    generator = torch.Generator().manual_seed(0)
    query, x, *factors = (
        torch.randn(3, 12, width, dtype=torch.float64, generator=generator).requires_grad_() for width in (32, 32, 4, 4)
    )
    inv_freq = 10000.0 ** (-torch.arange(0, 8, 2, dtype=torch.float64) / 8)
    state = build_state(
        x, is_image, known.config, inv_freq, attention_mask=None, position_ids=None, packed=None, past_positions=None,
        past_image=None,
    )  # fmt: skip
    angle = torch.arange(12)[:, None] * inv_freq
    cos, sin = (torch.cat([f(angle), f(angle)], -1).expand(3, 12, 8) for f in (torch.cos, torch.sin))
    before = torch.ones(12, 12, dtype=torch.bool).tril()
    images = is_image[:, None, :] & (before if visual_mask == "causal" else torch.ones_like(before))
    text = ~is_image[:, None, :] & before & (torch.arange(12) >= 2)
    expected = (
        dense(part.visual, query, x, images, 4, cos, sin), dense(part.textual, query, x, text, 4, cos, sin),
    )  # fmt: skip
    found = part.read(query, state, None)
    leaves = [query, x, *part.visual.parameters(), *part.textual.parameters()]
    for one, other, factor in zip(found, expected, factors, strict=True):
        torch.testing.assert_close(one, other, **EXACT)
        pairs = [
            torch.autograd.grad((y * factor).sum(), leaves, retain_graph=True, allow_unused=True) for y in (one, other)
        ]
        for mine, theirs in zip(*pairs, strict=True):
            if theirs is not None:
                torch.testing.assert_close(mine, theirs, atol=1e-11, rtol=1e-9)


def test_mixed_precision_keeps_the_router_wide():
    model, (ids, is_image) = winged(dtype=torch.float32), rows()
    seen = []
    route = model.model.layers[0].self_attn.wings.route
    model.model.layers[0].self_attn.wings.route = lambda read, state: seen.append(route(read, state)) or seen[-1]
    plain = logits(model, ids, is_image)
    with torch.autocast("cpu", torch.bfloat16):
        loss, found = gradients(model, ids, is_image)
        narrow = logits(model, ids, is_image)
        cached = model.generate(ids, max_new_tokens=3, do_sample=False)
    assert all(factors.dtype == torch.float32 for factors in seen)
    assert loss.isfinite()
    assert all(gradient.isfinite().all() for gradient in found.values())
    assert (narrow.float() - plain).abs().max() < 0.05 * plain.abs().max()
    assert cached.shape == (3, 15)


class Largest(TorchDispatchMode):
    """Number of elements of the largest tensor that any operator gives."""

    largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for each in out if isinstance(out, tuple | list) else (out,):
            if isinstance(each, torch.Tensor):
                self.largest = max(self.largest, each.numel())
        return out


def test_no_tensor_of_heads_by_length_by_length(monkeypatch):
    """Nothing grows faster than the length: the largest tensor of twice the length is at most twice as large."""
    from vision_suite.ops import attention

    if not attention.compiled(torch.zeros(1)):
        pytest.skip("PyTorch's own attention writes masks out")
    # With AVX2 alone it would serve float32.
    monkeypatch.setattr(attention, "cpu_isa", lambda: "avx512")
    model = winged(dtype=torch.float32, s_max=4096, model=decoder(dtype=torch.float32, max_position_embeddings=4096))
    found = []
    for length in (512, 1024):
        ids = torch.randint(6, 97, (1, length))
        is_image = torch.zeros(1, length, dtype=torch.bool)
        is_image[0, 10:20] = True
        with Largest() as mode:
            model.model(input_ids=ids, is_image=is_image, use_cache=False).last_hidden_state.sum().backward()
        found.append(mode.largest)
    assert found[1] <= 2 * found[0]
    assert found[1] < 1024 * 1024 / 4


def test_shares_are_of_the_last_pass():
    model, (ids, is_image) = winged(), rows()
    with pytest.raises(ConfigError, match="run the model once"):
        masses(model)
    logits(model, ids, is_image)
    torch.testing.assert_close(masses(model), row_masses(model).mean(0))
    late = row_masses(model, "after_image")
    assert late[2].isnan().all()
    torch.testing.assert_close(late[:2].sum(-1), torch.ones(2, 3, dtype=torch.float64))
    assert row_masses(model, "last")[0, :, 1].min() > 0
    logits(model, ids, torch.zeros_like(is_image))
    assert masses(model)[:, 1:].abs().max() == 0


def test_a_model_with_wings_can_be_copied_after_a_pass():
    model, (ids, is_image) = winged(), rows()
    model(input_ids=ids, is_image=is_image).logits.sum().backward()
    twin = copy.deepcopy(model)
    before = logits(model, ids, is_image)
    assert torch.equal(logits(twin, ids, is_image), before)
    draw(wings_parameters(twin).values(), seed=5)
    assert not torch.equal(logits(twin, ids, is_image), before)
    assert torch.equal(logits(model, ids, is_image), before)
    detach(twin)
    assert torch.equal(logits(model, ids, is_image), before)
