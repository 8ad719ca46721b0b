"""Files of weights as other code writes them are read; what is none, or would run code, is one line."""

import doctest
import os

import pytest
import safetensors.torch
import torch
from torch import nn

from vision_suite.checkpoints import files
from vision_suite.errors import CheckpointError
from vision_suite.weights import init_from, start
from vision_suite.weights.reading import read_weights


class Nested(nn.Module):
    """Two parts, and a counter that every file with a batch norm has."""

    def __init__(self, width=4, classes=3):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width))
        self.head = nn.Linear(width, classes)


def weights(**sizes):
    torch.manual_seed(1)
    return {name: torch.rand_like(value, dtype=torch.float32) for name, value in Nested(**sizes).state_dict().items()}


def prefixed(prefix):
    return {f"{prefix}{name}": value for name, value in weights().items()}


FORMS = {
    "plain": weights(),
    "model": {"model": weights(), "epoch": 3, "args": {"lr": 0.1}},
    "state_dict": {"state_dict": weights(), "optimizer": {}},
    "net": {"net": weights()},
    "two wrappers": {"model": {"state_dict": weights()}},
    "DataParallel": prefixed("module."),
    "compiled and distributed": prefixed("module._orig_mod."),
    "Lightning": {"state_dict": {**prefixed("model."), "loss.weight": torch.ones(2)}, "hyper_parameters": {}},
    "backbone": prefixed("backbone."),
    "encoder": {"state_dict": prefixed("module.encoder.")},
    "average beside raw weights": {"state_dict": {"nothing": torch.ones(1)}, "state_dict_ema": weights()},
    "half precision": {name: value.half() for name, value in weights().items()},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("legacy", [False, True])
def test_every_form_gives_the_same_weights(form, legacy, tmp_path):
    path = tmp_path / "weights.bin"
    torch.save(FORMS[form], path, _use_new_zipfile_serialization=not legacy)
    network = Nested()
    started = init_from(network, path)
    assert (started.missing, started.layout) == ((), "own names")
    tolerance = 1e-3 if form == "half precision" else 0
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value.float(), weights()[name].to(value.dtype).float(), rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", ["weights.safetensors", "pytorch_model.bin"])
def test_safetensors_by_name_or_content(name, tmp_path):
    safetensors.torch.save_file(weights(), tmp_path / name)
    network = Nested()
    assert init_from(network, tmp_path / name).missing == ()
    assert torch.equal(network.head.weight, weights()["head.weight"])


def test_the_record_names_file_and_counts(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({**weights(classes=5), "extra.a": torch.ones(1), "extra.b": torch.ones(1)}, path)
    started = init_from(Nested(), path)
    assert started.line == (
        f"init_from {path} (own names): took 7 of 11 tensors (trunk 7); left out head.weight (5x4, here 3x4), "
        "head.bias (5, here 3), extra.* (2 tensors); not in the file, initialised as configured: head.* (2 tensors)"
    )
    record = started.record()
    assert record["file"] == str(path)
    assert len(record["sha256"]) == 64
    assert record["taken"] == {"trunk": 7}
    assert record["missing"] == ["head.bias", "head.weight"]
    assert set(record["left_out"]) == {"head.weight", "head.bias", "extra.a", "extra.b"}


class Evil:
    def __reduce__(self):
        return os.mkdir, ("was-run",)


def not_weights(folder):
    """Name of a file of its own kind, and what the line about it says."""
    torch.save(weights(), folder / "good.pth")
    good = (folder / "good.pth").read_bytes()
    (folder / "cut.pth").write_bytes(good[: len(good) // 2])
    files.write({"state_dict": weights()}, folder / "flipped.pth")
    written = bytearray((folder / "flipped.pth").read_bytes())
    written[len(written) // 2] ^= 1
    (folder / "flipped.pth").write_bytes(written)
    (folder / "flipped.safetensors").write_bytes(b"\xff" * 64)
    (folder / "text.pth").write_text("hello")
    (folder / "empty.pth").write_bytes(b"")
    (folder / "folder").mkdir()
    torch.save({"model": Evil()}, folder / "evil.pth")
    torch.save(Nested(), folder / "whole.pth")
    torch.save([torch.ones(1)], folder / "list.pth")
    torch.save({"epoch": 3}, folder / "none.pth")
    torch.save({"head.weight": torch.tensor([1.0, float("nan")])}, folder / "nan.pth")
    torch.save({"head.weight": torch.eye(2).to_sparse()}, folder / "sparse.pth")
    torch.save({**weights(), "head.weight": torch.ones(3, 4, dtype=torch.int8)}, folder / "whole_numbers.pth")
    torch.save({"unknown.weight": torch.ones(2), "other": torch.ones(2)}, folder / "foreign.pth")
    torch.save(weights(width=9, classes=8), folder / "wide.pth")
    return {
        "cut.pth": "truncated (its end is missing",
        "flipped.pth": "damaged (its checksum is wrong",
        "flipped.safetensors": "damaged or truncated (SafetensorError",
        "text.pth": "not a checkpoint (a text file)",
        "empty.pth": "the file is empty",
        "absent.pth": "no such file",
        "absent.safetensors": "no such file",
        "folder": "a folder: name the checkpoint file in it",
        "evil.pth": "holds pickled code of posix.mkdir, which is never executed",
        "whole.pth": "holds pickled code of test_weights_reading.Nested, which is never executed",
        "list.pth": "holds a list, not tensors by name",
        "none.pth": "no tensors at its top or under state_dict_ema, model_ema, teacher, state_dict",
        "nan.pth": "head.weight holds values that are not finite",
        "sparse.pth": "head.weight is sparse or quantised",
        "whole_numbers.pth": "head.weight holds int8 values, head.weight takes floating-point ones",
        "foreign.pth": "nothing taken: none of its 2 tensors (unknown.weight, other) is one of Nested (its own names)",
        # The counter of the batch norm fits, which is not enough.
        "wide.pth": "nothing taken: left out trunk.0.weight (9x2, here 4x2)",
    }


def test_what_is_no_file_of_weights_is_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, line in not_weights(tmp_path).items():
        network = Nested()
        before = {key: value.clone() for key, value in network.state_dict().items()}
        with pytest.raises(CheckpointError) as error:
            init_from(network, name)
        assert line in str(error.value), name
        assert str(error.value).startswith(name)
        assert "\n" not in str(error.value)
        assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items()), name
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize("form", ["plain", "safetensors"])
def test_any_cut_is_one_line(form, tmp_path):
    path = tmp_path / "cut"
    if form == "plain":
        torch.save(weights(), path)
    else:
        safetensors.torch.save_file(weights(), path)
    whole = path.read_bytes()
    for length in range(0, len(whole) - 1, max(1, len(whole) // 20)):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            read_weights(path)


def test_a_view_that_repeats_one_value_takes_no_memory(tmp_path):
    huge = torch.full((1,), 2.0).expand(2**40, 3)
    torch.save({"head.bias": torch.full((1, 3), 2.0).expand(5, 3), "huge": huge}, tmp_path / "views")
    assert read_weights(tmp_path / "views").tensors["huge"].shape == (2**40, 3)
    torch.save({"huge": torch.full((1,), torch.nan).expand(2**40, 3)}, tmp_path / "views")
    with pytest.raises(CheckpointError, match="huge holds values that are not finite"):
        read_weights(tmp_path / "views")


def test_the_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert doctest.testmod(start) == doctest.TestResults(failed=0, attempted=5)
