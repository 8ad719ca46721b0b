"""Codes of where an object stands: the Gaussian table of OAT, its continuous form, and the usual alternatives.

OAT: Fang et al., ECCV 2024. A code is the concatenation of three equal parts, for row, column and a flag that marks the
target, cut to the wanted width; so similarity adds over the axes. Rows and columns come in object pitches.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from vision_suite.errors import ConfigError, DataError

Position = Literal["additive_gaussian", "cholesky", "gauss_hermite", "sinusoid2d", "learned_fourier"]
NORM = 8.764  # norm of every row of the authors' published table
AXES = 3  # row, column, flag


class PositionCode(nn.Module):
    """Base of the codes: positions to vectors.

    Attributes:
        reach: Largest extent of a scene, in pitches, whose distances the code tells apart; scenes beyond are shrunk.
    """

    reach: float = math.inf

    def forward(self, position: Tensor, flag: Tensor, size: Tensor) -> Tensor:
        """Codes of any number of objects.

        Args:
            position: (..., 2) row and column in pitches.
            flag: (...,) 1.0 for the target, else 0.0.
            size: (..., 2) logarithm of height and width over the scene's median; codes without size ignore it.

        Returns:
            (..., width).
        """
        raise NotImplementedError


class TableCode(PositionCode):
    """A frozen table whose cosine similarity is a Gaussian of the distance between its rows.

    ``cos(W_i, W_j) = exp(-(i - j)^2 / (2 sigma^2))``. The authors fit W by Adam from normal numbers to within 1e-3; it
    is here a Cholesky factor, exact. ``spread`` turns it by an orthonormal cosine basis, so that
    every column is used like in a fitted table.

    Args:
        width: Width of the code.
        count: Number P of rows of the table; positions are whole numbers 0..P-1.
        sigma: Width of the Gaussian in pitches (authors: 2).
        flag_step: Row of the table that stands for flag 1 (authors: 1, similar to flag 0 by 0.88).
        spread: Use all columns.
    """

    table: Tensor

    def __init__(self, width: int, count: int, sigma: float, flag_step: int, spread: bool) -> None:
        super().__init__()
        part = math.ceil(width / AXES)
        if not 1 <= count <= part or not 1 <= flag_step < count:
            raise ConfigError(
                f"max_positions={count} and flag_step={flag_step}: a position code of width {width} has 1 to {part} "
                "positions on an axis, and flag_step is one of them above 0; use position=gauss_hermite for more"
            )
        self.width, self.flag_step = width, flag_step
        self.register_buffer("table", torch.from_numpy(gaussian_table(count, part, sigma, spread)).float())

    def forward(self, position: Tensor, flag: Tensor, size: Tensor) -> Tensor:
        """See the base class.

        Raises:
            DataError: A position is no row of the table.
        """
        index = position.round().long()
        if bool((position != index).any() | (index < 0).any() | (index >= len(self.table)).any()):
            raise DataError(
                f"positions must be whole numbers from 0 to {len(self.table) - 1} for a table: raise max_positions for "
                "larger grids, or use position=gauss_hermite where objects are not on a grid"
            )
        mark = flag.round().long() * self.flag_step
        parts = [self.table[index[..., 0]], self.table[index[..., 1]], self.table[mark]]
        return torch.cat(parts, dim=-1)[..., : self.width]


class GaussHermiteCode(PositionCode):
    """Exact Gaussian similarity for any real position, with box height and width as two further axes.

    ``phi(x) = [sqrt(w_k) cos(z_k x / sigma), sqrt(w_k) sin(z_k x / sigma)]`` over the probabilists' Gauss-Hermite rule,
    halved by symmetry; ``phi(x) . phi(y)`` is the Gaussian of x - y up to a distance that grows with the node count.
    Row and column get as many nodes as fit, sizes and flag a twelfth of the width each.

    Args:
        width: Width of the code.
        sigma: Width of the Gaussian in pitches; for sizes in units of the logarithm.
        flag_step: Place of flag 1 on its axis.
    """

    def __init__(self, width: int, sigma: float, flag_step: int) -> None:
        super().__init__()
        small = max(width // 12, 2)
        large = (width - 3 * small) // 2
        if large < 4:
            raise ConfigError(f"position=gauss_hermite needs a position code of width 14 or more, not {width}")
        self.width, self.flag_step, self.sigma = width, flag_step, sigma
        self.reach = hermite_reach(large, sigma)
        for name, count in (("large", large), ("small", small)):
            node, weight = hermite_rule(count)
            self.register_buffer(f"{name}_node", torch.from_numpy(node), persistent=False)
            self.register_buffer(f"{name}_weight", torch.from_numpy(weight), persistent=False)

    def forward(self, position: Tensor, flag: Tensor, size: Tensor) -> Tensor:
        """See the base class."""
        axes = [
            (position[..., 0], "large"), (position[..., 1], "large"),
            (flag * self.flag_step, "small"), (size[..., 0], "small"), (size[..., 1], "small"),
        ]  # fmt: skip
        parts = []
        for value, name in axes:
            node, weight = self.get_buffer(f"{name}_node"), self.get_buffer(f"{name}_weight")
            parts.append(hermite_features(value.to(node.dtype), node, weight, self.sigma))
        code = torch.cat(parts, dim=-1) * NORM
        return nn.functional.pad(code, (0, self.width - code.shape[-1])).to(position.dtype)


class SinusoidCode(PositionCode):
    """Sinusoids of base 10000 for row, column and flag: the ablation baseline (``original`` in the authors' code).

    Args:
        width: Width of the code.
        flag_step: Place of flag 1 on its axis.
    """

    frequency: Tensor

    def __init__(self, width: int, flag_step: int) -> None:
        super().__init__()
        self.width, self.flag_step = width, flag_step
        self.part = math.ceil(width / AXES)
        self.register_buffer("frequency", sinusoid_frequency(self.part), persistent=False)

    def forward(self, position: Tensor, flag: Tensor, size: Tensor) -> Tensor:
        """See the base class."""
        values = torch.cat([position, flag[..., None] * self.flag_step], dim=-1)
        code = sinusoid(values, self.frequency)[..., : self.part]
        return code.flatten(-2)[..., : self.width].to(position.dtype)


class LearnedFourierCode(PositionCode):
    """Learned Fourier features (Li et al., NeurIPS 2021) of row, column, flag and box size, behind a small MLP.

    Args:
        width: Width of the code, even.
        sigma: Width in pitches of the Gaussian that similarity starts from.
        flag_step: Place of flag 1 on its axis.
    """

    def __init__(self, width: int, sigma: float, flag_step: int) -> None:
        super().__init__()
        if width % 2:
            raise ConfigError(f"position=learned_fourier needs a position code of even width, not {width}")
        self.flag_step = flag_step
        self.frequency = nn.Parameter(torch.randn(AXES + 2, width // 2) / sigma)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        for parameter in self.mlp.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, position: Tensor, flag: Tensor, size: Tensor) -> Tensor:
        """See the base class."""
        angle = torch.cat([position, flag[..., None] * self.flag_step, size], dim=-1) @ self.frequency
        code: Tensor = self.mlp(torch.cat([angle.cos(), angle.sin()], dim=-1))
        return code


def build_position(
    kind: Position, width: int, *, count: int = 14, sigma: float = 2.0, flag_step: int = 1
) -> PositionCode:
    """A position code by name.

    Args:
        kind: Which.
        width: Width of the code.
        count: Rows of the table, for the two tables.
        sigma: Width of the Gaussian, in pitches.
        flag_step: Place of flag 1 on its axis.

    Raises:
        ConfigError: The name is not known, or the code cannot be built.
    """
    if not 0 < sigma < math.inf:
        raise ConfigError(f"sigma={sigma} must be a finite number above 0")
    if not (flag_step >= 1 and flag_step % 1 == 0):
        raise ConfigError(
            f"flag_step={flag_step} must be a whole number, 1 or more: at 0 nothing would mark the target"
        )
    if kind in ("additive_gaussian", "cholesky"):
        return TableCode(width, count, sigma, flag_step, spread=kind == "additive_gaussian")
    if kind == "gauss_hermite":
        return GaussHermiteCode(width, sigma, flag_step)
    if kind == "sinusoid2d":
        return SinusoidCode(width, flag_step)
    if kind == "learned_fourier":
        return LearnedFourierCode(width, sigma, flag_step)
    names = "additive_gaussian, cholesky, gauss_hermite, sinusoid2d, learned_fourier"
    raise ConfigError(f"position={kind!r} is not known: choose one of {names}")


def gaussian_table(count: int, width: int, sigma: float, spread: bool) -> np.ndarray:
    """(count, width) float64 rows of equal norm whose cosines are Gaussian; ``width`` is at least ``count``.

    Raises:
        ConfigError: The Gaussian is so wide that the rows cannot be told apart in float64.
    """
    place = np.arange(count)
    try:
        factor = np.linalg.cholesky(np.exp(-((place[:, None] - place) ** 2) / (2 * sigma**2)))
    except np.linalg.LinAlgError:
        raise ConfigError(
            f"sigma={sigma:g} is too wide for a table of {count} positions, whose codes would be equal: use a smaller "
            "one (authors: 2), or position=gauss_hermite"
        ) from None
    table = np.zeros((count, width))
    table[:, :count] = factor
    if spread:
        half = np.arange(width) + 0.5
        # The cosine transform of type IV is orthonormal, and its first rows nearly vanish in the columns that are cut.
        table = table @ (np.sqrt(2 / width) * np.cos(np.pi * half[:, None] * half / width))
    return NORM * table


def hermite_rule(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes at or above 0 of the rule of ``count`` nodes, and weights, their mirror images added, of sum 1."""
    node, weight = np.polynomial.hermite_e.hermegauss(count)
    weight = weight / weight.sum()
    kept = node > -1e-12
    node, weight = node[kept].clip(min=0), weight[kept]
    return node, np.where(node > 1e-12, 2 * weight, weight)


def hermite_features(value: Tensor, node: Tensor, weight: Tensor, sigma: float) -> Tensor:
    """(...,) to (..., count) features of unit norm; a node at 0 has no sine."""
    angle = value[..., None] * node / sigma
    sine = angle.sin()[..., node > 1e-12]
    root = weight.sqrt()
    return torch.cat([angle.cos() * root, sine * root[node > 1e-12]], dim=-1)


def hermite_reach(count: int, sigma: float, tolerance: float = 1e-2) -> float:
    """Distance up to which the product of two features is the Gaussian within ``tolerance``."""
    node, weight = hermite_rule(count)
    distance = np.arange(0, 4 * np.sqrt(count), 0.05)
    error = np.abs(np.cos(np.outer(distance, node)) @ weight - np.exp(-(distance**2) / 2))
    return float(sigma * distance[max(int(np.argmax(error > tolerance)) - 1, 1)])


def sinusoid_frequency(width: int) -> Tensor:
    """(ceil(width / 2),) float64: 10000 ** (-2k / width)."""
    return 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)


def sinusoid(value: Tensor, frequency: Tensor) -> Tensor:
    """(...,) to (..., 2 K): sine and cosine of each frequency in turn."""
    angle = value[..., None].to(frequency.dtype) * frequency
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2)
