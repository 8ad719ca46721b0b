"""Batches by length: budgets, whole steps over processes and micro-batches, mixtures without replacement."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_suite.datasets.lengths import LengthBatchSampler, Mixture
from vision_suite.errors import ConfigError


@st.composite
def cases(draw):
    size = draw(st.integers(12, 90))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    lengths = rng.integers(1, 30, size)
    return {
        "lengths": lengths,
        "targets": rng.integers(1, 9, size),
        "pictured": rng.random(size) < draw(st.sampled_from([0.0, 0.5, 1.0])),
        "mixture": Mixture((size,), (1.0,)),
        "batch_size": draw(st.integers(1, 4)),
        "batch_tokens": draw(st.sampled_from([None, 30, 70])),
        "packed": draw(st.booleans()),
        "seed": draw(st.integers(0, 3)),
    }


@given(cases(), st.integers(0, 3))
@settings(max_examples=80, deadline=None)
def test_batches_keep_their_limits_and_no_row_comes_twice(case, epoch):
    plan = LengthBatchSampler(**case).plan(epoch)
    lengths, budget = case["lengths"], case["batch_tokens"]
    for batch in plan:
        own = lengths[batch]
        if budget is None:
            assert len(batch) == case["batch_size"]
        else:
            assert len(batch) <= case["batch_size"]
            assert (own.sum() if case["packed"] else own.max() * len(own)) <= budget
    mixed = [batch for batch in plan if len(set(case["pictured"][batch].tolist())) == 2]
    assert len(mixed) <= 2 * case["batch_size"], "only what is left at an epoch's end is mixed"
    seen = Counter(row for batch in plan for row in batch)
    if budget is None:
        assert set(seen.values()) == {1}
        assert len(lengths) - len(seen) < case["batch_size"]


@given(cases(), st.integers(1, 3), st.integers(0, 2))
@settings(max_examples=60, deadline=None)
def test_two_processes_take_the_steps_of_two_micro_batches(case, parts, epoch):
    try:
        one = LengthBatchSampler(**case, accumulate=parts)
    except ConfigError:
        with pytest.raises(ConfigError):
            LengthBatchSampler(**case, world_size=parts)
        return
    many = [LengthBatchSampler(**case, rank=rank, world_size=parts) for rank in range(parts)]
    assert {len(sampler) * parts for sampler in many} == {len(one)}
    steps = list(zip(*(sampler.plan(epoch) for sampler in many), strict=True))
    plan = one.plan(epoch)
    assert [list(step) for step in steps] == [plan[n : n + parts] for n in range(0, len(plan), parts)]
    for number, step in enumerate(steps):
        targets = sum(int(case["targets"][batch].sum()) for batch in step)
        assert {sampler.step_targets(epoch, number) for sampler in many} == {targets}
        assert {one.step_targets(epoch, number * parts + micro) for micro in range(parts)} == {targets}


@given(cases())
@settings(max_examples=30, deadline=None)
def test_every_epoch_has_the_same_number_of_batches_in_its_own_order(case):
    one, same = LengthBatchSampler(**case), LengthBatchSampler(**case)
    assert {len(one.plan(epoch)) for epoch in range(4)} == {len(one)}
    assert one.plan(2) == same.plan(2)
    if len(case["lengths"]) > 30:
        assert one.plan(0) != one.plan(1)


def test_rows_of_like_length_and_kind_share_a_batch():
    rng = np.random.default_rng(0)
    lengths, pictured = rng.integers(5, 500, 1000), rng.random(1000) < 0.5
    sampler = LengthBatchSampler(lengths, lengths, pictured, Mixture((1000,), (1.0,)), batch_size=8)
    plan = sampler.plan(0)
    kept = sum(int(lengths[batch].sum()) for batch in plan)
    filled = sum(int(lengths[batch].max()) * len(batch) for batch in plan)
    assert kept / filled > 0.9, "shuffled batches hold some .55"
    kinds = [set(pictured[batch].tolist()) for batch in plan]
    assert sum(len(kind) == 2 for kind in kinds) <= 2
    assert {True} in kinds
    assert {False} in kinds


def test_a_weight_below_one_takes_turns_over_the_epochs():
    mixture = Mixture((40, 7), (0.25, 2.0))
    assert mixture.quotas == (10, 14)
    epochs = [mixture.drawn(5, epoch) for epoch in range(4)]
    first = np.concatenate([rows[rows < 40] for rows in epochs])
    assert sorted(first.tolist()) == list(range(40)), "four epochs see each row once"
    for rows in epochs:
        assert sorted(rows[rows >= 40].tolist()) == sorted(list(range(40, 47)) * 2)


def test_temperature_raises_small_sources():
    assert Mixture((900, 100), (1.0, 1.0), 1.0).quotas == (900, 100)
    assert Mixture((900, 100), (1.0, 1.0), 2.0).quotas == (750, 250)  # square roots 30 and 10
    assert Mixture((900, 100), (1.0, 0.0), 2.0).quotas == (900, 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mixture((4,), (-1.0,)), "weights="),
        (lambda: Mixture((4,), (0.0,)), "no row is drawn"),
        (lambda: Mixture((4,), (1.0,), 0.5), "temperature=0.5"),
        (lambda: Mixture((4,), (1e300,)), "rows an epoch: lower them"),
        (lambda: sampler_of([3, 9], batch_tokens=8), "batch_tokens=8 is below the longest sequence of 9"),
        (lambda: sampler_of([3, 9], batch_size=3), "make 0 batches"),
    ],
)
def test_impossible_settings(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def sampler_of(lengths, batch_size=1, **more):
    values = np.array(lengths)
    return LengthBatchSampler(
        values, values, values > 0, Mixture((len(values),), (1.0,)), batch_size=batch_size, **more
    )


def test_a_source_with_a_small_weight_is_drawn():
    assert Mixture((100, 100), (0.001, 1.0)).quotas == (1, 100)
    assert Mixture((100, 0), (1.0, 1.0)).quotas == (100, 0)


def test_rows_that_are_not_drawn_need_no_budget():
    lengths = np.array([3, 4, 90])
    sampler = LengthBatchSampler(
        lengths, lengths, lengths > 0, Mixture((2, 1), (1.0, 0.0)), batch_size=2, batch_tokens=8
    )
    assert sorted(row for batch in sampler.plan(0) for row in batch) == [0, 1]


@pytest.mark.parametrize("used", [3, 0.6])
@pytest.mark.parametrize("ranks", [1, 3])
def test_a_step_that_is_cut_has_the_targets_of_its_batches(used, ranks):
    values = np.arange(1, 19)
    each = [
        sampler_of(values, accumulate=2, rank=rank, world_size=ranks, used=used, batch_size=3 // ranks)
        for rank in range(ranks)
    ]
    plans = [sampler.plan(0) for sampler in each]
    assert len(plans[0]) == 6
    for batch, micros in enumerate(([0, 1], [0, 1], [2])):
        targets = sum(int(values[plan[micro]].sum()) for plan in plans for micro in micros)
        assert {sampler.step_targets(0, batch) for sampler in each} == {targets}
