"""A small OAT and random scenes for it."""

import torch

from vision_suite.models.oat import OAT
from vision_suite.types import PADDING, Condition


def tiny(seed=0, **settings):
    """A network of width 32 over given features of width 6, without dropout."""
    torch.manual_seed(seed)
    chosen = {
        "embed_dim": 32, "num_heads": 4, "ff_dim": 48, "encoder_layers": 2, "decoder_layers": 2, "dropout": 0.0,
        "appearance": "table", "feature_dim": 6, "max_positions": 5,
    }  # fmt: skip
    return OAT(**{**chosen, **settings}).eval()


def sharpen(model, factor=3.0):
    """Make distributions less uniform than a fresh network's, so that tests see differences."""
    with torch.no_grad():
        for layer in [*model.pointer.row, *model.pointer.state]:
            layer.weight.mul_(factor)
        if model.relative is not None:  # it starts at 0
            torch.nn.init.normal_(model.relative.net[-1].weight)
    return model


def scenes(counts=(12, 7, 9), seed=0, length=6, columns=4, feature_dim=6):
    """Scenes of some numbers of objects on a grid, with paths of different lengths; padding holds rubbish."""
    rng = torch.Generator().manual_seed(seed)
    batch, most = len(counts), max(counts)
    number = torch.arange(most)
    present = number < torch.tensor(counts)[:, None]
    position = torch.stack([number // columns, number % columns], dim=-1).float().expand(batch, -1, -1).clone()
    left_top = position.flip(-1) * torch.tensor([100.0, 80.0])
    boxes = torch.cat([left_top + 10, left_top + torch.tensor([90.0, 70.0])], dim=-1)
    features = torch.randn(batch, most, feature_dim, generator=rng)
    features[~present], position[~present], boxes[~present] = 1e3, 99.0, 0.0
    sequence = torch.full((batch, length), PADDING)
    for row, count in enumerate(counts):
        own = int(torch.randint(2, length + 1, (1,), generator=rng))
        sequence[row, :own] = torch.randint(0, count, (own,), generator=rng)
    target = torch.stack([torch.randint(0, count, (), generator=rng) for count in counts])
    return {
        "features": features,
        "boxes": boxes,
        "present": present,
        "position": position,
        "start": torch.tensor([[1.0, 2.0]]).repeat(batch, 1),
        "image_size": torch.tensor([[400.0, 240.0]]).repeat(batch, 1),
        "target": target,
        "targets": number == target[:, None],
        "condition": torch.full((batch,), int(Condition.PRESENT)),
        "sequence": sequence,
        "duration": torch.where(sequence == PADDING, torch.nan, 0.25),
        "given": torch.zeros(batch, dtype=torch.int64),
        "terminated": torch.ones(batch, dtype=torch.bool),
    }


def row(batch, number, count=None):
    """One scene alone, cut to its own objects."""
    objects = ("features", "boxes", "present", "position", "targets", "crops")
    return {k: v[number : number + 1, :count] if k in objects else v[number : number + 1] for k, v in batch.items()}
