"""The wings' part of transformers' cache: cropped, reordered, copied, refused."""

import copy

import pytest
import torch

from vision_suite.errors import ConfigError
from vision_suite.models.wings.attach import wings_off
from vision_suite.models.wings.cache import growing_layer

transformers = pytest.importorskip("transformers")

from wings_tiny import in_pieces, logits, rows, winged  # noqa: E402

EXACT = {"atol": 1e-12, "rtol": 0.0}


@pytest.mark.parametrize("cache", ["plain", "low_rank"])
@torch.no_grad()
def test_cropped_copied_and_selected_caches(cache):
    model, (ids, is_image) = winged(cache=cache), rows()
    whole = logits(model, ids, is_image)
    held = model(input_ids=ids[:, :10], is_image=is_image[:, :10], use_cache=True).past_key_values
    model(input_ids=ids[:, :1], past_key_values=held)  # a step on another way, taken back
    held.crop(-3)
    branch = copy.deepcopy(held)
    assert held.get_seq_length() == 8
    for each in (held, branch):
        rest = model(input_ids=ids[:, 8:], is_image=is_image[:, 8:], past_key_values=each).logits
        torch.testing.assert_close(rest, whole[:, 8:], **EXACT)
    held.crop(-4)
    held.reorder_cache(torch.tensor([2, 0, 0]))
    held.batch_select_indices(torch.tensor([0, 2]))
    held.batch_repeat_interleave(2)
    order = [2, 2, 0, 0]
    for token in range(8, 12):
        part = slice(token, token + 1)
        step = model(input_ids=ids[order][:, part], is_image=is_image[order][:, part], past_key_values=held).logits
        torch.testing.assert_close(step, whole[order][:, part], **EXACT)


@torch.no_grad()
def test_assisted_decoding_and_a_cache_without_a_configuration():
    model, (ids, is_image) = winged(), rows()
    settings = {"max_new_tokens": 10, "do_sample": False}
    assert torch.equal(
        model.generate(ids[:1], prompt_lookup_num_tokens=3, **settings), model.generate(ids[:1], **settings)
    )
    cache = transformers.DynamicCache()
    out = model(input_ids=ids[:, :6], is_image=is_image[:, :6], past_key_values=cache, use_cache=True)
    rest = model(input_ids=ids[:, 6:], is_image=is_image[:, 6:], past_key_values=out.past_key_values).logits
    torch.testing.assert_close(rest, logits(model, ids, is_image)[:, 6:], **EXACT)


@torch.no_grad()
def test_layers_without_wings():
    model, (ids, is_image) = winged(layers=(0, 2)), rows()
    torch.testing.assert_close(in_pieces(model, ids, is_image, [4] + [1] * 8), logits(model, ids, is_image), **EXACT)


@torch.no_grad()
def test_caches_that_are_refused():
    model, (ids, _) = winged(), rows()
    static = transformers.StaticCache(config=model.config, max_cache_len=20)
    with pytest.raises(ConfigError, match="cache of type StaticCache"):
        model(input_ids=ids, past_key_values=static)
    with wings_off(model):
        cache = model(input_ids=ids, use_cache=True).past_key_values
    with pytest.raises(ConfigError, match="holds 12 tokens, of which 0 were read with wings"):
        model(input_ids=ids[:, :1], past_key_values=cache)


def test_gradients_do_not_pass_through_a_cache():
    model, (ids, is_image) = winged(), rows()
    out = model(input_ids=ids, is_image=is_image, labels=ids, use_cache=True)
    out.loss.backward()
    with pytest.raises(ConfigError, match="no gradients in a cache"):
        model(input_ids=ids[:, :2], past_key_values=out.past_key_values)
    with torch.no_grad():
        cached = model(input_ids=ids[:, :1], past_key_values=model(input_ids=ids, use_cache=True).past_key_values)
        torch.testing.assert_close(cached.logits, logits(model, torch.cat([ids, ids[:, :1]], 1))[:, -1:], **EXACT)


def test_room_grows_in_place():
    layer = growing_layer()()
    first = torch.randn(2, 1, 5, 4)
    layer.update(first, first)
    layer.update(first[:, :, :1], first[:, :, :1])
    place = layer.keys.data_ptr()
    for _ in range(20):
        keys, _ = layer.update(first[:, :, 1:2], first[:, :, 1:2])
    assert layer.keys.data_ptr() == place
    assert keys.shape == (2, 1, 26, 4)
    assert torch.equal(keys[:, :, :6], torch.cat([first, first[:, :, :1]], 2))
    layer.reorder_cache(torch.tensor([1, 1]))
    place = layer.keys.data_ptr()
    keys, _ = layer.update(first[:, :, :1], first[:, :, :1])
    assert keys.data_ptr() == place
    assert torch.equal(keys[0, :, :5], first[1])
    layer.reset()
    assert layer.update(first, first)[0].shape == first.shape
