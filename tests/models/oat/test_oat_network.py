"""The network: reference size, layers against PyTorch's, masks, conditions, likelihood."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oat_tiny import row, scenes, sharpen, tiny
from torch import nn

from vision_suite.errors import ConfigError, DataError
from vision_suite.losses.scanpath import scanpath_loss
from vision_suite.models.oat import OAT
from vision_suite.models.oat.pointer import PointerHead
from vision_suite.models.oat.transformer import DecoderLayer, EncoderLayer
from vision_suite.types import BACKGROUND, PADDING, Condition


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_reference_has_its_number_of_parameters():
    model = OAT()
    assert count(model) == 18_255_843
    assert count(model.encoder) == 6_311_936
    assert count(model.decoder) == 10_518_528
    assert count(model.embedding.appearance) == 374_752
    assert count(model.pointer.row) + count(model.pointer.state) == 1_050_624
    assert count(model.pointer.readout) == 3
    assert model.embedding.appearance.linear.in_features == 1440


def test_every_matrix_starts_by_xaviers_rule():
    for name, parameter in OAT().named_parameters():
        if parameter.ndim > 1:
            fan = nn.init._calculate_fan_in_and_fan_out(parameter)
            bound = math.sqrt(6 / sum(fan))
            assert parameter.detach().abs().max() <= bound, name
            if parameter.numel() > 1000:
                assert parameter.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1), name


def oracle_head(second):
    """The hand-made pointer head, with d = 2."""
    head = PointerHead(2, 2 if second else 1)
    with torch.no_grad():
        for layer in [*head.row, *head.state]:
            layer.weight.copy_(torch.eye(2))
            layer.bias.zero_()
        if second:
            head.state[1].weight.copy_(torch.tensor([[0.0, 0.0], [0.0, 2.0]]))
            head.readout.weight.copy_(torch.tensor([[0.7, 0.3]]))
            head.readout.bias.fill_(0.1)
    memory = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.5, -0.5]]])
    logits = head(torch.tensor([[[2.0, 1.0]]]), head.keys(memory), torch.ones(1, 4, dtype=torch.bool))
    return logits[0, 0], head.with_padding(logits)[0, 0]


def test_the_pointer_head_by_hand():
    logits, padded = oracle_head(second=False)
    assert padded.tolist() == pytest.approx([1.414214, 0.707107, 2.121320, 0.353553, 0], abs=1e-6)
    trained = [0.243278, 0.119953, 0.493395, 0.084229, 0.059145]
    assert padded.softmax(0).tolist() == pytest.approx(trained, abs=1e-6)
    assert -padded.log_softmax(0)[2].item() == pytest.approx(0.706445, abs=1e-6)
    assert logits.softmax(0).tolist() == pytest.approx([0.258571, 0.127493, 0.524412, 0.089524], abs=1e-6)
    assert logits[:-1].softmax(0).tolist() == pytest.approx([0.283995, 0.140029, 0.575975], abs=1e-6)
    _, padded = oracle_head(second=True)
    assert padded.tolist() == pytest.approx([1.089949, 1.019239, 2.009188, 0.135355, 0.1], abs=1e-6)


def copy_attention(ours, theirs):
    theirs.in_proj_weight.copy_(ours.project.weight)
    theirs.in_proj_bias.copy_(ours.project.bias)
    theirs.out_proj.load_state_dict(ours.out.state_dict())


def copy_rest(ours, theirs):
    theirs.linear1.load_state_dict(ours.feed_forward[0].state_dict())
    theirs.linear2.load_state_dict(ours.feed_forward[3].state_dict())
    for name in ("norm1", "norm2", "norm3"):
        if hasattr(ours, name):
            getattr(theirs, name).load_state_dict(getattr(ours, name).state_dict())


def test_the_layers_are_pytorchs():
    torch.manual_seed(0)
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 48, 0.1, batch_first=True), 2)
    decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(32, 4, 48, 0.1, batch_first=True), 2)
    ours_encoder = [EncoderLayer(32, 4, 48, 0.1).eval() for _ in range(2)]
    ours_decoder = [DecoderLayer(32, 4, 48, 0.1).eval() for _ in range(2)]
    with torch.no_grad():
        for ours, theirs in zip(ours_encoder, encoder.layers, strict=True):
            copy_attention(ours.attention, theirs.self_attn)
            copy_rest(ours, theirs)
        for ours, theirs in zip(ours_decoder, decoder.layers, strict=True):
            copy_attention(ours.attention, theirs.self_attn)
            copy_attention(ours.scene, theirs.multihead_attn)
            copy_rest(ours, theirs)
    encoder.eval(), decoder.eval()
    rows, steps = torch.randn(3, 9, 32), torch.randn(3, 5, 32)
    seen = torch.arange(9) < torch.tensor([[9], [6], [4]])
    memory, x = rows, steps
    for layer in ours_encoder:
        memory = layer(memory, seen[:, None, None])
    for layer in ours_decoder:
        x = layer(x, layer.prepare(memory), seen[:, None, None])
    wanted = encoder(rows, src_key_padding_mask=~seen)
    causal = nn.Transformer.generate_square_subsequent_mask(5)
    torch.testing.assert_close(memory[seen], wanted[seen], atol=1e-5, rtol=0)
    wanted = decoder(steps, memory, tgt_mask=causal, memory_key_padding_mask=~seen)
    torch.testing.assert_close(x, wanted, atol=1e-5, rtol=0)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["cholesky", "sinusoid2d", "gauss_hermite"]), st.booleans())
def test_permuting_objects_permutes_logits(seed, position, background):
    model = sharpen(tiny(position=position, background=background)).double()
    batch = scenes(counts=(9, 9), seed=seed)
    batch = {name: value.double() if value.is_floating_point() else value for name, value in batch.items()}
    order = torch.randperm(9, generator=torch.Generator().manual_seed(seed))
    back = order.argsort()
    shuffled = {**batch}
    for name in ("features", "boxes", "position", "targets"):
        shuffled[name] = batch[name][:, order]
    shuffled["target"] = back[batch["target"]]
    shuffled["sequence"] = torch.where(batch["sequence"] >= 0, back[batch["sequence"]], batch["sequence"])
    logits, permuted = model(batch).logits, model(shuffled).logits
    real = torch.cat([batch["sequence"] != PADDING, torch.zeros(2, 1, dtype=torch.bool)], dim=1).roll(1, dims=1)
    real[:, 0] = True
    columns = torch.cat([order, torch.arange(9, logits.shape[2])])
    torch.testing.assert_close(permuted[real], logits[..., columns][real], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("switches", [{}, {"background": True, "duration": True, "conditions": True}])
@pytest.mark.parametrize("position", ["cholesky", "gauss_hermite"])
def test_padding_objects_never_change_a_row(switches, position):
    model = sharpen(tiny(position=position, **switches)).double()
    batch = {name: value.double() if value.is_floating_point() else value for name, value in scenes().items()}
    together = model(batch)
    scored = model.log_prob(batch)
    for number, objects in enumerate((12, 7, 9)):
        single = row(batch, number, objects)
        alone = model(single)
        extra = 12 - objects
        columns = [*range(objects), *range(12, together.logits.shape[2])]
        torch.testing.assert_close(together.logits[number][:, columns], alone.logits[0], atol=1e-6, rtol=1e-6)
        assert (together.logits[number].softmax(-1)[:, objects : objects + extra] == 0).all()
        torch.testing.assert_close(scored.total[number], model.log_prob(single).total[0], atol=1e-6, rtol=0)
        if switches:
            torch.testing.assert_close(together.timing[number], alone.timing[0], atol=1e-6, rtol=1e-6)


def test_labels_are_objects_background_and_end():
    model = tiny(background=True)
    batch = scenes(counts=(5, 5, 5), length=4)
    batch["sequence"] = torch.tensor([[3, BACKGROUND, 2, PADDING], [1, 1, 4, 0], [2, PADDING, PADDING, PADDING]])
    batch["given"] = torch.tensor([1, 0, 0])
    batch["terminated"] = torch.tensor([True, True, False])
    wanted = [[-100, 5, 2, 6, -100], [1, 1, 4, 0, 6], [2, -100, -100, -100, -100]]
    assert model(batch).labels.tolist() == wanted
    result = model.log_prob(batch)
    assert result.scored.sum(dim=1).tolist() == [3, 5, 1]
    assert (result.steps[~result.scored] == 0).all()
    assert (result.steps[result.scored] < 0).all()
    with pytest.raises(DataError, match="background"):
        tiny()(batch)


def test_likelihood_of_a_uniform_network():
    model = tiny(max_positions=11, embed_dim=64)
    with torch.no_grad():
        for layer in model.pointer.state:
            layer.weight.zero_()
            layer.bias.zero_()
    batch = scenes(counts=(84,), columns=9, length=3)
    batch["sequence"] = torch.tensor([[5, 83, 5]])
    result = model.log_prob(batch)
    assert -float(result.total) == pytest.approx(17.758770, abs=1e-5)
    assert -float(result.total) == pytest.approx(math.log(84) + 3 * math.log(85), abs=1e-5)


def test_pointing_at_the_target_row_is_the_end():
    model = tiny()
    batch = scenes(counts=(6,))
    encoded = model.encode(batch)
    assert encoded.memory.shape[1] == 7
    tokens = model.embedding(batch)
    target = int(batch["target"])
    torch.testing.assert_close(tokens.rows[0, 6], tokens.fixated[0, target])  # same look, place, and flag 1
    torch.testing.assert_close(tokens.rows[0, 6, :16], tokens.rows[0, target, :16])
    others = [number for number in range(6) if number != target]
    torch.testing.assert_close(tokens.rows[0, others], tokens.fixated[0, others])


def test_gradients_are_finite_without_durations():
    model = tiny(duration=True, background=True, conditions=True).train()
    batch = scenes()
    batch["duration"][0] = torch.nan
    batch["condition"][1], batch["target"][1], batch["targets"][1] = int(Condition.ABSENT), -1, False
    out = model(batch)
    total, terms = scanpath_loss(*out)
    assert set(terms) == {"fixation", "duration"}
    assert out.duration[0].isnan().all()
    assert not out.duration[1:].isnan().all()
    total.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    assert all(p.grad is not None for p in model.parameters())
    batch["duration"][:] = torch.nan
    model.zero_grad()
    total, terms = scanpath_loss(*model(batch))
    assert float(terms["duration"]) == 0
    total.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_conditions_have_their_own_end():
    batch = scenes(counts=(6, 6, 6))
    for name in ("features", "position", "boxes"):
        batch[name] = batch[name][:1].expand(3, -1, -1)
    batch["target"], batch["targets"] = torch.tensor([2, -1, -1]), torch.zeros(3, 6, dtype=torch.bool)
    batch["condition"] = torch.tensor([0, 1, 2])
    with pytest.raises(DataError, match="conditions=true"):
        tiny()(batch)
    model = tiny(conditions=True)
    rows = model.embedding(batch).rows[:, -1]
    torch.testing.assert_close(
        rows[1] - rows[2], model.embedding.condition.weight[1] - model.embedding.condition.weight[2]
    )
    assert (rows[0] - rows[1]).abs().max() > 0.1


def test_a_target_given_apart_says_nothing_of_its_place():
    batch = scenes(counts=(6, 6))
    batch["target_features"] = torch.randn(2, 6)
    model = tiny(target_token="given", conditions=True)
    before = model.encode(batch).memory
    other = {**batch, "target": (batch["target"] + 1) % 6, "targets": ~batch["targets"]}
    torch.testing.assert_close(model.encode(other).memory, before)
    torch.testing.assert_close(model(other).logits, model(batch).logits)
    absent = {**batch, "condition": torch.tensor([0, 1]), "target": torch.tensor([0, -1])}
    assert not torch.allclose(model.encode(absent).memory[1], before[1])
    free = {k: v for k, v in batch.items() if k != "target_features"}
    with pytest.raises(DataError, match="target_features"):
        model(free)
    free["condition"] = torch.full((2,), int(Condition.FREE))
    assert model(free).logits.isfinite().all()


def test_a_wide_scene_is_shrunk_to_the_codes_reach():
    model = tiny(position="gauss_hermite", embed_dim=64)
    batch = scenes(counts=(8,), columns=4)
    wide = {**batch, "position": batch["position"] * 40, "start": batch["start"] * 40}
    wider = {**batch, "position": batch["position"] * 80, "start": batch["start"] * 80}
    torch.testing.assert_close(model(wide).logits, model(wider).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sequence": torch.tensor([[12, PADDING]])}, "objects 0 to 6"),
        ({"sequence": torch.tensor([[-3, PADDING]])}, "names object -3"),
        ({"sequence": torch.tensor([[PADDING, 1]])}, "padding between"),
        ({"present": torch.arange(7)[None] < 3, "sequence": torch.tensor([[5, 1]])}, "lacks"),
        ({"features": torch.zeros(1, 7, 5)}, "feature_dim=6"),
        ({"target": torch.tensor([7])}, "lacks its target; objects are 0 to 6"),
        ({"target": torch.tensor([6]), "present": torch.arange(7)[None] < 6}, "lacks its target"),
    ],
)
def test_malformed_batches_are_refused(change, message):
    with pytest.raises(DataError, match=message):
        tiny()({**scenes(counts=(7,)), **change})


@pytest.mark.parametrize("name", ["position", "start", "target", "sequence"])
def test_what_a_batch_lacks_is_named(name):
    batch = scenes()
    del batch[name]
    with pytest.raises(DataError, match=f"the batch has no {name}"):
        tiny()(batch)


@pytest.mark.parametrize(
    "setting",
    [
        {"appearance": "resnet"}, {"appearance": "table", "feature_dim": None}, {"appearance": "timm:nothing_there"},
        {"embed_dim": 33}, {"num_heads": 5}, {"pointer_heads": 0}, {"dropout": 1.0}, {"target_token": "word"},
        {"num_heads": 0}, {"ff_dim": 0}, {"decoder_layers": 0}, {"encoder_layers": -1},
    ],
)  # fmt: skip
def test_settings_are_checked(setting):
    with pytest.raises(ConfigError):
        tiny(**setting)


def test_a_fresh_network_learns_a_rule():
    """Go to the object right of the start, then to the target, and stop."""
    model = tiny(seed=1).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)
    losses = []
    for step in range(150):
        batch = scenes(counts=(6,) * 16, seed=step, columns=3, length=2)
        batch["sequence"] = torch.stack([torch.full_like(batch["target"], 5), batch["target"]], dim=1)
        out = model(batch)
        loss, _ = scanpath_loss(*out)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss))
    assert losses[0] > 1.5
    assert sum(losses[-10:]) / 10 < 0.3
