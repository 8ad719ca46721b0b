"""Layouts of files: tables that turn the names of other code's tensors into those of a network.

A network that can start from files of other code has an attribute ``layouts``, a tuple of `Layout`. Its own names need
no table.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

from torch import Tensor

Row = tuple[str, str]
Tensors = dict[str, Tensor]


def unchanged(tensors: Tensors) -> Tensors:
    """The tensors as they are."""
    return tensors


@dataclass(frozen=True)
class Layout:
    """Names of tensors in the files of one code base.

    In a row, ``*`` stands for the rest of a name, ``{n}`` for a number, and ``{last}`` for the number of the last block
    in the file. A name is turned by the first row that fits it. Where two names lead to the same tensor, the one of the
    earlier row is used.

    Attributes:
        name: Name of the code base.
        anchor: Name that every such file has; what stands before it in a file is a prefix of all its names.
        rows: Name in the file, name in the network.
        prepare: Changes of the file's tensors, under the file's names, before they are renamed.
    """

    name: str
    anchor: str
    rows: tuple[Row, ...]
    prepare: Callable[[Tensors], Tensors] = unchanged

    def prefixes(self, names: Collection[str]) -> list[str]:
        """Prefixes under which a file with these names has this layout."""
        return [name.removesuffix(self.anchor) for name in names if f".{name}".endswith(f".{self.anchor}")]

    def renamed(self, names: Collection[str]) -> dict[str, str]:
        """Name in the file by name in the network; names that no row fits are absent."""
        last = max(
            (int(number) for name in names for number in re.findall(r"(?:^|\.)blocks\.(\d+)\.", name)), default=0
        )
        found: dict[str, str] = {}
        rows = [(_pattern(theirs.replace("{last}", str(last))), ours.replace("{last}", str(last)))
                for theirs, ours in self.rows]  # fmt: skip
        matches: list[tuple[int, str, str]] = []
        for name in names:
            for number, (pattern, ours) in enumerate(rows):
                if (match := pattern.fullmatch(name)) is not None:
                    parts = match.groupdict()
                    target = ours.replace("{n}", parts.get("n") or "").replace("*", parts.get("rest") or "")
                    matches.append((number, target, name))
                    break
        for _, target, name in sorted(matches, key=lambda match: match[0]):
            found.setdefault(target, name)
        return found


def _pattern(theirs: str) -> re.Pattern[str]:
    return re.compile(re.escape(theirs).replace(r"\{n\}", r"(?P<n>\d+)").replace(r"\*", r"(?P<rest>.+)"))


def timm_rows(vit: str) -> tuple[Row, ...]:
    """Table of timm's ViT and DeiT files.

    Args:
        vit: Name of the network's ViT, such as ``vit``.
    """
    return (
        ("cls_token", f"{vit}.cls_token"),
        ("dist_token", f"{vit}.dist_token"),  # distilled DeiT
        ("reg_token", f"{vit}.reg_token"),
        ("pos_embed", f"{vit}.pos_embed"),
        ("patch_embed.*", f"{vit}.patch_embed.*"),
        ("norm_pre.*", f"{vit}.norm_pre.*"),
        ("blocks.{n}.gamma_1", f"{vit}.blocks.{{n}}.ls1.gamma"),  # DeiT III as its authors store it
        ("blocks.{n}.gamma_2", f"{vit}.blocks.{{n}}.ls2.gamma"),
        ("blocks.*", f"{vit}.blocks.*"),
        ("norm.*", f"{vit}.norm.*"),
        ("fc_norm.*", f"{vit}.norm.*"),  # the last norm of a ViT that averages its patches
    )


def with_registers(tensors: Tensors) -> Tensors:
    """DINOv2's register tokens as timm has them: the class token's position goes into the class token."""
    cls_token, positions = tensors["cls_token"], tensors.get("pos_embed")
    if "register_tokens" not in tensors or positions is None or cls_token.shape != positions[:, :1].shape:
        return tensors
    found = {name: value for name, value in tensors.items() if name != "register_tokens"}
    found["reg_token"] = tensors["register_tokens"]
    found["cls_token"] = cls_token + positions[:, :1]
    found["pos_embed"] = positions[:, 1:]
    return found
