"""Pair-wise attention: the pair view and the merged streams against concatenated keys, image by image."""

import pytest
import torch
from dcal_tiny import pictures, tiny

from vision_suite.layers.vit import attention_of, blocks_of, create_vit, embed_tokens, project_qkv
from vision_suite.models.dcal.pwca import pair_view, partner_stream
from vision_suite.ops.pairing import draw_pairs, draw_share

VARIANTS = {"plain": {}, "layer scale": {"init_values": 0.3}, "normed queries and keys": {"qk_norm": True}}


def blocks(variant="plain", depth=3):
    torch.manual_seed(0)
    vit = create_vit(
        "vit_tiny_patch16_224", image_size=(32, 32), depth=depth, embed_dim=16, num_heads=2, **VARIANTS[variant]
    ).double()
    for parameter in vit.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return blocks_of(vit)


def tokens(batch=6, count=5):
    generator = torch.Generator().manual_seed(2)
    return torch.randn(batch, count, 16, dtype=torch.float64, generator=generator).requires_grad_()


def concatenated(chain, x, partner, other_streams=None):
    """The definition: one softmax over [K_own; K_partner], written out for each image and head."""
    streams = list(x)
    for depth, block in enumerate(chain):
        attn = attention_of(block)
        source = streams if other_streams is None else list(other_streams[depth])
        qkv = [[t[0] for t in project_qkv(attn, block.norm1(s)[None])] for s in streams]
        others = [[t[0] for t in project_qkv(attn, block.norm1(s)[None])] for s in source]
        following = []
        for image, stream in enumerate(streams):
            query, key, value = qkv[image]
            _, key2, value2 = others[int(partner[image])]
            key, value = torch.cat([key, key2], dim=1), torch.cat([value, value2], dim=1)
            weights = (query @ key.transpose(-2, -1) * attn.head_dim**-0.5).softmax(-1)
            out = attn.proj((weights @ value).transpose(0, 1).flatten(1))
            stream = stream + block.ls1(out)
            following.append(stream + block.ls2(block.mlp(block.norm2(stream))))
        streams = following
    return torch.stack(streams)


def gradients(outcome, x, chain):
    weights = [x, *(p for block in chain for p in block.parameters())]
    # Away from plain sums, whose gradients can agree by symmetry.
    return torch.autograd.grad(
        (outcome * torch.arange(outcome.numel()).view_as(outcome).sin()).sum(), weights, retain_graph=True
    )


def assert_same(found, expected, x, chain):
    torch.testing.assert_close(found, expected, atol=1e-13, rtol=0)
    for one, other in zip(gradients(found, x, chain), gradients(expected, x, chain), strict=True):
        torch.testing.assert_close(one, other, atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("batch", [6, 5])
def test_pair_view_equals_concatenated_keys(variant, batch):
    chain, x = blocks(variant), tokens(batch)
    torch.manual_seed(3)
    order, inverse = draw_pairs(batch)
    partner = order.view(-1, 2).flip(1).flatten()[inverse]
    assert_same(pair_view(chain, x, order)[inverse], concatenated(chain, x, partner)[:, 0], x, chain)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("partner", [[1, 0, 3, 2], [1, 2, 3, 0], [3, 3, 3, 0]])
def test_merged_streams_equal_concatenated_keys_for_any_partners(variant, partner):
    chain, x, mate = blocks(variant), tokens(4), torch.tensor(partner)
    assert_same(partner_stream(chain, x, mate), concatenated(chain, x, mate), x, chain)


def test_pair_view_equals_merged_streams():
    chain, x = blocks(), tokens(4)
    order = torch.tensor([2, 0, 3, 1])
    merged = partner_stream(chain, x, torch.tensor([2, 3, 0, 1]))[:, 0]
    assert_same(pair_view(chain, x, order), merged[order], x, chain)


def test_a_partner_from_the_self_attention_stream():
    chain, x, mate = blocks(), tokens(4), torch.tensor([1, 0, 3, 2])
    plain, keys = [x], []
    for block in chain:
        keys.append(project_qkv(attention_of(block), block.norm1(plain[-1]))[1:])
        plain.append(block(plain[-1]))
    expected = concatenated(chain, x, mate, plain)
    assert_same(partner_stream(chain, x, mate, keys), expected, x, chain)
    # The three sources of the partner's keys are three different networks.
    own = partner_stream(chain, x, mate)
    frozen = concatenated(chain, x, mate, [x] * 3)
    gaps = [(own - expected).abs().max(), (own - frozen).abs().max(), (expected - frozen).abs().max()]
    assert min(gaps) > 1e-2


def test_a_self_pair_is_self_attention():
    chain, x = blocks(), tokens(4)
    plain = x
    for block in chain:
        plain = block(plain)
    twice = pair_view(chain, x, torch.arange(4).repeat_interleave(2))[::2]
    torch.testing.assert_close(twice, plain[:, 0], atol=2e-14, rtol=0)
    torch.testing.assert_close(partner_stream(chain, x, torch.arange(4)), plain, atol=2e-14, rtol=0)


def test_partners_matter_and_the_order_of_pairs_does_not():
    chain, x = blocks(), tokens(4)
    one = pair_view(chain, x, torch.tensor([0, 1, 2, 3]))
    swapped = pair_view(chain, x, torch.tensor([2, 3, 0, 1]))
    torch.testing.assert_close(swapped, one[[2, 3, 0, 1]], atol=1e-15, rtol=0)
    other = pair_view(chain, x, torch.tensor([0, 2, 1, 3]))[[0, 2, 1, 3]]
    assert (one - other).abs().amax(1).min() > 1e-3


def test_the_network_trains_a_pair_branch_and_drops_it_in_evaluation():
    net, image = tiny(), pictures()
    torch.manual_seed(0)
    first = net(image).pwca
    torch.manual_seed(1)
    second = net(image).pwca
    assert (first.feature - second.feature).abs().max() > 1e-3  # other partners
    net.eval()
    assert net(image).pwca is None
    torch.manual_seed(2)
    one = net(image)
    torch.manual_seed(3)
    two = net(image)
    assert torch.equal(one.sa.logits, two.sa.logits)
    assert torch.equal(one.glca.logits, two.glca.logits)


def test_the_network_pairs_at_every_block():
    net, image = tiny(), pictures()
    torch.manual_seed(0)
    found = net(image).pwca.feature
    torch.manual_seed(0)
    order, inverse = draw_pairs(4)
    partner = order.view(-1, 2).flip(1).flatten()[inverse]

    whole = concatenated(blocks_of(net.vit), embed_tokens(net.vit, image), partner)
    torch.testing.assert_close(found, net.vit.norm(whole[:, 0]), atol=1e-12, rtol=0)


def test_a_batch_of_one_pairs_with_itself():
    net = tiny(head={"neck": False})
    output = net(pictures(1))
    torch.testing.assert_close(output.pwca.feature, output.sa.feature, atol=1e-13, rtol=0)
    for partner in ("uniform", "inter", "intra"):
        other = tiny(head={"neck": False}, pwca={"partner": partner})(
            pictures(1), label=torch.zeros(1, dtype=torch.int64)
        )
        torch.testing.assert_close(other.pwca.feature, output.sa.feature, atol=1e-13, rtol=0)


@pytest.mark.parametrize("stream", ["pwca", "sa"])
def test_a_share_of_the_batch_is_paired_as_that_part_alone_would_be(stream):
    net = tiny(drop_path=0.0, glca={"enabled": False}, pwca={"share": 0.5, "stream": stream}, task="fgvc").train()
    label = torch.tensor([0, 1, 2, 0, 1, 2, 3, 3])
    image = pictures(8)
    torch.manual_seed(4)
    found = net(image, label=label)
    rows = found.pwca_rows
    assert len(rows) == len(found.pwca.feature) == 4
    assert sorted(label[rows].tolist()) in [[a, a, b, b] for a in range(4) for b in range(a + 1, 4)]
    # The same random numbers: the draw of the rows, then the pairing of what was drawn.
    net.pwca_share = 1.0
    torch.manual_seed(4)
    draw_share(8, 0.5, labels=label)
    alone = net(image[rows], label=label[rows])
    torch.testing.assert_close(found.pwca.feature, alone.pwca.feature, atol=1e-12, rtol=0)
    torch.testing.assert_close(found.sa.feature[rows], alone.sa.feature, atol=1e-12, rtol=0)


def test_shares_are_drawn_evenly():
    torch.manual_seed(0)
    counts = torch.zeros(10)
    for _ in range(2000):
        counts[draw_share(10, 0.3)] += 1
    assert counts.sum() == 6000
    assert (counts - 600).abs().max() < 100
    assert sorted(draw_share(3, 0.01).tolist()) in ([0, 1], [0, 2], [1, 2])
