"""Every node of CenterNet's graph against TensorFlow.js itself, run by node."""

import json
import shutil
import subprocess

import numpy as np
import pytest
import torch
from PIL import Image

from vision_suite.datasets.instruct.centernet_recipe import RECIPE
from vision_suite.layers.graph_model import GraphModel
from vision_suite.prepared import data_dir

VERSION = "4.22.0"
PACKAGES = [f"@tensorflow/tfjs-{part}@{VERSION}" for part in ("core", "converter", "backend-cpu")]
SCRIPT = """
const fs = require("fs");
const tf = require("@tensorflow/tfjs-core");
require("@tensorflow/tfjs-backend-cpu");
const { loadGraphModel } = require("@tensorflow/tfjs-converter");
const exact = (bytes) => bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
const outputs = JSON.parse(fs.readFileSync("outputs.json"));
(async () => {
  const { modelTopology, format, signature, weightsManifest } = JSON.parse(fs.readFileSync("centernet.json"));
  const weightData = exact(fs.readFileSync("centernet.bin"));
  const weightSpecs = weightsManifest[0].weights;
  const load = async () => ({ modelTopology, format, signature, weightSpecs, weightData });
  const model = await loadGraphModel({ load });
  const image = tf.tensor(new Float32Array(exact(fs.readFileSync("image.f32"))), [1, 512, 512, 3]);
  const shapes = model.execute(image, outputs).map((value, number) => {
    fs.writeFileSync(`${number}.f32`, Buffer.from(Float32Array.from(value.dataSync()).buffer));
    return value.shape;
  });
  fs.writeFileSync("shapes.json", JSON.stringify(shapes));
})();
"""


@pytest.fixture(scope="module")
def runtime(tmp_path_factory):
    """A folder with TensorFlow.js; its install scripts are not run."""
    folder = tmp_path_factory.mktemp("tfjs")
    (folder / "package.json").write_text("{}")
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"]
    command = ["npm", "install", *options, *PACKAGES]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.skip(f"npm cannot install TensorFlow.js: {done.stderr[:200]}")
    return folder


@pytest.mark.long
@pytest.mark.real_data
@pytest.mark.skipif(not (data_dir() / RECIPE.name).is_dir(), reason="prepare it: vision-suite data prepare centernet")
@pytest.mark.skipif(not (shutil.which("node") and shutil.which("npm")), reason="node and npm are not installed")
def test_every_node_equals_that_of_tensorflow_js(runtime):
    data = pytest.importorskip("skimage.data")
    for name in ("centernet.json", "centernet.bin"):
        shutil.copy(data_dir() / RECIPE.name / name, runtime)
    graph = GraphModel.load(runtime / "centernet.json")
    names = [node.name for node in graph.nodes if node.kind != "Placeholder"]
    photograph = Image.fromarray(data.coffee()).resize((512, 512), Image.Resampling.BILINEAR)
    image = np.asarray(photograph, dtype="<f4")[None]
    image.tofile(runtime / "image.f32")
    (runtime / "outputs.json").write_text(json.dumps(names))
    (runtime / "run.js").write_text(SCRIPT)
    subprocess.run(["node", "run.js"], cwd=runtime, check=True, timeout=300)
    shapes = json.loads((runtime / "shapes.json").read_text())
    with torch.inference_mode():
        found = graph(torch.from_numpy(image.copy()), names)
    assert len(found) == 276
    ours = {name: value.float() for name, value in zip(names, found, strict=True)}
    theirs = {
        name: torch.from_numpy(np.fromfile(runtime / f"{number}.f32", "<f4")).reshape(shape)
        for number, (name, shape) in enumerate(zip(names, shapes, strict=True))
    }
    assert [name for name in names if ours[name].shape != theirs[name].shape] == []
    # Which of two cells that differ by rounding is the peak is chance; whatever follows is compared by its result.
    after = dependents(graph, "tower_0/Equal")
    assert len(names) - len(after) == 240
    worst = {name: float((ours[name] - theirs[name]).abs().max() / theirs[name].abs().max()) for name in names}
    assert {name: error for name, error in worst.items() if name not in after and not error < 1e-4} == {}
    assert int((ours["tower_0/Equal"] != theirs["tower_0/Equal"]).sum()) <= 20
    peaks = theirs["tower_0/detections"][0, :, 4] > 0.1
    assert int(peaks.sum()) >= 8
    torch.testing.assert_close(
        ours["tower_0/detections"][0, peaks], theirs["tower_0/detections"][0, peaks], atol=1e-2, rtol=1e-4
    )


def dependents(graph, name):
    """A node and all that need it."""
    found = {name}
    for node in graph.nodes:
        if found & {each.partition(":")[0] for each in node.inputs}:
            found.add(node.name)
    return found
