"""Generated paths against the teacher-forced pass, the softmax, and exhaustive search."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oat_tiny import row, scenes, sharpen, tiny

from vision_suite.errors import ConfigError, DataError
from vision_suite.models.oat import beam_search, greedy, sample
from vision_suite.models.oat.decoding import inverse_cdf
from vision_suite.types import BACKGROUND, PADDING

EVERYTHING = {"background": True, "duration": True, "conditions": True}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def as_batch(batch, paths, number):
    """The scenes with generated paths in place of the recorded ones."""
    out = {**batch, "sequence": paths.sequence[:, number], "terminated": paths.terminated[:, number]}
    return {**out, "duration": paths.duration[:, number]}


@pytest.mark.parametrize("switches", [{}, {"pointer_heads": 1}, EVERYTHING, {**EVERYTHING, "relative": 8}])
def test_cached_steps_are_the_teacher_forced_pass(switches):
    model, batch = sharpen(tiny(**switches)), scenes()
    paths = sample(model, batch, 15, 6, generator=seeded())
    assert paths.terminated.any()
    assert not paths.terminated.all()
    for number in range(6):
        known = model.log_prob(as_batch(batch, paths, number))
        torch.testing.assert_close(known.steps, paths.step_log_prob[:, number], atol=1e-5, rtol=0)
        torch.testing.assert_close(known.total, paths.log_prob[:, number], atol=3e-5, rtol=0)
        # The end is scored where a path ended, and a path has at least one fixation.
        wanted = paths.length[:, number] + paths.terminated[:, number].long()
        assert known.scored.sum(dim=1).tolist() == wanted.tolist()
    assert (paths.length >= 1).all()
    assert ((paths.sequence != PADDING).sum(dim=2) == paths.length).all()


def test_sampled_objects_are_never_missing_ones():
    paths = sample(tiny(background=True), scenes(), 8, 200, generator=seeded())
    for number, count in enumerate((12, 7, 9)):
        seen = set(paths.sequence[number].unique().tolist())
        assert seen <= {PADDING, BACKGROUND, *range(count)}
        assert BACKGROUND in seen


@pytest.mark.parametrize("switches", [{}, EVERYTHING])
def test_with_a_source_for_each_scene_paths_do_not_depend_on_the_batch(switches):
    model, batch = sharpen(tiny(**switches)), scenes()
    whole = sample(model, batch, 8, 5, generator=[seeded(n) for n in range(3)])
    for number, count in enumerate((12, 7, 9)):
        alone = sample(model, row(batch, number, count), 8, 5, generator=[seeded(number)])
        assert torch.equal(alone.sequence[0], whole.sequence[number])
        torch.testing.assert_close(alone.duration[0], whole.duration[number], equal_nan=True)
    with pytest.raises(ConfigError, match="2 generators for 3 scenes"):
        sample(model, batch, 8, 5, generator=[seeded(), seeded()])


@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
def test_frequencies_are_the_softmax(temperature):
    model, batch = sharpen(tiny(seed=3)), scenes(counts=(5,))
    draws = 4000
    paths = sample(model, batch, 2, draws, temperature=temperature, generator=seeded(1))
    batch["sequence"] = torch.tensor([[0, PADDING]])
    logits = model(batch).logits[0, 0, :5] / temperature  # no end, no padding at the first step
    wanted = logits.softmax(0)
    first = paths.sequence[0, :, 0]
    found = torch.bincount(first, minlength=5) / draws
    assert ((found - wanted).abs() < 4 * (wanted * (1 - wanted) / draws).sqrt() + 1e-3).all()
    second = paths.sequence[0, first == int(wanted.argmax()), 1]
    batch["sequence"] = wanted.argmax().view(1, 1)
    wanted = (model(batch).logits[0, 1, :6] / temperature).softmax(0)  # the end is possible now
    found = torch.bincount(torch.where(second == PADDING, 5, second), minlength=6) / len(second)
    assert ((found - wanted).abs() < 4 * (wanted * (1 - wanted) / len(second)).sqrt() + 2e-3).all()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-30, 30), min_size=1, max_size=6), st.floats(0, 1, exclude_max=True, width=32))
def test_inverse_distribution_function(logits, draw):
    values = torch.tensor([-torch.inf, *logits, -torch.inf])
    chosen = int(inverse_cdf(values, torch.tensor(draw)))
    assert 1 <= chosen <= len(logits)
    below = values.double().softmax(0).cumsum(0)
    assert below[chosen] > draw * below[-1]
    assert chosen == 1 or below[chosen - 1] <= draw * below[-1]


@pytest.mark.parametrize("switches", [{}, EVERYTHING])
def test_greedy_does_not_depend_on_the_batch(switches):
    model, batch = sharpen(tiny(seed=5, **switches)), scenes()
    together = greedy(model, batch, 10)
    for number, count in enumerate((12, 7, 9)):
        alone = greedy(model, row(batch, number, count), 10)
        assert alone.sequence[0].tolist() == together.sequence[number].tolist()
        torch.testing.assert_close(alone.log_prob[0], together.log_prob[number], atol=5e-5, rtol=0)
        torch.testing.assert_close(alone.duration[0], together.duration[number], equal_nan=True)


def test_greedy_takes_the_likeliest_and_is_cold_sampling():
    model, batch = sharpen(tiny(seed=2), 4.0), scenes()
    paths = greedy(model, batch, 6)
    logits = model(as_batch(batch, paths, 0)).logits[..., :-1]
    for number in range(3):
        first = int(logits[number, 0, :-1].argmax())
        assert int(paths.sequence[number, 0, 0]) == first
        for step in range(1, int(paths.length[number, 0])):
            assert int(paths.sequence[number, 0, step]) == int(logits[number, step].argmax())
    cold = sample(model, batch, 6, 3, temperature=1e-4, generator=seeded())
    assert (cold.sequence == paths.sequence).all()
    torch.testing.assert_close(cold.log_prob, paths.log_prob.expand(-1, 3), atol=1e-5, rtol=0)


def test_packing_unfinished_paths_changes_nothing(monkeypatch):
    model, batch = sharpen(tiny(**EVERYTHING)), scenes(counts=(3, 12, 4))
    packed = sample(model, batch, 30, 40, generator=seeded())
    assert packed.terminated.float().mean() > 0.3
    monkeypatch.setattr("vision_suite.models.oat.decoding.PACK_BELOW", 0.0)
    plain = sample(model, batch, 30, 40, generator=seeded())
    assert (packed.sequence == plain.sequence).all()
    torch.testing.assert_close(packed.log_prob, plain.log_prob, atol=1e-4, rtol=0)
    torch.testing.assert_close(packed.duration, plain.duration, equal_nan=True)


@pytest.mark.parametrize("decode", [greedy, beam_search, sample])
def test_given_fixations_begin_every_path_and_are_not_scored(decode):
    model, batch = sharpen(tiny(**EVERYTHING)), scenes(length=4)
    batch["sequence"] = torch.tensor([[3, 1, 2, 5], [4, PADDING, PADDING, PADDING], [0, BACKGROUND, 5, PADDING]])
    batch["given"] = torch.tensor([3, 0, 2])
    batch["duration"][0, :3] = torch.tensor([0.7, torch.nan, 0.9])
    paths = decode(model, batch, 8)
    assert (paths.sequence[0, :, :3] == torch.tensor([3, 1, 2])).all()
    assert (paths.sequence[2, :, :2] == torch.tensor([0, BACKGROUND])).all()
    assert (paths.step_log_prob[0, :, :3] == 0).all()
    assert (paths.step_log_prob[0, :, 3] < 0).all()
    assert (paths.step_log_prob[1, :, 0] < 0).all()
    assert paths.duration[0, 0, :3].nan_to_num(nan=-1).tolist() == pytest.approx([0.7, -1, 0.9])
    for number in range(min(paths.sequence.shape[1], 5)):
        known = model.log_prob(as_batch(batch, paths, number))
        torch.testing.assert_close(known.total, paths.log_prob[:, number], atol=3e-5, rtol=0)


def every_path(model, batch, count, longest):
    """Log-probability of every path of one scene, cut ones included."""
    out = {}
    for length in range(1, longest + 1):
        for path in itertools.product(range(count), repeat=length):
            sequence = torch.tensor([path])
            for ends in [True, False] if length == longest else [True]:
                trial = {**batch, "sequence": sequence, "terminated": torch.tensor([ends])}
                out[path, ends] = float(model.log_prob(trial).total)
    return out


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_a_wide_beam_finds_the_best_paths(power):
    model, batch = sharpen(tiny(seed=4)), scenes(counts=(3,))
    with torch.no_grad():
        exact = every_path(model, batch, 3, 3)
    # A path cut at the limit has not been given the chance to end there.
    possible = {key: value for key, value in exact.items() if not (len(key[0]) == 3 and key[1])}
    assert sum(math.exp(value) for value in possible.values()) == pytest.approx(1, abs=1e-4)
    ranked = sorted(possible, key=lambda key: -possible[key] / (len(key[0]) + key[1]) ** power)
    paths = beam_search(model, batch, 3, 60, length_power=power)
    for number, (path, ends) in enumerate(ranked[:10]):
        found = paths.sequence[0, number]
        assert tuple(found[found != PADDING].tolist()) == path
        assert bool(paths.terminated[0, number]) == ends
        assert float(paths.log_prob[0, number]) == pytest.approx(possible[path, ends], abs=1e-5)
    rest = paths.log_prob[0, len(possible) :]
    assert (rest == -torch.inf).all()
    assert (paths.length[0, len(possible) :] == 0).all()


def test_one_beam_without_normalisation_is_greedy():
    model, batch = sharpen(tiny(seed=7)), scenes()
    assert (beam_search(model, batch, 7, 1, length_power=0.0).sequence == greedy(model, batch, 7).sequence).all()


def test_beams_of_a_scene_do_not_depend_on_the_batch():
    model, batch = sharpen(tiny(**EVERYTHING)), scenes()
    together = beam_search(model, batch, 6, 4)
    assert (together.log_prob.isfinite()).all()
    for number, count in enumerate((12, 7, 9)):
        alone = beam_search(model, row(batch, number, count), 6, 4)
        assert (alone.sequence[0] == together.sequence[number]).all()


def test_points_are_centres_of_boxes():
    model, batch = tiny(background=True), scenes()
    paths = sample(model, batch, 6, 50, generator=seeded())
    objects = paths.sequence >= 0
    centres = (batch["boxes"][..., :2] + batch["boxes"][..., 2:]) / 2
    scene = torch.arange(3)[:, None, None].expand_as(objects)
    assert (paths.xy[objects] == centres[scene[objects], paths.sequence[objects]]).all()
    assert (paths.xy[paths.sequence == BACKGROUND] == torch.tensor([200.0, 120.0])).all()
    assert paths.xy[paths.sequence == PADDING].isnan().all()


def test_decoding_leaves_the_network_as_it_was():
    model = tiny(dropout=0.5).train()
    first, second = greedy(model, scenes(), 5), greedy(model, scenes(), 5)
    assert (first.sequence == second.sequence).all()
    assert model.training
    assert all(p.requires_grad for p in model.parameters())


def test_impossible_wishes_are_refused():
    model, batch = tiny(), scenes()
    with pytest.raises(ConfigError, match="temperature"):
        sample(model, batch, 5, temperature=0)
    with pytest.raises(ConfigError, match="max_length"):
        greedy(model, batch, 0)
    with pytest.raises(ConfigError, match="num_beams"):
        beam_search(model, batch, 5, 0)
    batch["given"][:] = 2
    with pytest.raises(ConfigError, match="2 given"):
        greedy(model, batch, 1)
    with pytest.raises(ConfigError, match="temperature=inf"):
        sample(model, batch, 4, temperature=math.inf)
    with pytest.raises(ConfigError, match="temperature=nan"):
        sample(model, batch, 4, temperature=math.nan)
    for power in (math.nan, math.inf, -1):
        with pytest.raises(ConfigError, match="length_power="):
            beam_search(model, batch, 4, 2, length_power=power)
    batch["given"][:] = 6
    with pytest.raises(DataError, match="given counts more"):
        greedy(model, batch, 9)


@pytest.mark.parametrize("decode", [greedy, sample, beam_search])
def test_broken_weights_are_said(decode):
    model = tiny()
    model.pointer.readout.weight.data.fill_(torch.nan)
    with pytest.raises(DataError, match="its weights or input are broken"):
        decode(model, scenes(), 4)
