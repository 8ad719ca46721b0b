"""Settings of WINGS as a record (Zhang et al., NeurIPS 2024); each point where paper and code differ is a switch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from vision_suite.errors import ConfigError, check_choice, check_literals, check_number

Query = Literal["post_attn", "attn_input"]
Routing = Literal["position", "mass"]
Activation = Literal["silu", "none"]
Blend = Literal["masked", "plain", "reference"]
VisualMask = Literal["causal", "full"]
Statistics = Literal["operator", "exact", "eager"]


@dataclass(frozen=True)
class WingsConfig:
    """Low-rank learners beside the attention of a decoder, and the router that weighs them.

    Attributes:
        rank: Rank r of each learner's four matrices (released scripts: 64; the paper has no ablation).
        layers: Indices of the decoder layers that get wings; None means all.
        s_max: Number of positions that a router of kind ``position`` knows; longer rows are an error.
        query: Input of the learners' queries: residual stream after the main attention (``post_attn``, released code),
            or the input of the main attention (``attn_input``, paper's h of eq. 4), which fits any layer.
        router: What the router reads of the main attention: a weight per key position (``position``, eq. 5), or the
            shares of attention on text before pictures, pictures, and text after them (``mass``), of any length.
        router_act: Function before the router's softmax (released code: ``silu``; paper: ``none``).
        router_scale: Factor on both weights (released code adds outputs twice: 2; paper: 1).
        blend: Weights of tokens that see no picture: text wing alone with weight 1 (``masked``); the router's own
            (``plain``, paper); or ``plain`` in training and ``masked`` otherwise (``reference``, released code).
        visual_mask: Picture tokens that a token sees: those before it (``causal``), or ``full``, all of its row.
        text_key_start: Number of first tokens that the text wing does not read (released scripts: 14 or 17).
        text_key_rows: Rows in which they are left out: ``all``, or only rows with a picture (``image``, released code).
        leak: True lets the text wing read tokens that follow, as the released code does in rows with a picture. It
            sees labels in training: for comparisons only.
        stage: 1 is the visual wing alone, with weight 1 and without a router; 2 is both wings and the router.
        stats: How the router reads the attention: in the pass of the suite's ``operator``; by a second pass beside the
            model's own attention, whose output stays bit-equal (``exact``); or from the whole matrix (``eager``).
        cache: Keys and values of the wings as they are (``plain``), or the r numbers that they are made of
            (``low_rank``), which is exact and smaller where the model has few key heads.
    """

    rank: int = 64
    layers: tuple[int, ...] | None = None
    s_max: int = 4096
    query: Query = "post_attn"
    router: Routing = "position"
    router_act: Activation = "silu"
    router_scale: float = 2.0
    blend: Blend = "masked"
    visual_mask: VisualMask = "causal"
    text_key_start: int = 0
    text_key_rows: Literal["all", "image"] = "all"
    leak: bool = False
    stage: Literal[1, 2] = 2
    stats: Statistics = "operator"
    cache: Literal["plain", "low_rank"] = "plain"

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        check_literals(self, "wings")
        check_number("wings.rank", self.rank, low=1, whole=True)
        check_number("wings.s_max", self.s_max, low=1, whole=True)
        check_number("wings.text_key_start", self.text_key_start, low=0, whole=True)
        check_number("wings.router_scale", self.router_scale, above=0)
        if self.layers is not None:
            object.__setattr__(self, "layers", tuple(self.layers))
            if not self.layers or list(self.layers) != sorted(set(self.layers)) or self.layers[0] < 0:
                raise ConfigError(
                    f"wings.layers={list(self.layers)} must be rising indices, each once: null means all layers"
                )

    @classmethod
    def preset(cls, name: Literal["recommended", "reference", "paper"], **changes: object) -> WingsConfig:
        """Settings by name, with changes.

        ``recommended`` takes scale and query of the released code, causal masks and one rule for tokens without a
        picture. ``reference`` computes what the released code does in training, its label leak included. ``paper`` is
        eqs. 4 and 5 to the letter.

        Args:
            name: Name of the preset.
            changes: Fields that differ from it.
        """
        check_choice("wings preset", name, tuple(PRESETS))
        return replace(cls(**PRESETS[name]), **changes)  # type: ignore[arg-type]


PRESETS: dict[str, dict[str, object]] = {
    "recommended": {},
    "reference": {
        "blend": "reference", "visual_mask": "full", "text_key_start": 14, "text_key_rows": "image", "leak": True,
        "stats": "eager",
    },
    "paper": {"query": "attn_input", "router_act": "none", "router_scale": 1.0, "blend": "plain"},
}  # fmt: skip
