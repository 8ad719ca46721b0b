"""Start a network from the weights of a file, and tell what was taken, left out and missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from vision_suite.errors import CheckpointError
from vision_suite.layers.layouts import Layout
from vision_suite.weights.matching import Reading, best_reading
from vision_suite.weights.positions import fitted_positions, shape_text, vits_in
from vision_suite.weights.reading import WeightsFile, read_weights

NO_PLACE = "no such part here"
SHOWN = 4  # names or parts that a line shows of a list


@dataclass(frozen=True)
class Initialised:
    """Record of a network's start.

    Attributes:
        file: Path of the file, as given.
        sha256: SHA-256 of its bytes.
        layout: Layout that it was read in.
        in_file: Number of tensors in the file.
        taken: The network's tensors that came from it.
        changed: Changes of those that were resized, by name in the network.
        left_out: Reasons by name in the file.
        copied: The network's tensors that are copies of others, as configured, by name.
        missing: The network's tensors that keep their initialisation.
    """

    file: str
    sha256: str
    layout: str
    in_file: int
    taken: tuple[str, ...]
    changed: Mapping[str, str]
    left_out: Mapping[str, str]
    copied: Mapping[str, str]
    missing: tuple[str, ...]

    @property
    def line(self) -> str:
        """Everything above in one line, long lists shortened."""
        counts = ", ".join(f"{part} {len(names)}" for part, names in _parts(self.taken).items())
        facts = [f"took {len(self.taken)} of {self.in_file} tensors ({counts})"]
        facts += [f"{name} {change}" for name, change in self.changed.items()]
        if self.left_out:
            named = [f"{name} ({why})" for name, why in self.left_out.items() if why != NO_PLACE]
            rest = _grouped([name for name, why in self.left_out.items() if why == NO_PLACE])
            facts.append(f"left out {_shortened([*named, *rest])}")
        if self.copied:
            sources = ", ".join(_parts(self.copied.values()))
            facts.append(f"not in the file, copied from {sources}: {_shortened(_grouped(self.copied))}")
        if self.missing:
            facts.append(f"not in the file, initialised as configured: {_shortened(_grouped(self.missing))}")
        return f"init_from {self.file} ({self.layout}): {'; '.join(facts)}"

    def record(self) -> dict[str, Any]:
        """The same in plain containers, for a run's record."""
        return {
            "file": self.file, "sha256": self.sha256, "layout": self.layout, "tensors_in_file": self.in_file,
            "taken": {part: len(names) for part, names in _parts(self.taken).items()}, "changed": dict(self.changed),
            "left_out": dict(self.left_out), "copied": sorted(self.copied), "missing": sorted(self.missing),
        }  # fmt: skip


def init_from(network: nn.Module, path: str | Path) -> Initialised:
    """Copy the weights of a file into a network, as far as their names and shapes fit.

    The file is a checkpoint of this suite (with EMA, its average is taken), a state dict, or a safetensors file, in the
    network's own names or in a layout that the network declares in ``layouts``. Tensors of another shape are left out,
    except position embeddings, which are resized. Tensors that the configuration makes copies of others
    (``network.copies``) are copied again where the file has none.

    Args:
        network: The network, changed in place.
        path: The file.

    Raises:
        CheckpointError: The file cannot be read, or nothing in it fits.

    Example:
        >>> import torch
        >>> from vision_suite.weights import init_from
        >>> torch.save({"model": {"module.0.weight": torch.ones(2, 3)}}, "start.pth")
        >>> network = torch.nn.Sequential(torch.nn.Linear(3, 2))
        >>> init_from(network, "start.pth").missing
        ('0.bias',)
    """
    source = read_weights(path)
    state = network.state_dict()
    layouts: tuple[Layout, ...] = getattr(network, "layouts", ())
    reading = best_reading(source.tensors, state, layouts)
    if reading is None:
        known = ", ".join(["its own names", *(layout.name for layout in layouts)])
        kind = type(network).__name__
        raise CheckpointError(
            f"{path}: nothing taken: none of its {len(source.tensors)} tensors "
            f"({_shortened(source.tensors)}) is one of {kind} ({known}): give the file of a network of its kind"
        )
    values, changed, left_out = _fitted(reading, network, source)
    left_out |= {name: NO_PLACE for name in source.tensors if not name.startswith(reading.prefix)}
    # Counters of batch norms fit every network.
    if not any(value.ndim for value in values.values()):
        reasons = [f"{name} ({why})" for name, why in left_out.items() if why != NO_PLACE]
        raise CheckpointError(
            f"{path} ({reading.layout}): nothing taken: left out {_shortened(reasons)}: choose its network"
        )
    network.load_state_dict(values, strict=False)
    copies: Mapping[str, str] = getattr(network, "copies", {})
    copied = {name: other for name, other in copies.items() if name not in values and other in values}
    network.load_state_dict({name: values[other] for name, other in copied.items()}, strict=False)
    missing = tuple(name for name in state if name not in values and name not in copied)
    return Initialised(
        str(path), source.sha256, reading.layout, len(source.tensors), tuple(values), changed, left_out, copied, missing
    )


def _fitted(
    reading: Reading, network: nn.Module, source: WeightsFile
) -> tuple[dict[str, Tensor], dict[str, str], dict[str, str]]:
    """Tensors of a file that a network can take.

    Returns:
        Tensors in the network's shapes and notes on changes, both by name in the network; and reasons by name in the
        file for what does not fit.

    Raises:
        CheckpointError: The file holds whole numbers where the network takes floating-point ones.
    """
    state = network.state_dict()
    positions = {f"{prefix}pos_embed": (prefix, vit) for prefix, vit in vits_in(network).items()}
    values: dict[str, Tensor] = {}
    changed: dict[str, str] = {}
    names = {ours: theirs for ours, theirs in reading.names.items() if ours in state}
    used = set(names.values())
    left_out = {f"{reading.prefix}{name}": NO_PLACE for name in reading.tensors if name not in used}
    for ours, theirs in names.items():
        value, shape = reading.tensors[theirs], state[ours].shape
        if state[ours].is_floating_point() and not value.is_floating_point():
            raise CheckpointError(
                f"{source.path}: {reading.prefix}{theirs} holds {str(value.dtype).removeprefix('torch.')} values, "
                f"{ours} takes floating-point ones: give the file of the plain weights"
            )
        if ours in positions:
            prefix, vit = positions[ours]
            of_vit = {name.removeprefix(prefix): reading.tensors[key]
                      for name, key in reading.names.items() if name.startswith(prefix)}  # fmt: skip
            try:
                value, note = fitted_positions(of_vit, vit, source.settings)
            except ValueError as error:
                left_out[f"{reading.prefix}{theirs}"] = str(error)
                continue
            changed |= {ours: note} if note else {}
        elif ours.endswith("patch_embed.proj.weight") and value.ndim == 2 and value.numel() == shape.numel():
            value = value.view(shape)  # patches embedded by a linear layer
        if value.shape != shape:
            left_out[f"{reading.prefix}{theirs}"] = f"{shape_text(value)}, here {shape_text(state[ours])}"
            continue
        values[ours] = value
    return values, changed, left_out


def _parts(names: Iterable[str]) -> dict[str, list[str]]:
    """Names by their part, the first component of a name."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(name.split(".")[0], []).append(name)
    return found


def _grouped(names: Iterable[str]) -> list[str]:
    """Names, those of one part together: ``glca.* (14 tensors)``."""
    return [
        members[0] if len(members) == 1 else f"{part}.* ({len(members)} tensors)"
        for part, members in _parts(sorted(names)).items()
    ]


def _shortened(texts: Iterable[str]) -> str:
    """The first of several texts, and the number of the others."""
    texts = list(texts)
    return ", ".join([*texts[:SHOWN], *([f"{len(texts) - SHOWN} more"] if len(texts) > SHOWN else [])])
