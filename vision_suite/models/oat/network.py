"""OAT: a scanpath over the objects of a scene, by an encoder of objects, a decoder of fixations, and a pointer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vision_suite.errors import ConfigError
from vision_suite.models.oat.appearance import build_appearance
from vision_suite.models.oat.paths import IGNORED, read_paths
from vision_suite.models.oat.pointer import PointerHead
from vision_suite.models.oat.positions import Position, build_position, sinusoid, sinusoid_frequency
from vision_suite.models.oat.relative import MEMORY, Places, RelativeBias
from vision_suite.models.oat.scene import SceneEmbedding, TargetToken
from vision_suite.models.oat.transformer import DecoderLayer, EncoderLayer, KeysValues, Past
from vision_suite.types import ScanpathBatch


@dataclass(frozen=True)
class EncodedScenes:
    """Everything that all steps and all samples of a scene share.

    Attributes:
        memory: (B, S, E) encoder output; rows as the columns of the logits.
        keys: (B, S, heads * E) keys of the pointer.
        cross: The scene's keys and values for each decoder layer.
        fixated: (B, S, E) decoder input behind a fixation on each row.
        start: (B, E) first decoder input.
        usable: (B, S) bool, False for objects that do not exist.
        places: Positions of the rows, for `OAT.relative`.
    """

    memory: Tensor
    keys: Tensor
    cross: list[KeysValues]
    fixated: Tensor
    start: Tensor
    usable: Tensor
    places: Places | None

    def select(self, scenes: Tensor) -> EncodedScenes:
        """Some scenes, (B',) int64."""
        cross = [(key[scenes], value[scenes]) for key, value in self.cross]
        tensors = (self.memory, self.keys, self.fixated, self.start, self.usable)
        memory, keys, fixated, start, usable = (tensor[scenes] for tensor in tensors)
        places = None if self.places is None else self.places.select(scenes)
        return EncodedScenes(memory, keys, cross, fixated, start, usable, places)


class OATOutput(NamedTuple):
    """Output that training reads; T = L + 1 steps, one for each fixation and one for the end.

    Attributes:
        logits: (B, T, C + 1) over objects, background where there is one, end, and the padding class.
        labels: (B, T) int64 columns, `IGNORED` (-100) where nothing is to be predicted.
        timing: (B, T, 2) mean and log standard deviation of the logarithm of each fixation's duration, or None.
        duration: (B, T) seconds, NaN where unknown or not to be predicted, or None.
    """

    logits: Tensor
    labels: Tensor
    timing: Tensor | None
    duration: Tensor | None


class PathLogProb(NamedTuple):
    """Log-probabilities of recorded paths, in nats, the padding class left out and no end at the first step.

    Attributes:
        steps: (B, T) log-probability of each label, 0 where there is none.
        scored: (B, T) bool, True where there is a label.
        total: (B,) sums.
    """

    steps: Tensor
    scored: Tensor
    total: Tensor


class OAT(nn.Module):
    """Object-level attention transformer (Fang et al., ECCV 2024, arXiv 2407.13335).

    The defaults are the reference configuration: 18,255,843 parameters. Objects and a copy of the target go through an
    encoder without order; a decoder reads the fixations so far; the pointer's attention over the encoder's rows is the
    distribution of the next fixation. Pointing at the target's copy ends the path. Layers are post-norm with ReLU,
    without a last LayerNorm; every parameter of two or more dimensions starts by Xavier's uniform rule.

    Args:
        embed_dim: Width E of tokens, half appearance and half position.
        num_heads: Heads of encoder and decoder.
        ff_dim: Width of the feed-forward layers.
        encoder_layers: Number of encoder layers.
        decoder_layers: Number of decoder layers.
        dropout: Rate.
        pointer_heads: Full-width heads of the object attention.
        relative: Hidden width of what objects gain by their displacement from the last fixations; 0 is OAT.
        appearance: ``cnn``, ``table`` for given features, ``timm:<model>`` or ``clip:<model>/<weights>``.
        feature_dim: Width of given features, for ``table``; comes from the data on the command line.
        crop_size: Height and width of crops in pixels, for ``cnn``.
        pretrained: Load the weights of frozen encoders.
        position: Position code: ``additive_gaussian``, ``cholesky``, ``gauss_hermite``, ``sinusoid2d`` or
            ``learned_fourier``.
        max_positions: Rows of the position table (Amazon covers: 14, shelves: 11).
        sigma: Width of the position code's Gaussian in object pitches.
        flag_step: Position of flag 1, the target, on its axis; 1 is the authors' weak mark (similarity 0.88).
        background: Allow fixations on no object.
        duration: Predict fixation durations, log-normal.
        conditions: Allow target-absent and free-viewing trials.
        target_token: ``object`` copies the target object into the last row; ``given`` takes target features or a crop.
    """

    def __init__(
        self,
        *,
        embed_dim: int = 512,
        num_heads: int = 4,
        ff_dim: int = 512,
        encoder_layers: int = 4,
        decoder_layers: int = 4,
        dropout: float = 0.1,
        pointer_heads: int = 2,
        relative: int = 0,
        appearance: str = "cnn",
        feature_dim: int | None = None,
        crop_size: tuple[int, int] = (150, 93),
        pretrained: bool = True,
        position: Position = "additive_gaussian",
        max_positions: int = 14,
        sigma: float = 2.0,
        flag_step: int = 1,
        background: bool = False,
        duration: bool = False,
        conditions: bool = False,
        target_token: TargetToken = "object",
    ) -> None:
        super().__init__()
        if not embed_dim >= 4 or embed_dim % 2:
            raise ConfigError(f"embed_dim={embed_dim} must be even, one half each for appearance and position")
        least = {"num_heads": 1, "ff_dim": 1, "decoder_layers": 1, "encoder_layers": 0, "relative": 0}
        given = dict(zip(least, (num_heads, ff_dim, decoder_layers, encoder_layers, relative), strict=True))
        for name, value in given.items():
            if not value >= least[name] or value % 1:
                raise ConfigError(f"{name}={value} must be a whole number, {least[name]} or more")
        if not 0 <= dropout < 1:
            raise ConfigError(f"dropout={dropout} must be from 0 to below 1")
        half = embed_dim // 2
        self.embed_dim, self.has_background = embed_dim, background
        code = build_position(position, half, count=max_positions, sigma=sigma, flag_step=flag_step)
        look = build_appearance(appearance, half, feature_dim=feature_dim, crop_size=crop_size, pretrained=pretrained)
        self.embedding = SceneEmbedding(
            look, code, width=half, embed_dim=embed_dim, background=background, conditions=conditions,
            target_token=target_token,
        )  # fmt: skip
        settings = (embed_dim, num_heads, ff_dim, dropout)
        self.encoder = nn.ModuleList(EncoderLayer(*settings) for _ in range(encoder_layers))
        self.decoder = nn.ModuleList(DecoderLayer(*settings) for _ in range(decoder_layers))
        self.pointer = PointerHead(embed_dim, pointer_heads)
        self.relative = RelativeBias(relative) if relative else None
        self.timing = (
            nn.Sequential(nn.Linear(2 * embed_dim, embed_dim), nn.ReLU(), nn.Linear(embed_dim, 2)) if duration else None
        )
        self.drop = nn.Dropout(dropout)
        self.register_buffer("step_frequency", sinusoid_frequency(embed_dim), persistent=False)
        for name, parameter in self.named_parameters():
            # Trained encoders keep their weights, and Fourier frequencies their scale in pitches.
            if parameter.ndim > 1 and parameter.requires_grad and not name.startswith("embedding.position."):
                nn.init.xavier_uniform_(parameter)
        if self.relative is not None:
            for parameter in self.relative.net[-1].parameters():
                nn.init.zeros_(parameter)

    def forward(self, batch: ScanpathBatch) -> OATOutput:
        """Logits and labels of recorded paths, each step knowing the true fixations before it.

        Raises:
            DataError: The batch lacks something or names what does not exist.
        """
        scenes = self.encode(batch)
        paths = read_paths(batch, self.has_background)
        states = self.decode(scenes, paths.columns)
        behind = nn.functional.pad(paths.columns, (MEMORY, 0), value=scenes.usable.shape[1])
        logits = self.pointer.with_padding(self.score(states, scenes, behind.unfold(1, MEMORY, 1).flip(-1)))
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if self.timing is None:
            return OATOutput(logits, paths.labels, None, None)
        timing = self.predict_timing(states[:, :-1], scenes, paths.columns)
        known = batch["duration"] if "duration" in batch else torch.full_like(timing[..., 0], torch.nan)
        fixations = paths.labels[:, :-1]
        counted = (fixations != IGNORED) & (
            torch.arange(fixations.shape[1], device=known.device) < paths.length[:, None]
        )
        duration = torch.where(counted, known, torch.nan)
        return OATOutput(
            logits,
            paths.labels,
            nn.functional.pad(timing, (0, 0, 0, 1)),
            nn.functional.pad(duration, (0, 1), value=torch.nan),
        )

    def log_prob(self, batch: ScanpathBatch) -> PathLogProb:
        """Log-probability of each recorded fixation and of the end, ``log p(o_t | o_<t)`` in nats.

        Unlike in training the padding class is left out, and the first step cannot be the end.
        """
        out = self(batch)
        logits = out.logits[..., :-1].clone()
        logits[:, 0, -1] = -torch.inf
        log_prob = logits.log_softmax(dim=-1)
        scored = out.labels != IGNORED
        steps = log_prob.gather(2, out.labels.clamp(min=0)[..., None])[..., 0]
        steps = torch.where(scored, steps, 0.0)
        return PathLogProb(steps, scored, steps.sum(dim=1))

    def encode(self, batch: ScanpathBatch) -> EncodedScenes:
        """The encoder's pass, and everything that does not change from step to step."""
        tokens = self.embedding(batch)
        seen, memory = tokens.usable[:, None, None], tokens.rows
        for layer in self.encoder:
            memory = layer(memory, seen)
        cross = [layer.prepare(memory) for layer in self.decoder if isinstance(layer, DecoderLayer)]
        keys = self.pointer.keys(memory)
        places = None if self.relative is None else Places.of(batch, tokens)
        return EncodedScenes(memory, keys, cross, tokens.fixated, tokens.start, tokens.usable, places)

    def decode(self, scenes: EncodedScenes, columns: Tensor) -> Tensor:
        """Decoder states of known paths.

        Args:
            scenes: B encoded scenes.
            columns: (B, L) int64 fixated rows, anything valid where padded.

        Returns:
            (B, L + 1, E): the state that predicts each fixation and the one behind the last.
        """
        fixated = scenes.fixated.gather(1, columns[..., None].expand(-1, -1, self.embed_dim))
        x = self.at_step(torch.cat([scenes.start[:, None], fixated], dim=1), 0)
        seen = scenes.usable[:, None, None]
        for layer, cross in zip(self.decoder, scenes.cross, strict=True):
            x = layer(x, cross, seen)
        return x

    def step(self, scenes: EncodedScenes, inputs: Tensor, past: list[Past]) -> Tensor:
        """The next decoder state of K paths in each of B scenes.

        Args:
            scenes: B encoded scenes.
            inputs: (B, K, E) ``start`` or the ``fixated`` row of each path's last fixation.
            past: Earlier steps by layer; this step is added.

        Returns:
            (B, K, E).
        """
        x = self.at_step(inputs[:, :, None], past[0].length)[:, :, 0]
        seen = scenes.usable[:, None, None]
        for layer, cross, before in zip(self.decoder, scenes.cross, past, strict=True):
            assert isinstance(layer, DecoderLayer)
            x = layer.step(x, cross, seen, before)
        return x

    def score(self, states: Tensor, scenes: EncodedScenes, recent: Tensor) -> Tensor:
        """Logits of every row, without the padding class.

        Args:
            states: (B, T, E) decoder states.
            scenes: B encoded scenes.
            recent: (B, T, MEMORY) int64 rows of the fixations before each decision, the newest first, S for none.

        Returns:
            (B, T, S).
        """
        logits: Tensor = self.pointer(states, scenes.keys, scenes.usable)
        if self.relative is None or scenes.places is None:
            return logits
        out: Tensor = logits + self.relative(scenes.places, recent)
        return out

    def at_step(self, inputs: Tensor, first: int) -> Tensor:
        """Add the sinusoidal code of the step to inputs (..., T, E) that begin at step ``first`` (0-based)."""
        steps = torch.arange(first + 1, first + 1 + inputs.shape[-2], device=inputs.device)
        code = sinusoid(steps, self.get_buffer("step_frequency"))[..., : self.embed_dim]
        out: Tensor = self.drop(inputs + code.to(inputs.dtype))
        return out

    def predict_timing(self, states: Tensor, scenes: EncodedScenes, columns: Tensor) -> Tensor:
        """Mean and log standard deviation of log seconds: states (B, T, E) and fixated rows (B, T) to (B, T, 2)."""
        assert self.timing is not None
        rows = scenes.memory.gather(1, columns[..., None].expand(-1, -1, self.embed_dim))
        out: Tensor = self.timing(torch.cat([states, rows], dim=-1)).float()
        return out
