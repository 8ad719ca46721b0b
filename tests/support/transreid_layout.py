"""Networks with the names and the arithmetic of TransReID, written from the facts in its paper and its public code.

Names of tensors, what is added to what, and the scale of attention are TransReID's; sizes are small.
"""

import torch
from torch import nn


class _Attention(nn.Module):
    def __init__(self, width, heads, bias, scale):
        super().__init__()
        self.heads, self.scale = heads, scale or (width // heads) ** -0.5
        self.qkv, self.proj = nn.Linear(width, 3 * width, bias=bias), nn.Linear(width, width)

    def forward(self, x):
        batch, tokens, width = x.shape
        query, key, value = self.qkv(x).chunk(3, dim=-1)
        query, key, value = (part.view(batch, tokens, self.heads, -1).transpose(1, 2) for part in (query, key, value))
        weights = torch.softmax(torch.einsum("bhqd,bhkd->bhqk", query, key) * self.scale, dim=-1)
        return self.proj(torch.einsum("bhqk,bhkd->bqhd", weights, value).reshape(batch, tokens, width))


class _Mlp(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x):
        return self.fc2(nn.functional.gelu(self.fc1(x)))


class _Block(nn.Module):
    def __init__(self, width, heads, ratio, bias, scale):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn, self.mlp = _Attention(width, heads, bias, scale), _Mlp(width, int(width * ratio))

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class _Base(nn.Module):
    def __init__(self, image_size, stride, width, depth, heads, ratio, bias, scale, places, coefficient):
        super().__init__()
        grid = [(pixels - 16) // stride + 1 for pixels in image_size]
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, 16, stride)})
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, grid[0] * grid[1] + 1, width))
        self.sie_embed = nn.Parameter(torch.zeros(places, 1, width)) if places else None
        self.coefficient = coefficient
        self.blocks = nn.ModuleList(_Block(width, heads, ratio, bias, scale) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.fc = nn.Linear(width, 10)  # ImageNet's classifier, unused but stored

    def tokens(self, image, place):
        x = self.patch_embed["proj"](image).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1) + self.pos_embed
        return x if self.sie_embed is None else x + self.coefficient * self.sie_embed[place]


class TransReIDLayout(nn.Module):
    """The network; ``forward`` gives what DCAL's self-attention branch should give for the converted weights.

    Args:
        cameras: Number of cameras in the side information, 0 for none.
        views: Number of views in it, 0 for none.
        jpm: Add the branches and heads of the jigsaw patch module.
    """

    def __init__(
        self, num_classes, *, image_size=(64, 48), stride=16, width=32, depth=3, heads=2, ratio=4, bias=True,
        scale=None, cameras=0, views=0, coefficient=3.0, jpm=False,
    ):  # fmt: skip
        super().__init__()
        places = max(cameras, 1) * max(views, 1) if cameras or views else 0
        self.base = _Base(image_size, stride, width, depth, heads, ratio, bias, scale, places, coefficient)
        self.views, self.jpm = views, jpm
        for number in ["", "_1", "_2", "_3", "_4"] if jpm else [""]:
            setattr(self, f"classifier{number}", nn.Linear(width, num_classes, bias=False))
            setattr(self, f"bottleneck{number}", nn.BatchNorm1d(width))
        if jpm:
            for name in ("b1", "b2"):
                block = _Block(width, heads, ratio, bias, scale)
                setattr(self, name, nn.Sequential(block, nn.LayerNorm(width, eps=1e-6)))

    def forward(self, image, place=None):
        """Tokens after each block, the global feature, the same after the neck, and the logits."""
        x, after = self.base.tokens(image, place), []
        blocks = [*self.base.blocks[:-1], self.b1[0] if self.jpm else self.base.blocks[-1]]
        for block in blocks:
            x = block(x)
            after.append(x)
        feature = (self.b1[1] if self.jpm else self.base.norm)(x)[:, 0]
        neck = self.bottleneck(feature)
        return after, feature, neck, self.classifier(neck)


def trained(num_classes=5, seed=3, **settings):
    """A seeded network in float64, evaluated, whose tensors are all away from their initial values."""
    torch.manual_seed(seed)
    network = TransReIDLayout(num_classes, **settings).double().eval()
    for value in network.parameters():
        value.data += 0.2 * torch.randn_like(value)
    for value in network.buffers():
        if value.is_floating_point():
            value += 0.5 * torch.rand_like(value)
    return network
