"""A BMN with the names and the arithmetic of OpenTAD's, written from the facts of its public code; dense and slow."""

import math

import torch
from torch import nn

BINS, POINTS = 32, 3


def convolution(channels, out, kernel, groups=1, act=True):
    parts = {"conv": nn.Conv1d(channels, out, kernel, padding=kernel // 2, groups=groups)}
    return nn.ModuleDict({**parts, **({"act": nn.ReLU()} if act else {})})


def through(parts, x):
    return parts["act"](parts["conv"](x)) if "act" in parts else parts["conv"](x)


def mask(length):
    """(T, bins, D, T) weights of the samples of every proposal that starts at s and lasts d + 1 cells."""
    found = torch.zeros(length, BINS, length, length)
    for start in range(length):
        for duration in range(length - start):
            size = duration + 1
            low, high = start - size / 2, start + duration + size / 2
            step = (high - low) / (BINS * POINTS - 1)
            for number in range(BINS * POINTS):
                at = low + step * number
                part, down = math.modf(at)
                for cell, weight in ((int(down), 1 - part), (math.ceil(at), part)):
                    if 0 <= cell < length:
                        found[cell, number // POINTS, duration, start] += weight / POINTS
    return found


class OpenTADLayout(nn.Module):
    """Its forward gives logits of beginnings and ends (B, 2, T), and of proposals (B, 2, D, T), classified first."""

    def __init__(self, channels, length, hidden=128):
        super().__init__()
        self.projection = nn.ModuleDict(
            {"convs": nn.ModuleList([convolution(channels, 256, 3, 4), convolution(256, 256, 3, 4)])}
        )
        sides = [nn.ModuleList([convolution(256, 256, 3, 4), convolution(256, 1, 1, act=False)]) for _ in range(2)]
        self.rpn_head = nn.ModuleDict({"tem": nn.ModuleList(sides)})
        extractor = {
            "reduce_dim": nn.Sequential(nn.Conv1d(256, hidden, 3, padding=1), nn.ReLU()),
            "conv3d": nn.Sequential(nn.Conv2d(hidden, 512, (BINS, 1), (BINS, 1)), nn.ReLU()),
            "conv2d": nn.Sequential(nn.Conv2d(512, 128, 1), nn.ReLU()),
        }
        layers = [nn.Sequential(nn.Conv2d(128, 128, 3, padding=1), nn.ReLU()) for _ in range(2)]
        head = nn.ModuleDict({"head": nn.Sequential(*layers, nn.Conv2d(128, 2, 1))})
        self.roi_head = nn.ModuleDict({"proposal_roi_extractor": nn.ModuleDict(extractor), "proposal_head": head})
        self.mask = mask(length)

    def forward(self, features):
        x = features
        for parts in self.projection["convs"]:
            x = through(parts, x)
        sides = [through(last, through(first, x)) for first, last in self.rpn_head["tem"]]
        parts = self.roi_head["proposal_roi_extractor"]
        samples = torch.einsum("bct,tnds->bcnds", parts["reduce_dim"](x), self.mask)
        batch, channels, bins, durations, starts = samples.shape
        reduced = parts["conv3d"](samples.reshape(batch, channels, bins, -1))
        maps = parts["conv2d"](reduced.reshape(batch, -1, durations, starts))
        return torch.cat(sides, 1), self.roi_head["proposal_head"]["head"](maps)
