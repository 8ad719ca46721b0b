"""Operators of TensorFlow graphs in torch, on maps with their channels last."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vision_suite.errors import CheckpointError

Value = Tensor | tuple[Tensor, ...]
"""Output of a node; one of several outputs is taken by its number."""
Settings = Mapping[str, Any]
Operator = Callable[[Sequence[Tensor], Settings], Value]

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"Relu": F.relu, "Relu6": F.relu6}
KINDS = {"DT_FLOAT": torch.float32, "DT_INT32": torch.int64, "DT_BOOL": torch.bool}


def same_padding(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """Padding before and after a side so that the output has ceil(size / stride) cells; the odd cell comes after.

    Args:
        size: Length of the side.
        kernel: Length of the kernel.
        stride: Step of the kernel.
        dilation: Distance of the kernel's cells.
    """
    total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def resize_bilinear(grid: Tensor, size: tuple[int, int], align_corners: bool, half_pixel: bool) -> Tensor:
    """Resize (N, H, W, C) as TensorFlow does; by default a cell's place is its index times the ratio of the sizes.

    Args:
        grid: Map with its channels last.
        size: Height and width of the result.
        align_corners: Let the first and last cells of both maps meet.
        half_pixel: Measure places from the cells' centres.
    """
    for axis, length in ((1, size[0]), (2, size[1])):
        old = grid.shape[axis]
        place = torch.arange(length, dtype=torch.float32, device=grid.device)
        if align_corners and length > 1:
            place = place * ((old - 1) / (length - 1))
        elif half_pixel:
            place = ((place + 0.5) * (old / length) - 0.5).clamp(min=0)
        else:
            place = place * (old / length)
        low = place.floor().long().clamp(max=old - 1)
        high = (low + 1).clamp(max=old - 1)
        share = (place - low).to(grid.dtype).reshape(-1, *[1] * (3 - axis))
        first, second = grid.index_select(axis, low), grid.index_select(axis, high)
        grid = first + (second - first) * share
    return grid


def _first(grid: Tensor) -> Tensor:
    return grid.permute(0, 3, 1, 2)


def _last(grid: Tensor) -> Tensor:
    return grid.permute(0, 2, 3, 1)


def _padded(grid: Tensor, kernel: Sequence[int], settings: Settings, filling: float = 0.0) -> Tensor:
    """(N, C, H, W) with the padding that the setting asks for."""
    padding = settings["padding"]
    if padding == "VALID":
        return grid
    if padding != "SAME":
        raise CheckpointError(f"the graph has the padding {padding!r:.20}: SAME and VALID are known")
    strides, dilations = _inner(settings, "strides"), _inner(settings, "dilations")
    sides = [same_padding(*each) for each in zip(grid.shape[2:], kernel, strides, dilations, strict=True)]
    return F.pad(grid, (*sides[1], *sides[0]), value=filling)


def _inner(settings: Settings, name: str) -> tuple[int, int]:
    """The two values of a setting that concern height and width."""
    if settings.get("data_format", "NHWC") != "NHWC":
        raise CheckpointError(f"the graph has the data format {settings['data_format']!r:.20}: NHWC is known")
    values = settings.get(name, [1, 1, 1, 1])
    return values[1], values[2]


def _convolution(inputs: Sequence[Tensor], settings: Settings, *, depthwise: bool = False) -> Tensor:
    """Convolution with a kernel (H, W, C, M), with the operations that are fused to it."""
    grid, kernel = _first(inputs[0]), inputs[1]
    height, width, channels, _ = kernel.shape
    weight = kernel.permute(2, 3, 0, 1).reshape(-1, 1, height, width) if depthwise else kernel.permute(3, 2, 0, 1)
    grid = F.conv2d(
        _padded(grid, (height, width), settings),
        weight,
        stride=_inner(settings, "strides"),
        dilation=_inner(settings, "dilations"),
        groups=channels if depthwise else 1,
    )
    result = _last(grid)
    fused = list(settings.get("fused_ops", []))
    if fused and fused[0] == "BiasAdd":
        result = result + inputs[2]
        fused = fused[1:]
    for name in fused:
        if name not in ACTIVATIONS:
            raise CheckpointError(f"the graph fuses {name!r:.20} to a convolution: BiasAdd, Relu and Relu6 are known")
        result = ACTIVATIONS[name](result)
    return result


def _depthwise(inputs: Sequence[Tensor], settings: Settings) -> Tensor:
    return _convolution(inputs, settings, depthwise=True)


def _max_pool(inputs: Sequence[Tensor], settings: Settings) -> Tensor:
    kernel = _inner(settings, "ksize")
    grid = _padded(_first(inputs[0]), kernel, settings, float("-inf"))
    return _last(F.max_pool2d(grid, kernel, _inner(settings, "strides")))


def _resize(inputs: Sequence[Tensor], settings: Settings) -> Tensor:
    height, width = inputs[1].tolist()
    aligned, centred = bool(settings.get("align_corners")), bool(settings.get("half_pixel_centers"))
    return resize_bilinear(inputs[0], (height, width), aligned, centred)


def _mean(inputs: Sequence[Tensor], settings: Settings) -> Tensor:
    return inputs[0].mean(inputs[1].reshape(-1).tolist(), keepdim=bool(settings.get("keep_dims")))


def _strided_slice(inputs: Sequence[Tensor], settings: Settings) -> Tensor:
    if settings.get("ellipsis_mask") or settings.get("new_axis_mask"):
        raise CheckpointError("the graph slices with an ellipsis or a new axis, which is not known")
    value, starts, ends, steps = inputs[0], *(each.tolist() for each in inputs[1:4])
    begin, end, shrink = (settings.get(f"{name}_mask", 0) for name in ("begin", "end", "shrink_axis"))
    index: list[int | slice] = []
    for axis, (first, last, step) in enumerate(zip(starts, ends, steps, strict=True)):
        if shrink >> axis & 1:
            index.append(first)
        elif step < 1:
            raise CheckpointError(f"the graph slices with a step of {step}: steps forward are known")
        else:
            index.append(slice(None if begin >> axis & 1 else first, None if end >> axis & 1 else last, step))
    return value[tuple(index)]


def _top_k(inputs: Sequence[Tensor], settings: Settings) -> Value:
    values, indices = inputs[0].topk(int(inputs[1]), dim=-1)
    return values, indices


def _gather(inputs: Sequence[Tensor], settings: Settings) -> Tensor:
    if settings.get("batch_dims"):
        raise CheckpointError("the graph gathers with batch dimensions, which is not known")
    value, indices, axis = inputs[0], inputs[1], int(inputs[2])
    rows = value.index_select(axis, indices.reshape(-1))
    return rows.reshape(*value.shape[:axis], *indices.shape, *value.shape[axis:][1:])


def _cast(inputs: Sequence[Tensor], settings: Settings) -> Tensor:
    kind = settings["DstT"]
    if kind not in KINDS:
        raise CheckpointError(f"the graph casts to {kind!r:.20}: {', '.join(KINDS)} are known")
    return inputs[0].to(KINDS[kind])


OPERATORS: dict[str, Operator] = {
    "_FusedConv2D": _convolution,
    "Add": lambda inputs, _: inputs[0] + inputs[1],
    "Cast": _cast,
    "ConcatV2": lambda inputs, _: torch.cat(list(inputs[:-1]), dim=int(inputs[-1])),
    "Conv2D": _convolution,
    "DepthwiseConv2dNative": _depthwise,
    "Equal": lambda inputs, _: inputs[0] == inputs[1],
    "ExpandDims": lambda inputs, _: inputs[0].unsqueeze(int(inputs[1])),
    "FloorDiv": lambda inputs, _: inputs[0].div(inputs[1], rounding_mode="floor"),
    "FloorMod": lambda inputs, _: inputs[0].remainder(inputs[1]),
    "FusedDepthwiseConv2dNative": _depthwise,
    "GatherV2": _gather,
    "Identity": lambda inputs, _: inputs[0],
    "MaxPool": _max_pool,
    "Mean": _mean,
    "Mul": lambda inputs, _: inputs[0] * inputs[1],
    "Relu": lambda inputs, _: F.relu(inputs[0]),
    "Relu6": lambda inputs, _: F.relu6(inputs[0]),
    "Reshape": lambda inputs, _: inputs[0].reshape(inputs[1].tolist()),
    "ResizeBilinear": _resize,
    "Sigmoid": lambda inputs, _: inputs[0].sigmoid(),
    "StridedSlice": _strided_slice,
    "Sub": lambda inputs, _: inputs[0] - inputs[1],
    "TopKV2": _top_k,
}
"""Operators by TensorFlow's names."""
