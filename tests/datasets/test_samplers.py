"""Batch samplers: what every batch holds, true lengths, ranks, and continuing in the middle."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_suite.datasets.samplers import IdentityBatchSampler, ShardedBatchSampler, ShuffledBatchSampler
from vision_suite.errors import ConfigError


@st.composite
def identity_cases(draw):
    """Pictures per identity, P, K, processes, seed: always enough identities for one step."""
    world = draw(st.integers(1, 3))
    per_rank = draw(st.integers(1, 4))
    k = draw(st.integers(1, 4))
    extra = draw(st.integers(0, 8))
    sizes = draw(st.lists(st.integers(1, 17), min_size=per_rank * world + extra, max_size=per_rank * world + extra))
    labels = [identity * 7 for identity, size in enumerate(sizes) for _ in range(size)]
    order = np.random.default_rng(draw(st.integers(0, 99))).permutation(len(labels))
    return [labels[i] for i in order], per_rank, k, world, draw(st.integers(0, 5))


def samplers_of(case):
    labels, p, k, world, seed = case
    return [IdentityBatchSampler(labels, p * k, k, seed=seed, rank=r, world_size=world) for r in range(world)]


@given(identity_cases())
@settings(max_examples=60, deadline=None)
def test_identity_batches(case):
    labels, p, k, world, _ = case
    ranks = samplers_of(case)
    plans = [sampler.plan(3) for sampler in ranks]
    assert {len(plan) for plan in plans} == {len(ranks[0])}, "every rank has the same number of batches, the true one"
    used: Counter[int] = Counter()
    for step in zip(*plans, strict=True):
        identities = []
        for batch in step:
            assert len(batch) == p * k
            groups = np.asarray([labels[i] for i in batch]).reshape(p, k)
            assert (groups == groups[:, :1]).all(), "K pictures of one identity after another"
            identities += groups[:, 0].tolist()
            for row in np.asarray(batch).reshape(p, k):
                available = labels.count(labels[row[0]])
                assert len(set(row)) == min(k, available), "no repeat unless the identity has too few pictures"
        assert len(set(identities)) == p * world, "no identity twice in a step, over all ranks"
        used.update(i for batch in step for i in set(batch))
    assert all(n == 1 for i, n in used.items() if labels.count(labels[i]) >= k), "at most once per epoch"


@given(identity_cases())
@settings(max_examples=40, deadline=None)
def test_identity_length_is_the_largest_possible(case):
    labels, p, k, world, _ = case
    chunks = [max(1, n // k) for n in Counter(labels).values()]
    # Brute force: hand the chunks out greedily, the identities with most chunks first; no schedule has more steps.
    steps = 0
    while sum(c > 0 for c in chunks) >= p * world:
        chunks.sort(reverse=True)
        for i in range(p * world):
            chunks[i] -= 1
        steps += 1
    assert len(samplers_of(case)[0]) == steps


def test_orders_differ_between_epochs_and_seeds_and_not_between_copies():
    labels = [i // 6 for i in range(120)]
    one, same = (IdentityBatchSampler(labels, 16, 4, seed=1) for _ in range(2))
    assert one.plan(0) == same.plan(0)
    assert one.plan(0) != one.plan(1)
    assert one.plan(0) != IdentityBatchSampler(labels, 16, 4, seed=2).plan(0)
    assert len(one) == 5
    assert [len(one.plan(epoch)) for epoch in range(10)] == [5] * 10


def test_leftover_pictures_change_from_epoch_to_epoch():
    sampler = IdentityBatchSampler([i // 7 for i in range(70)], 8, 4, seed=0)
    assert len({i for epoch in range(30) for batch in sampler.plan(epoch) for i in batch}) == 70


def test_identities_are_drawn_evenly():
    sampler = IdentityBatchSampler([i // 4 for i in range(80)], 16, 4, seed=0)
    seen = Counter(i // 4 for epoch in range(40) for batch in sampler.plan(epoch) for i in set(batch))
    assert set(seen.values()) == {160}, "20 identities in 5 steps of 4: each exactly once an epoch"


@pytest.mark.parametrize(
    ("batch_size", "k", "message"),
    [
        (30, 4, "num_instances=4 does not divide batch_size=30: choose a batch size of 28 or 32"),
        (3, 4, "choose a batch size of 4 or 8"),
        (8, 0, "num_instances=0"),
        (64, 4, "a step of 16 identities .* cannot be made of 5 training identities"),
    ],
)
def test_impossible_batches(batch_size, k, message):
    with pytest.raises(ConfigError, match=message):
        IdentityBatchSampler([0, 1, 2, 3, 4] * 4, batch_size, k)


@pytest.mark.parametrize("rank", [-1, 2])
def test_impossible_ranks(rank):
    with pytest.raises(ConfigError, match=f"rank={rank}"):
        ShuffledBatchSampler(10, 2, rank=rank, world_size=2)


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_shuffled_batches(size, batch_size, world):
    if batch_size * world > size:
        with pytest.raises(ConfigError, match="does not fit"):
            ShuffledBatchSampler(size, batch_size, world_size=world)
        return
    ranks = [ShuffledBatchSampler(size, batch_size, seed=4, rank=r, world_size=world) for r in range(world)]
    batches = [batch for sampler in ranks for batch in sampler.plan(2)]
    assert {len(sampler.plan(2)) for sampler in ranks} == {len(ranks[0])}
    assert {len(batch) for batch in batches} == {batch_size}
    flat = [i for batch in batches for i in batch]
    assert len(set(flat)) == len(flat)
    assert size - len(flat) < batch_size * world


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_shards_lose_nothing_and_stay_in_step(size, batch_size, world):
    ranks = [ShardedBatchSampler(size, batch_size, rank=r, world_size=world) for r in range(world)]
    plans = [sampler.plan(0) for sampler in ranks]
    assert {tuple(len(b) for b in plan) for plan in plans} == {tuple(len(b) for b in plans[0])}
    assert {len(plan) for plan in plans} == {len(ranks[0])}
    seen = Counter(i for plan in plans for batch in plan for i in batch)
    assert set(seen) == set(range(size))
    assert sum(seen.values()) - size < world


@given(identity_cases(), st.integers(0, 30))
@settings(max_examples=40, deadline=None)
def test_a_restored_sampler_continues(case, done):
    sampler, fresh = samplers_of(case)[0], samplers_of(case)[0]
    done = min(done, len(sampler))
    sampler.set_epoch(5)
    whole = list(sampler)
    for _ in range(done):
        sampler.advance()
    fresh.load_state_dict(sampler.state_dict())
    if done < len(sampler):
        assert list(fresh) == whole[done:]
        fresh.set_epoch(5)
        assert list(fresh) == whole[done:], "setting the present epoch keeps the position"
    fresh.set_epoch(6)
    assert list(fresh) == fresh.plan(6), "a finished epoch is followed by the next, from its start"
