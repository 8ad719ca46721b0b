"""Gradients of wings: packed rows, gradient checkpointing, rows of text alone, mixed precision, memory."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from vision_suite.errors import ConfigError
from vision_suite.models.wings.attach import masses, row_masses, set_stage, wings_parameters

pytest.importorskip("transformers")

from wings_tiny import decoder, logits, rows, winged

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
    with pytest.raises(ConfigError, match="use_reentrant.: False"):
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


def test_gradients_against_finite_differences():
    model, (ids, is_image) = winged(model=decoder(num_hidden_layers=1)), rows()
    factor = torch.randn(3, 12, 97, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def value():
        return (model(input_ids=ids, is_image=is_image, use_cache=False).logits * factor).sum()

    value().backward()
    for parameter in wings_parameters(model).values():
        direction = torch.randn_like(parameter)
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter.add_(direction, alpha=sign * 1e-5)
                ends.append(value())
                parameter.sub_(direction, alpha=sign * 1e-5)
        slope = (ends[0] - ends[1]) / 2e-5
        torch.testing.assert_close((parameter.grad * direction).sum(), slope, atol=1e-5, rtol=1e-5)


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


def test_no_tensor_of_heads_by_length_by_length():
    """Nothing grows faster than the length: the largest tensor of twice the length is at most twice as large."""
    from vision_suite.ops.attention import compiled

    if not compiled(torch.zeros(1)):
        pytest.skip("PyTorch's own attention writes masks out")
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
