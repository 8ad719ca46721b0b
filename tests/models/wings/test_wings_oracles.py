"""Hand calculations of WINGS: one learner, the router, the sum of both wings, numbers of parameters."""

import pytest
import torch

from vision_suite.models.wings.attach import attach, find, routing, row_masses, wings_parameters
from vision_suite.models.wings.config import WingsConfig
from vision_suite.models.wings.layer import Wings
from vision_suite.models.wings.learner import Factors, Learner
from vision_suite.models.wings.router import Router, mass_logits, position_columns, position_logits, weights
from vision_suite.models.wings.state import build_state

pytest.importorskip("transformers")

from wings_tiny import decoder, draw, logits, rows, winged

I2 = torch.eye(2, dtype=torch.float64)
OUT = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64) / 10


@pytest.mark.parametrize(
    ("query", "out", "expected"),
    [
        (torch.zeros(2, 2), OUT, [0.1660476901, 0.2660476901]),
        (torch.tensor([[0.0, 1.0], [0.0, 0.0]]), OUT, [0.2, 0.3]),
        (torch.zeros(2, 2), torch.zeros(2, 2), [0.0, 0.0]),
    ],
)
def test_one_learner_with_one_head(query, out, expected):
    """Two picture tokens x = I are read by h = (1, 0); all at position 0, so nothing rotates."""
    wings = Wings(WingsConfig(rank=2, s_max=4, stage=1, visual_mask="full"), 2, 1, 0).double()
    for part in ("q", "k", "v", "o"):
        factors = getattr(wings.visual, part)
        factors.a.data, factors.b.data = I2.clone(), torch.zeros(2, 2, dtype=torch.float64)
    wings.visual.q.b.data, wings.visual.o.b.data = query.double(), out.double()
    state = build_state(
        I2[None], torch.ones(1, 2, dtype=torch.bool), wings.config, torch.ones(1, dtype=torch.float64),
        attention_mask=None, position_ids=torch.zeros(1, 2, dtype=torch.int64), packed=None, past_positions=None,
        past_image=None,
    )  # fmt: skip
    one, other = wings.read(I2[None], state, None)
    assert other is None
    found = one @ wings.visual.o.b
    torch.testing.assert_close(found[0, 0], torch.tensor(expected, dtype=torch.float64), atol=1e-9, rtol=0)


def test_router_by_position():
    maps = torch.tensor(
        [[[1, 0, 0], [0.5, 0.5, 0], [0.2, 0.3, 0.5]], [[1, 0, 0], [0.1, 0.9, 0], [0.6, 0.2, 0.2]]], dtype=torch.float64
    )
    router = Router("position", 3).double()
    router.weight.data = torch.tensor([[1.0, 0, -1], [0, 2, 0.5]], dtype=torch.float64)
    router.bias.data = torch.tensor([0.1, -0.1], dtype=torch.float64)
    columns = position_columns(router, torch.arange(3)[None], torch.float64)
    found = position_logits(router, (maps @ columns).sum(0)[None])
    torch.testing.assert_close(
        found[0], torch.tensor([[2.1, -0.1], [0.7, 2.7], [0.2, 1.25]], dtype=torch.float64), atol=1e-12, rtol=0
    )
    sees = torch.ones(1, 3, dtype=torch.bool)
    silu = torch.tensor([[0.871960, 0.128040], [0.112821, 0.887179], [0.296993, 0.703007]], dtype=torch.float64)
    none = torch.tensor([[0.900250, 0.099750], [0.119203, 0.880797], [0.259225, 0.740775]], dtype=torch.float64)
    weight, factors = weights(found, sees, "silu", 2.0, masked=False)
    torch.testing.assert_close(weight[0], silu, atol=1e-6, rtol=0)
    torch.testing.assert_close(factors, 2 * weight)
    torch.testing.assert_close(weights(found, sees, "none", 1.0, masked=True)[0][0], none, atol=1e-6, rtol=0)
    weight, factors = weights(found, ~sees, "silu", 2.0, masked=True)
    assert torch.equal(factors[0], torch.tensor([[0.0, 1.0]] * 3, dtype=torch.float64))


def test_router_by_shares_takes_text_between_and_after_pictures_as_one():
    router = Router("mass", 64).double()
    share = torch.rand(2, 5, 4, dtype=torch.float64)
    moved = share[..., [0, 1, 3, 2]]
    torch.testing.assert_close(mass_logits(router, moved), mass_logits(router, share))
    by_hand = share[..., :2] @ router.weight[:, :2].t() + (share[..., 2:].sum(-1, keepdim=True)) * router.weight[:, 2]
    torch.testing.assert_close(mass_logits(router, share), by_hand + router.bias)


def test_sum_of_both_wings_as_in_the_released_code():
    """In a row with a picture 2 g_V V + 2 g_T T is added; in rows of text, when not training, T alone."""
    settings = {"blend": "reference", "visual_mask": "full", "layers": (0,)}
    model = winged(**settings)
    ids, is_image = rows()
    base = decoder()
    part = model.model.layers[0].self_attn.wings
    seen = {}
    read, model.model.layers[0].self_attn.wings.read = part.read, None

    def spy(query, state, cache):
        seen["one"], seen["other"] = read(query, state, cache)
        return seen["one"], seen["other"]

    part.read = spy
    inputs = {}
    for name, each in (("base", base), ("wings", model)):
        each.model.layers[0].post_attention_layernorm.register_forward_pre_hook(
            lambda _, args, name=name: inputs.update({name: args[0]})
        )
    logits(model, ids, is_image)
    logits(base, ids)
    added = inputs["wings"] - inputs["base"]
    visual, textual = seen["one"] @ part.visual.o.b, seen["other"] @ part.textual.o.b
    weight = routing(model)[:, 0]
    both = 2 * weight[..., :1] * visual + 2 * weight[..., 1:] * textual
    torch.testing.assert_close(added[:2], both[:2], atol=1e-12, rtol=0)
    torch.testing.assert_close(added[2], textual[2], atol=1e-12, rtol=0)
    assert visual[2].abs().max() == 0
    model.train()
    logits(model, ids, is_image)
    added = inputs["wings"] - inputs["base"]
    torch.testing.assert_close(added[2], (2 * routing(model)[2, 0, :, 1:] * seen["other"][2]) @ part.textual.o.b)


@pytest.mark.parametrize(
    ("width", "layers", "learners", "routers"),
    [
        (4096, 32, 134217728, 262208),
        (2048, 24, 50331648, 196656),
        (3584, 28, 102760448, 229432),
        (4096, 36, 150994944, 294984),
    ],
)
def test_numbers_of_parameters(width, layers, learners, routers):
    with torch.device("meta"):
        learner, router = Learner(width, 64), Router("position", 4096)
    assert 2 * layers * sum(p.numel() for p in learner.parameters()) == learners
    assert layers * sum(p.numel() for p in router.parameters()) == routers


def test_parameters_of_a_model():
    model = winged("smol", random=False)
    names = wings_parameters(model)
    assert len(names) == 3 * 18
    assert "model.layers.2.self_attn.wings.textual.o.b" in names
    assert "model.layers.0.self_attn.wings.router.weight" in names
    assert not any(isinstance(m, torch.nn.Linear) for layer in attach(decoder()) for m in layer.modules())
    assert sum(p.numel() for p in names.values()) == 3 * (2 * 8 * 36 * 4 + 2 * 64 + 2)


def test_shares_of_attention_against_the_eager_matrix():
    base, (ids, is_image) = decoder(dtype=torch.float32), rows()
    is_image[0, 10] = True  # text between pictures
    model = winged(model=base, random=False)
    logits(model, ids, is_image)
    base.set_attn_implementation("eager")
    with torch.no_grad():
        maps = base(ids, output_attentions=True).attentions
    groups = torch.zeros(3, 12, 4)
    for row, order in enumerate(([0] * 5 + [1] * 4 + [2, 1, 3], [0] + [1] * 4 + [3] * 7, [0] * 12)):
        groups[row, torch.arange(12), torch.tensor(order)] = 1
    expected = torch.stack([each.mean(1) @ groups for each in maps], 1).mean(2)
    torch.testing.assert_close(row_masses(model), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(row_masses(model).sum(-1), torch.ones(3, 3))


def test_weights_of_the_router_against_the_eager_matrix():
    base, (ids, is_image) = decoder(dtype=torch.float32), rows()
    model = winged(model=base, random=False)
    routers = [layer.self_attn.wings.router for layer in model.model.layers]
    draw([p for router in routers for p in router.parameters()], 0.5)
    logits(model, ids, is_image)
    base.set_attn_implementation("eager")
    with torch.no_grad():
        maps = base(ids, output_attentions=True).attentions
    for number, (map_, router) in enumerate(zip(maps, routers, strict=True)):
        plain = torch.nn.functional.silu(map_.sum(1) @ router.weight[:, :12].t() + router.bias).softmax(-1)
        sees = is_image.cumsum(1) > 0
        expected = torch.where(sees[..., None], plain, torch.tensor([0.0, 1.0]))
        torch.testing.assert_close(routing(model)[:, number], expected, atol=2e-6, rtol=0)
    assert find(model).last.masses.keys() == {0, 1, 2}


def test_new_matrices():
    torch.manual_seed(0)
    factors = Factors(64, 32)
    assert factors.b.abs().max() == 0
    assert 0.018 < factors.a.std() < 0.022
