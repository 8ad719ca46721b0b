"""Graphs of TensorFlow.js: operators against loops over NumPy arrays, and files that are damaged or hostile."""

import itertools
import json

import numpy as np
import pytest
import torch
import yaml
from tiny_graph import write_graph

from vision_suite.errors import CheckpointError, ConfigError
from vision_suite.layers.graph_model import GraphModel
from vision_suite.layers.graph_operators import OPERATORS, resize_bilinear, same_padding

RNG = np.random.default_rng(0)


def run(kind, *inputs, **settings):
    """One operator; arrays in, arrays out."""
    result = OPERATORS[kind]([torch.as_tensor(np.asarray(each)) for each in inputs], settings)
    return tuple(each.numpy() for each in result) if isinstance(result, tuple) else result.numpy()


def cells(image, kernel, stride, padding, filling=0.0, dilation=1):
    """The windows of a picture (H, W, C): (h, w, kernel, kernel, C), cut out one by one."""
    sides = []
    for size in image.shape[:2]:
        reach = (kernel - 1) * dilation + 1
        out = -(-size // stride) if padding == "SAME" else (size - reach) // stride + 1
        total = max((out - 1) * stride + reach - size, 0) if padding == "SAME" else 0
        sides.append((out, total // 2, total - total // 2))
    widths = [(sides[0][1], sides[0][2]), (sides[1][1], sides[1][2]), (0, 0)]
    padded = np.pad(image, widths, constant_values=filling)
    found = np.zeros((sides[0][0], sides[1][0], kernel, kernel, image.shape[2]))
    for y, x, a, b in itertools.product(*map(range, found.shape[:4])):
        found[y, x, a, b] = padded[y * stride + a * dilation, x * stride + b * dilation]
    return found


def strides(number):
    return [1, number, number, 1]


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(
    ("side", "kernel", "stride", "dilation"), [(8, 3, 2, 1), (7, 3, 2, 1), (8, 5, 2, 1), (9, 3, 1, 2)]
)
def test_convolutions_are_sums_over_windows(padding, side, kernel, stride, dilation):
    image = RNG.standard_normal((1, side, side + 1, 3))
    settings = {"padding": padding, "strides": strides(stride), "dilations": strides(dilation), "data_format": "NHWC"}
    windows = cells(image[0], kernel, stride, padding, dilation=dilation)
    full, deep = RNG.standard_normal((kernel, kernel, 3, 4)), RNG.standard_normal((kernel, kernel, 3, 2))
    expected = np.einsum("yxabc,abcm->yxm", windows, full)
    np.testing.assert_allclose(run("Conv2D", image, full, **settings)[0], expected)
    bias = RNG.standard_normal(4)
    fused = run("_FusedConv2D", image, full, bias, fused_ops=["BiasAdd", "Relu6"], **settings)
    np.testing.assert_allclose(fused[0], np.clip(expected + bias, 0, 6), atol=1e-12)
    # Output channels of a depthwise kernel: both of the first input channel, then both of the second.
    expected = np.einsum("yxabc,abcm->yxcm", windows, deep).reshape(*windows.shape[:2], 6)
    np.testing.assert_allclose(run("DepthwiseConv2dNative", image, deep, **settings)[0], expected)
    largest = cells(image[0], kernel, stride, padding, filling=-np.inf).max((2, 3))
    if dilation == 1:
        pooled = run("MaxPool", image, ksize=strides(kernel), padding=padding, strides=strides(stride))
        np.testing.assert_allclose(pooled[0], largest)


def test_the_odd_cell_of_padding_comes_after():
    assert same_padding(512, 3, 2) == (0, 1)
    assert same_padding(512, 3, 1) == (1, 1)
    assert same_padding(7, 3, 2) == (1, 1)
    assert same_padding(4, 1, 2) == (0, 0)


def test_resizing_takes_places_from_the_ratio_of_sizes():
    line = torch.tensor([0.0, 10.0, 40.0]).reshape(1, 1, 3, 1)

    def resized(length, align, centred):
        return resize_bilinear(line, (1, length), align, centred).flatten().tolist()

    # Places 0, .5, 1, 1.5, 2, 2.5: the last lies behind the last cell.
    assert resized(6, False, False) == [0, 5, 10, 25, 40, 40]
    assert resized(5, True, False) == [0, 5, 10, 25, 40]
    expected = torch.nn.functional.interpolate(line.permute(0, 3, 1, 2), (1, 7), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(resized(7, False, True), expected.flatten(), rtol=1e-5)


def test_arithmetic_and_indices_follow_numpy():
    a, b = RNG.standard_normal((2, 3)), RNG.standard_normal((2, 3))
    for kind, function in (("Add", np.add), ("Sub", np.subtract), ("Mul", np.multiply), ("Equal", np.equal)):
        np.testing.assert_array_equal(run(kind, a, b), function(a, b))
    numbers = np.array([-7, -1, 0, 5, 9])
    np.testing.assert_array_equal(run("FloorDiv", numbers, 4), numbers // 4)
    np.testing.assert_array_equal(run("FloorMod", numbers, 4), numbers % 4)
    np.testing.assert_allclose(run("Sigmoid", a), 1 / (1 + np.exp(-a)))
    np.testing.assert_array_equal(run("Relu", a), np.maximum(a, 0))
    np.testing.assert_array_equal(run("Relu6", 10 * a), np.clip(10 * a, 0, 6))
    np.testing.assert_allclose(run("Mean", a, np.array([0]), keep_dims=True), a.mean(0, keepdims=True))
    np.testing.assert_array_equal(run("ConcatV2", a, b, 1), np.concatenate([a, b], 1))
    np.testing.assert_array_equal(run("ExpandDims", a, -1), a[..., None])
    np.testing.assert_array_equal(run("Reshape", a, np.array([3, -1])), a.reshape(3, -1))
    np.testing.assert_array_equal(run("Cast", a > 0, DstT="DT_FLOAT"), (a > 0).astype(np.float32))
    np.testing.assert_array_equal(run("Identity", a), a)
    values, indices = run("TopKV2", a, 2)
    np.testing.assert_array_equal(values, -np.sort(-a)[:, :2])
    np.testing.assert_array_equal(indices, np.argsort(-a)[:, :2])
    np.testing.assert_array_equal(run("GatherV2", a, np.array([[2, 0], [1, 1]]), 1), np.take(a, [[2, 0], [1, 1]], 1))


def test_slices_follow_numpy():
    value = RNG.standard_normal((2, 3, 4))
    starts, ends, steps = np.array([1, 1, 1]), np.array([2, 2, -1]), np.array([1, 1, 1])
    np.testing.assert_array_equal(run("StridedSlice", value, starts, ends, steps), value[1:2, 1:2, 1:-1])
    masks = {"begin_mask": 3, "end_mask": 1, "shrink_axis_mask": 4}
    np.testing.assert_array_equal(run("StridedSlice", value, starts, ends, steps, **masks), value[:, :2, 1])
    with pytest.raises(CheckpointError, match="ellipsis"):
        run("StridedSlice", value, starts, ends, steps, ellipsis_mask=1)
    with pytest.raises(CheckpointError, match="a step of -1"):
        run("StridedSlice", value, starts, ends, -steps)


@pytest.mark.parametrize(
    ("kind", "settings", "words"),
    [
        ("Conv2D", {"padding": "EXPLICIT"}, "padding 'EXPLICIT'"),
        ("Conv2D", {"padding": "VALID", "data_format": "NCHW"}, "data format 'NCHW'"),
        ("_FusedConv2D", {"padding": "VALID", "fused_ops": ["Elu"]}, "fuses 'Elu'"),
        ("Cast", {"DstT": "DT_STRING"}, "casts to 'DT_STRING'"),
        ("GatherV2", {"batch_dims": 1}, "batch dimensions"),
    ],
)
def test_what_is_not_known_is_refused(kind, settings, words):
    with pytest.raises(CheckpointError, match=words):
        run(kind, np.zeros((1, 4, 4, 1)), np.zeros((1, 1, 1, 1)), np.zeros(1), **settings)


CONSTANTS = {"part/bias": np.array([0.5, -1.5], np.float32), "axis": np.array(2), "k": np.array(1), "flat": [1, -1]}
OPERATIONS = [
    # Not in the order in which they can be run.
    ("best", "TopKV2", ["line", "k"], {}),
    ("place", "Identity", ["best:1"], {}),
    ("line", "Reshape", ["shifted", "flat"], {}),
    ("shifted", "Add", ["image", "part/bias"], {"T": "DT_FLOAT"}),
    ("unused", "Mul", ["shifted", "shifted"], {}),
]


def test_a_graph_from_files_gives_any_node(tmp_path):
    path = write_graph(tmp_path, OPERATIONS, CONSTANTS, half=["part/bias"])
    graph = GraphModel.load(path)
    assert graph.inputs == ("image",)
    assert {name for name, _ in graph.named_parameters()} == {"part/bias"}
    image = torch.tensor([[[[1.0, 5.0], [2.0, 1.0]]]])
    place, best, shifted = graph(image, ["place", "best", "shifted"])
    assert shifted.flatten().tolist() == [1.5, 3.5, 2.5, -0.5]
    assert (place.tolist(), best.tolist()) == ([[1]], [[3.5]])
    again = GraphModel.load(path)
    again.load_state_dict({name: value + 1 for name, value in graph.state_dict().items()})
    assert again(image, ["shifted"])[0].flatten().tolist() == [2.5, 4.5, 3.5, 0.5]
    bare = GraphModel.of_structure(yaml.safe_load(yaml.safe_dump(graph.structure())))
    bare.load_state_dict(graph.state_dict())
    for one, two in zip(bare(image, ["place", "shifted"]), (place, shifted), strict=True):
        assert torch.equal(one, two)
    with pytest.raises(CheckpointError, match="structure of a graph is malformed"):
        GraphModel.of_structure({"nodes": [["a"]], "shapes": {}, "numbers": {}})
    with pytest.raises(ConfigError, match="no node 'nothing': its last ones are"):
        graph(image, ["nothing"])
    with pytest.raises(ConfigError, match="fewer outputs"):
        graph(image, ["best:9"])


def edited(path, change):
    graph = json.loads(path.read_text())
    change(graph)
    path.write_text(json.dumps(graph))


WRONGLY_NAMED = {"name": "forward", "shape": [0], "dtype": "int32"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda graph: graph.update(format="layers-model"), "not 'graph-model'"),
        (lambda graph: graph.pop("weightsManifest"), "is no graph model .KeyError"),
        (lambda graph: graph["weightsManifest"][0].update(paths=["../weights.bin"]), "outside of its folder"),
        (lambda graph: graph["weightsManifest"][0].update(paths=["gone.bin"]), "No such file"),
        (lambda graph: graph["weightsManifest"][0]["weights"].pop(), r"bytes, \d+ expected"),
        (lambda graph: graph["weightsManifest"][0]["weights"][0].update(shape=[99]), "weights end before 'part/bias'"),
        (lambda graph: graph["weightsManifest"][0]["weights"][0].update(dtype="string"), "stored as 'string'"),
        (lambda graph: graph["weightsManifest"][0]["weights"][1].update(name="other"), "no weights for 'axis'"),
        (lambda graph: graph["weightsManifest"][0]["weights"].insert(0, WRONGLY_NAMED), "called 'forward'"),
        (lambda graph: graph["modelTopology"]["node"][-1].update(op="PyFunc"), "not known: PyFunc"),
        (lambda graph: graph["modelTopology"]["node"].append(graph["modelTopology"]["node"][-1]), "two nodes called"),
        (lambda graph: graph["modelTopology"]["node"][-1].update(input=["unused"]), "'unused' waits for 'unused'"),
    ],
)
def test_damaged_files_are_one_line(tmp_path, change, words):
    path = write_graph(tmp_path, OPERATIONS, CONSTANTS)
    edited(path, change)
    with pytest.raises(CheckpointError, match=words) as caught:
        GraphModel.load(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_json(tmp_path):
    path = tmp_path / "graph.json"
    path.write_bytes(b"\xff\x00")
    with pytest.raises(CheckpointError, match="is no graph model"):
        GraphModel.load(path)


def test_a_node_that_cannot_be_run_is_one_line(tmp_path):
    settings = np.array([7, 7], dtype=np.int32)
    for operation in (("r", "Reshape", ["image", "shape"], {}), ("r", "Relu", [], {}), ("r", "Conv2D", ["image"], {})):
        graph = GraphModel.load(write_graph(tmp_path, [operation], {"shape": settings}))
        with pytest.raises(CheckpointError, match=r"node 'r' .* of the graph cannot be run") as caught:
            graph(torch.zeros(1, 2, 2, 3), ["r"])
        assert "\n" not in str(caught.value)


def test_nodes_may_stand_in_any_order(tmp_path):
    last = 3000
    chain = [(f"r{n}", "Relu", [f"r{n - 1}" if n else "image"], {}) for n in range(last, -1, -1)]
    graph = GraphModel.load(write_graph(tmp_path, chain, {}))
    assert [node.name for node in graph.nodes[1:]] == [f"r{n}" for n in range(last + 1)]
