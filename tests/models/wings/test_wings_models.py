"""Wings on tiny models of several families: equal to the base when new, causal, cached, batch-invariant, detachable."""

import pytest
import torch

from vision_suite.models.wings.attach import attach, detach, set_stage, wings_off, wings_parameters
from vision_suite.models.wings.config import WingsConfig

pytest.importorskip("transformers")

from wings_tiny import KINDS, SMALL, decoder, draw, in_pieces, llava, logits, rows, winged

EXACT = {"atol": 1e-12, "rtol": 0.0}
SETTINGS = ({}, {"router": "mass"}, {"stage": 1}, {"query": "attn_input", "blend": "plain", "visual_mask": "full"})


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_new_wings_change_nothing(kind, dtype):
    base, (ids, is_image) = decoder(kind, dtype), rows()
    mask = torch.ones_like(ids)
    mask[1, :3] = 0
    before = logits(base, ids, attention_mask=mask)
    exact = winged(random=False, model=base, stats="exact")
    assert torch.equal(logits(exact, ids, is_image, attention_mask=mask), before)
    if dtype != torch.bfloat16:
        after = logits(winged(random=False, model=base), ids, is_image, attention_mask=mask)
        kept = mask.bool()
        assert (after - before)[kept].abs().max() <= 1e-5 * before.abs().max()


@pytest.mark.parametrize("kind", list(KINDS))
def test_with_a_cache_as_without(kind):
    model, (ids, is_image) = winged(kind), rows()
    whole = logits(model, ids, is_image)
    assert (whole - logits(decoder(kind), ids)).abs().max() > 0.1
    torch.testing.assert_close(in_pieces(model, ids, is_image, [1] * 12), whole, **EXACT)
    for settings in ({}, {"num_beams": 3}):
        found = [
            model.generate(ids, max_new_tokens=12, do_sample=False, use_cache=cached, **settings)
            for cached in (True, False)
        ]
        assert torch.equal(*found)


@pytest.mark.parametrize("cache", ["plain", "low_rank"])
@pytest.mark.parametrize("settings", SETTINGS)
def test_every_setting_with_a_cache_as_without(settings, cache):
    """Late pictures come in later chunks; tokens come alone or in groups."""
    full = settings.get("visual_mask") == "full"
    model, (ids, is_image) = winged(cache=cache, **settings), rows()
    if full:  # where all see all pictures of their row, those must come in the first chunk
        is_image[0] = is_image[1]
    whole = logits(model, ids, is_image)
    for lengths in ([5, 1, 1, 1, 1, 3], [6, 5, 1], [12]):
        torch.testing.assert_close(in_pieces(model, ids, is_image, lengths), whole, **EXACT)


@pytest.mark.parametrize("settings", SETTINGS)
def test_padding_on_the_left_and_batch_mates_change_nothing(settings):
    model, (ids, is_image) = winged(**settings), rows()
    alone = [logits(model, ids[i : i + 1], is_image[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(logits(model, ids, is_image), torch.cat(alone), **EXACT)
    left = torch.cat([torch.full((3, 4), 7), ids], 1)
    kinds = torch.nn.functional.pad(is_image, (4, 0))
    mask = torch.ones_like(left)
    mask[:2, :4] = 0
    # Positions are given as generation does: the model's own codes at other places differ by rounding.
    places = (mask.cumsum(1) - 1).clamp(min=0)
    found = logits(model, left, kinds, attention_mask=mask, position_ids=places)[:2, 4:]
    torch.testing.assert_close(found, torch.cat(alone[:2]), **EXACT)
    right = torch.nn.functional.pad(ids, (0, 3), value=9)
    mask = torch.nn.functional.pad(torch.ones_like(ids), (0, 3))
    found = logits(model, right, torch.nn.functional.pad(is_image, (0, 3), value=True), attention_mask=mask)
    torch.testing.assert_close(found[:, :12], torch.cat(alone), **EXACT)


def test_generation_of_rows_padded_on_the_left():
    model, (ids, _) = winged(), rows()
    mask = torch.ones_like(ids)
    mask[0, :5] = 0
    alone = model.generate(ids[:1, 5:], max_new_tokens=8, do_sample=False)
    together = model.generate(ids, attention_mask=mask, max_new_tokens=8, do_sample=False)
    assert torch.equal(together[0, 12:], alone[0, 7:])


@pytest.mark.parametrize("settings", [{}, {"router": "mass"}, {"query": "attn_input"}, {"stats": "exact"}])
def test_no_token_sees_the_future(settings):
    model, (ids, is_image) = winged(**settings), rows()
    embeddings = model.model.embed_tokens(ids).detach().requires_grad_()
    out = model(inputs_embeds=embeddings, is_image=is_image, use_cache=False).logits
    for token in range(12):
        (gradient,) = torch.autograd.grad(out[:, token].sum(), embeddings, retain_graph=True)
        assert gradient[:, token + 1 :].abs().sum() == 0
        assert gradient[:, : token + 1].abs().sum(-1).min() > 0
    before, changed = logits(model, ids, is_image), ids.clone()
    changed[:, 9] = 50
    torch.testing.assert_close(logits(model, changed, is_image)[:, :9], before[:, :9], atol=1e-13, rtol=0)


def test_full_visual_mask_lets_text_see_a_later_picture():
    model, (ids, is_image) = winged(visual_mask="full"), rows()
    changed = ids.clone()
    changed[0, 5] = 50
    moved = (logits(model, changed, is_image) - logits(model, ids, is_image)).abs().amax(-1)
    assert moved[0, :5].min() > 1e-6
    assert moved[1:].max() == 0


def test_label_leak_of_the_released_code():
    """Text keys are numbered without the picture: query i sees the first i + 1 of them, wherever they lie."""
    ids = torch.randint(6, 97, (1, 14), generator=torch.Generator().manual_seed(0))
    is_image = torch.zeros(1, 14, dtype=torch.bool)
    is_image[0, 4:8] = True  # with text from 2 on, text keys lie at 2, 3, 8 ... 13
    model = winged(leak=True, text_key_start=2, text_key_rows="image", layers=(0,), visual_mask="full")
    embeddings = model.model.embed_tokens(ids).detach().requires_grad_()
    out = model(inputs_embeds=embeddings, is_image=is_image, use_cache=False).logits
    (gradient,) = torch.autograd.grad(out[0, 8].sum(), embeddings)
    assert (gradient[0].abs().sum(-1) > 0).tolist() == [True] * 14
    (gradient,) = torch.autograd.grad(
        model(inputs_embeds=embeddings, is_image=is_image, use_cache=False).logits[0, 3].sum(), embeddings
    )
    assert (gradient[0].abs().sum(-1) > 0).nonzero().flatten().tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    text = torch.zeros_like(is_image)
    (gradient,) = torch.autograd.grad(
        model(inputs_embeds=embeddings, is_image=text, use_cache=False).logits[0, 8].sum(), embeddings
    )
    assert gradient[0, 9:].abs().sum() == 0


def test_llava_needs_no_keywords():
    base = llava()
    pixels = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ids, is_image = rows()
    ids, is_image = ids[:2], is_image[:2]
    ids[is_image] = 5
    given = {"input_ids": ids, "pixel_values": pixels}
    with torch.no_grad():
        before = base(**given).logits
        assert torch.equal(wings(base, random=False, stats="exact")(**given).logits, before)
        model = wings(base)
        after = model(**given).logits
        assert (after - before).abs().max() > 1e-3
    found = [model.generate(**given, max_new_tokens=8, do_sample=False, use_cache=cached) for cached in (True, False)]
    assert torch.equal(*found)
    assert model.model.vision_tower.config._attn_implementation == "sdpa"
    model.set_attn_implementation("sdpa")
    with pytest.raises(Exception, match="gives no read-outs"):
        model(**given)


def wings(model, random=True, **settings):
    return winged(model=model, random=random, **settings)


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
@pytest.mark.parametrize("stats", ["operator", "exact", "eager"])
def test_detached_models_are_what_they_were(kind, stats):
    model, (ids, is_image) = decoder(kind, torch.float32), rows()
    before, names, state = logits(model, ids), list(model.state_dict()), repr(model)
    attach(model, WingsConfig(**SMALL, stats=stats))
    draw(wings_parameters(model).values())
    after = logits(model, ids, is_image)
    assert not torch.equal(after, before)
    with wings_off(model):
        torch.testing.assert_close(logits(model, ids), before, atol=1e-5, rtol=1e-5)
    assert torch.equal(logits(model, ids, is_image), after)
    detach(model)
    assert torch.equal(logits(model, ids), before)
    assert list(model.state_dict()) == names
    assert repr(model) == state
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_kinds_of_statistics_agree():
    base, (ids, is_image) = decoder(dtype=torch.float32), rows()
    found = [logits(winged(model=base, stats=stats), ids, is_image) for stats in ("operator", "exact", "eager")]
    torch.testing.assert_close(found[1], found[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[2], found[0], atol=1e-5, rtol=1e-5)


def test_first_stage_leaves_text_alone():
    base, (ids, is_image) = decoder(dtype=torch.float32), rows()
    model = winged(model=base, stage=1, stats="exact")
    assert torch.equal(logits(model, ids), logits(base, ids))
    with_pictures = logits(model, ids, is_image)
    assert torch.equal(with_pictures[2], logits(base, ids)[2])
    assert (with_pictures[0] - logits(base, ids)[0]).abs().max() > 0.01
    trained = {name for name, p in wings_parameters(model).items() if p.requires_grad}
    assert trained == {name for name in wings_parameters(model) if ".visual." in name}
    set_stage(model, 2)
    assert all(p.requires_grad for p in wings_parameters(model).values())
    assert not torch.equal(logits(model, ids), logits(base, ids))
