"""Tiny random models that read pictures, in float64, shared by the tests of language models."""

import torch
from torch import nn

from vision_suite.models.mllm import Mllm, Projector, ProjectorConfig, Tower

VOCABULARY, IMAGE, PAD, END = 61, 5, 0, 2
TOKENS, WIDTH = 4, 24


class Patches(nn.Module):
    """One convolution to a map of 2 x 2, which counts its calls."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 8, 8)
        self.calls = 0

    def forward(self, image):
        self.calls += 1
        return self.conv(image)


def decoder(kind="llama", attention="vision_suite", seed=0, **settings):
    """A random causal model of transformers with large weights, so that every token matters."""
    import transformers

    from vision_suite.layers.drop_in import register_with_transformers

    register_with_transformers()
    torch.manual_seed(seed)
    name = {"llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3", "mistral": "Mistral"}[kind]
    shape = {
        "vocab_size": VOCABULARY, "hidden_size": WIDTH, "intermediate_size": 32, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128, "initializer_range": 0.4,
        "bos_token_id": 1, "eos_token_id": END, "pad_token_id": PAD, "tie_word_embeddings": True,
    }  # fmt: skip
    if kind == "mistral":
        shape["sliding_window"] = None
    config = getattr(transformers, f"{name}Config")(**{**shape, **settings}, attn_implementation=attention)
    return getattr(transformers, f"{name}ForCausalLM")(config).double().eval()


def tower():
    torch.manual_seed(1)
    return Tower(Patches(), (16, 16), (0.5,) * 3, (0.5,) * 3).double()


def mllm(kind="llama", attention="vision_suite", with_tower=True, **settings):
    model, part = decoder(kind, attention, **settings), tower()
    torch.manual_seed(2)
    projector = Projector(ProjectorConfig(), part.width, WIDTH, tokens=part.tokens).double()
    return Mllm(model, part if with_tower else None, projector, IMAGE).double().eval()


def pictures(number, seed=3):
    return torch.randn(number, 3, 16, 16, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def row(*parts):
    """Ids of a row: a number is an id, ``"p"`` the placeholders of a picture."""
    return [each for part in parts for each in ([IMAGE] * TOKENS if part == "p" else [part])]


def batch_of(rows, image=None, side="right"):
    """Padded batch of rows of ids."""
    length = max(map(len, rows))
    ids = torch.full((len(rows), length), PAD)
    kept = torch.zeros_like(ids, dtype=torch.bool)
    for number, each in enumerate(rows):
        place = slice(0, len(each)) if side == "right" else slice(length - len(each), length)
        ids[number, place], kept[number, place] = torch.tensor(each), True
    batch = {"input_ids": ids, "attention_mask": kept, "position_ids": (kept.long().cumsum(1) - 1).clamp(min=0)}
    return batch if image is None else {**batch, "image": image}


def packed(rows, image=None, padding=0):
    """All rows in one, with positions that start again, and padding at the end."""
    ids = [each for one in rows for each in one] + [PAD] * padding
    positions = [place for one in rows for place in range(len(one))] + [0] * padding
    segments = [number for number, one in enumerate(rows) for _ in one] + [-1] * padding
    batch = {"input_ids": torch.tensor([ids]), "position_ids": torch.tensor([positions]),
             "segments": torch.tensor([segments])}  # fmt: skip
    return batch if image is None else {**batch, "image": image}
