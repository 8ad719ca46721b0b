"""``verify`` tells every fault of an entry in a line, and passes none that cannot be loaded."""

import json

import pytest
import torch
from hub_tiny import configured, local, notes_of, reweighted, tampered
from safetensors.torch import load, save

from vision_suite.hub.text import write_json
from vision_suite.hub.verification import verify


def flipped(path):
    contents = bytearray(path.read_bytes())
    contents[len(contents) // 2] ^= 1
    path.write_bytes(contents)


def truncated(path):
    path.write_bytes(path.read_bytes()[:-1])


def removed(path):
    path.unlink()


@pytest.mark.parametrize("run", [False, True])
@pytest.mark.parametrize("change", [flipped, truncated, removed])
def test_a_change_of_any_file_is_a_fault(folder, change, run):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    assert len(files) >= 9
    for path in files:
        before = path.read_bytes()
        change(path)
        faults = verify(local(folder), run=run).faults
        name = path.relative_to(folder).as_posix()
        assert any(name in fault for fault in faults), (name, faults)
        assert not any("\n" in fault for fault in faults)
        path.write_bytes(before)
    assert verify(local(folder), run=run).faults == []


def test_weights_and_settings_are_told_beside_each_other(folder):
    flipped(folder / "model.safetensors")
    (folder / "LICENSE").unlink()
    faults = verify(local(folder)).faults
    assert [fault.partition(":")[0] for fault in faults] == ["LICENSE", "model.safetensors"]


def test_what_cannot_be_loaded_is_a_fault(folder):
    config, evaluation = ((folder / name).read_bytes() for name in ("config.json", "evaluation.json"))
    weights = (folder / "model.safetensors").read_bytes()
    tensors = load(weights)
    first = next(iter(tensors))

    def fault():
        (found,) = verify(local(folder)).faults
        tampered(folder, **{"config.json": config, "evaluation.json": evaluation, "model.safetensors": weights})
        return found

    reweighted(folder, save({name: each for name, each in tensors.items() if name != first}, notes_of()))
    assert f"{first} is missing" in fault()
    reweighted(folder, save({**tensors, first: tensors[first] * torch.nan}, notes_of()))
    assert "not finite" in fault()
    configured(folder, lambda config: config["model"]["init_args"].update(surprise=1))
    assert "cannot be built of its settings" in fault()
    configured(folder, lambda config: config["weights"].update(parameters=7))
    assert "weights.parameters is 7" in fault()
    configured(folder, lambda config: config["weights"].update(dtypes={"I64": 3}))
    assert "weights.dtypes is {'I64': 3}" in fault()
    for contents, said in ((b'{"module": "LitOAT"}', "it must have module"), (b"{", "malformed")):
        tampered(folder, **{"evaluation.json": contents})
        assert said in fault()
    known = json.loads(evaluation)
    for change, said in (
        ({"module": "LitOAT"}, "is no module of dcal"),
        ({"settings": {**known["settings"], "backbone": "hf-hub:a/b"}}, "init_args.backbone"),
        ({"step": -1}, "step=-1"),
    ):
        tampered(folder, **{"evaluation.json": write_json({**known, **change}).encode()})
        assert said in fault()
    assert verify(local(folder)).faults == []
