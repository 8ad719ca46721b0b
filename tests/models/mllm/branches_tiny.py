"""Beginnings with pictures and continuations of them, as ids, for tests of networks."""

import torch
from mllm_tiny import IMAGE, TOKENS, VOCABULARY, batch_of, pictures, row

PREFIXES = ([1, "p", 7, 8], [1, 9, "p", 10, "p", 11, 12], [1, 3, 4])


def branched(lengths=((5, 3, 4), (1, 5, 2), (4, 2, 0)), seed=0):
    """Three rows of one, two and no pictures, each with continuations of these lengths."""
    batch = batch_of([row(*each) for each in PREFIXES], pictures(3))
    is_image = batch["input_ids"] == IMAGE
    number = (is_image.flatten().cumsum(0) - 1) // TOKENS
    batch["image_of_token"] = torch.where(is_image, number.view_as(is_image), -1)
    lengths = torch.tensor(lengths)
    draw = torch.Generator().manual_seed(seed)
    batch["branch_mask"] = torch.arange(int(lengths.max())) < lengths[..., None]
    ids = torch.randint(6, VOCABULARY, batch["branch_mask"].shape, generator=draw)
    return {**batch, "branch_ids": torch.where(batch["branch_mask"], ids, 0)}


def one_by_one(model, batch):
    """Log-probability of each continuation, every row alone and by its own logits, without padding."""
    found = []
    weights = batch.get("branch_weights", torch.ones(batch["branch_ids"].shape, dtype=torch.float64))
    for number, (ids, kept) in enumerate(zip(batch["input_ids"], batch["attention_mask"], strict=True)):
        owned = batch["image_of_token"][number]
        image = batch["image"][torch.unique(owned[owned >= 0])]
        for more, counted, weight in zip(
            batch["branch_ids"][number], batch["branch_mask"][number], weights[number], strict=True
        ):
            answer, prefix = more[counted], ids[kept]
            logits = model({"input_ids": torch.cat([prefix, answer])[None], "image": image})[0]
            logps = logits[len(prefix) - 1 : len(logits) - 1].log_softmax(-1).gather(1, answer[:, None])[:, 0]
            found.append((logps * weight[counted]).sum())
    return torch.stack(found).view(batch["branch_ids"].shape[:2])
