"""Entries that are refused, each in one line, before anything in them is built or executed."""

import json
import os
import random
import sys

import hub_tiny
import pytest
import torch
from hub_tiny import NAME, configured, local, notes_of, reweighted, tampered
from safetensors.torch import load, save

from vision_suite import hub as checkpoint_hub
from vision_suite.errors import CheckpointError
from vision_suite.hub.signature import config_folder, make_key
from vision_suite.hub.verification import verify
from vision_suite.hub.writing import write_index

FLIPS = 200


def refused(name, **options):
    """The line with which a name is refused."""
    with pytest.raises(CheckpointError) as caught:
        checkpoint_hub.load(name, **options)
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_a_flipped_bit_in_any_file_at_any_place(folder):
    random_ = random.Random(0)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    assert len(files) >= 9
    for path in files:
        before = path.read_bytes()
        for _ in range(FLIPS):
            place = random_.randrange(len(before))
            changed = bytearray(before)
            changed[place] ^= 1 << random_.randrange(8)
            path.write_bytes(changed)
            line = refused(local(folder))
            assert str(folder) in line
        path.write_bytes(before)
    checkpoint_hub.load(local(folder))


def test_what_a_changed_file_is_told(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    line = refused(local(folder))
    assert "model.safetensors: hash is " in line
    assert "SHA256SUMS says " in line
    assert "pull the entry again" in line


def test_missing_extra_and_truncated_files(folder):
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        before = path.read_bytes()
        path.write_bytes(before[: len(before) // 2])
        refused(local(folder))
        path.unlink()
        assert "missing" in refused(local(folder))
        path.write_bytes(before)
    for name in ("extra.bin", "sample/more.py", ".hidden"):
        (folder / name).write_text("print('hello')")
        assert f"{name}: it is not in SHA256SUMS" in refused(local(folder))
        (folder / name).unlink()


def test_links_that_leave_the_entry(folder, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes((folder / "LICENSE").read_bytes())
    (folder / "LICENSE").unlink()
    (folder / "LICENSE").symlink_to(secret)
    assert "LICENSE: a link that leaves the entry" in refused(local(folder))
    (folder / "LICENSE").unlink()
    (folder / "LICENSE").write_bytes(secret.read_bytes())
    (folder / "sample/in").symlink_to(tmp_path, target_is_directory=True)
    assert "a link that leaves" in refused(local(folder))
    (folder / "sample/in").unlink()
    os.mkfifo(folder / "pipe")
    assert "neither a file" in refused(local(folder))
    (folder / "pipe").unlink()
    checkpoint_hub.load(local(folder))


def test_a_link_in_the_place_of_an_entry(hub, folder, tmp_path):
    folder.rename(tmp_path / NAME)
    folder.symlink_to(tmp_path / NAME)
    assert "a link that leaves the hub" in refused(f"hub:{NAME}", allow_unsigned=True)


def test_sums_that_lead_out(folder):
    sums = folder / "SHA256SUMS"
    sums.write_text(f"{'0' * 64}  ../index.json\n" + sums.read_text())
    assert "leads out of the entry" in refused(local(folder))


@pytest.mark.parametrize(
    "name", ["hub:../x.y", "hub:/etc", "hub:", "x", "hub:A.b", "local-dir:", "hf-hub:a", "hf-hub:a/b/c"]
)
def test_names_that_are_none(hub, name):
    refused(name)


def test_a_class_outside_the_registry_is_never_imported(folder, tmp_path, monkeypatch):
    (tmp_path / "evil_package.py").write_text(
        f"open({str(tmp_path / 'marker')!r}, 'w').write('ran')\nclass Net: pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for path in ("evil_package.Net", "torch.nn.Linear", "vision_suite.models.oat.OAT", "os.system"):
        configured(folder, lambda config, path=path: config["model"].update(class_path=path))
        assert "config.json names" in refused(local(folder))
    configured(folder, lambda config: config["model"].update(class_path="vision_suite.models.dcal.DCAL"))
    nested = {"class_path": "evil_package.Net", "init_args": {}}
    configured(folder, lambda config: config["model"]["init_args"].update(head=nested))
    assert "class_path='evil_package.Net' is no class of the registry" in refused(local(folder))
    configured(folder, lambda config: config["model"]["init_args"].update(head=[[nested]]))
    assert "is no class of the registry" in refused(local(folder))
    configured(folder, lambda config: config.update(method="chess"))
    assert "the method 'chess'" in refused(local(folder))
    assert not (tmp_path / "marker").exists()
    assert "evil_package" not in sys.modules


LOADING = {
    "backbone": "hf-hub:timm/vit_tiny_patch16_224",
    "backbone ": "local-dir:/tmp/x",
    "pretrained": True,
    "backbone_args": {"pretrained": "yes"},
    "backbone_args ": {"checkpoint_path": "weights.pth"},
    "backbone_args  ": {"pretrained_cfg": {"file": "x"}},
    "backbone_args   ": {"cache_dir": "here"},
    "backbone_args    ": {"norm_layer": "../x"},
    "backbone   ": "/etc/passwd",
    "backbone    ": "http://x",
    "backbone     ": "..",
    "num_classes": 10**12,
    "glca": {"source": "other"},
}


@pytest.mark.parametrize("name", LOADING)
def test_settings_that_would_load_something_else(folder, name, monkeypatch):
    monkeypatch.setattr("timm.create_model", lambda *_, **__: pytest.fail("it was built"))
    configured(folder, lambda config: config["model"]["init_args"].update({name.strip(): LOADING[name]}))
    assert f"init_args.{name.strip()}" in refused(local(folder))


def test_settings_that_the_network_does_not_have(folder):
    configured(folder, lambda config: config["model"]["init_args"].update(surprise=1))
    assert "cannot be built of its settings" in refused(local(folder))
    configured(folder, lambda config: config["model"]["init_args"].update(backbone="no_such_network"))
    assert "cannot be built of its settings" in refused(local(folder))


def test_a_newer_format(folder):
    configured(folder, lambda config: config.update(format=2, suite_version="9.0"))
    assert "made by a newer suite ('9.0')" in refused(local(folder))


def tensors_of(folder):
    return load((folder / "model.safetensors").read_bytes())


def test_weights_that_are_not_finite(folder):
    for value in (torch.nan, torch.inf, -torch.inf):
        tensors = tensors_of(folder)
        name = next(name for name, each in tensors.items() if each.is_floating_point() and each.numel() > 3)
        tensors[name].view(-1)[2] = value
        reweighted(folder, save(tensors, notes_of()))
        assert f"{name} holds values that are not finite" in refused(local(folder))
        tensors[name].view(-1)[2] = 0
        reweighted(folder, save(tensors, notes_of()))


def test_weights_of_another_network(folder):
    whole = tensors_of(folder)
    first = next(name for name, each in whole.items() if each.ndim > 1)
    changes = {
        "is missing": {name: value for name, value in whole.items() if name != first},
        "has no place": {**whole, "more": torch.ones(2)},
        "the network has": {**whole, first: whole[first].double()},
        "the network has float32": {**whole, first: whole[first].flatten()},
    }
    for said, tensors in changes.items():
        reweighted(folder, save(tensors, notes_of()))
        assert said in refused(local(folder))
    reweighted(folder, save(whole, notes_of("dcal_other.market")))
    assert "its header" in refused(local(folder))
    reweighted(folder, b"\x00" * 40)
    assert "no safetensors file" in refused(local(folder))
    reweighted(folder, (1 << 40).to_bytes(8, "little") + b"{}")
    assert "no safetensors file" in refused(local(folder))


def test_files_that_are_too_large_are_not_read(folder):
    tampered(folder, **{"config.json": b" " * (2**20 + 1)})
    assert "at most 1,048,576 are read" in refused(local(folder))


def test_labels_that_do_not_fit(folder):
    configured(folder, lambda config: config.update(labels={"file": "labels.json", "count": 3}))
    assert "labels.json: config.json names it" in refused(local(folder))
    tampered(folder, **{"labels.json": b'["a", "b"]'})
    assert "no list of 3 texts" in refused(local(folder))
    tampered(folder, **{"labels.json": b'["a", "b", "c"]'})
    checkpoint_hub.load(local(folder))


@pytest.fixture
def signed(hub, tmp_path):
    """The hub, signed by a key that the user trusts."""
    line = make_key(tmp_path / "key.pem")
    write_index(hub, key=tmp_path / "key.pem")
    config_folder().mkdir(parents=True, exist_ok=True)
    (config_folder() / "trusted_keys").write_text(line)
    return tmp_path / "key.pem"


def test_signatures(hub, folder, signed):
    checkpoint_hub.load(f"hub:{NAME}")
    checkpoint_hub.load(NAME)
    (config_folder() / "trusted_keys").unlink()
    assert "unknown key" in refused(f"hub:{NAME}")
    checkpoint_hub.load(f"hub:{NAME}", allow_unsigned=True)
    before = (hub / "index.json").read_text()
    (hub / "index.json").write_text(before.replace('"task": "reid"', '"task": "fgvc"'))
    for name, options in ((f"hub:{NAME}", {"allow_unsigned": True}), (local(folder), {})):
        assert "the signature is wrong" in refused(name, **options)
    (hub / "index.json").write_text(before)
    found = json.loads((hub / "index.json.sig").read_text())
    for change in ({"signature": "0" * 128}, {"key_id": "0" * 16}, {"algorithm": "rsa"}, {"format": 2}, {"more": 1}):
        (hub / "index.json.sig").write_text(json.dumps({**found, **change}))
        refused(local(folder))
    (hub / "index.json.sig").unlink()
    assert "is not signed" in refused(f"hub:{NAME}")
    checkpoint_hub.load(f"hub:{NAME}", allow_unsigned=True)


def test_an_older_serial(hub, folder, signed):
    old = {name: (hub / name).read_bytes() for name in ("index.json", "index.json.sig")}
    checkpoint_hub.load(NAME)
    write_index(hub, key=signed, name="renamed")
    write_index(hub, key=signed, name=json.loads(old["index.json"])["name"])
    checkpoint_hub.load(NAME)
    for name, contents in old.items():
        (hub / name).write_bytes(contents)
    for name in (NAME, local(folder)):
        assert "serial 1 is older than 3" in refused(name)


def test_an_entry_that_the_index_does_not_list(hub, folder):
    text = (hub / "index.json").read_text()
    configured(folder, lambda config: config["model"]["init_args"].update(drop_path=0.1))
    (hub / "index.json").write_text(text)
    assert "index.json says" in refused(NAME, allow_unsigned=True)
    assert "index.json says" in refused(local(folder))
    index = json.loads(text)
    (hub / "index.json").write_text(json.dumps({**index, "entries": {}}))
    assert "does not list" in refused(NAME, allow_unsigned=True)


def test_verify_lists_every_fault(hub, folder):
    assert verify(local(folder), run=True).faults == []
    (folder / "LICENSE").write_text("none")
    (folder / "README.md").unlink()
    (folder / "extra").write_text("")
    found = verify(local(folder)).faults
    assert [fault.partition(":")[0] for fault in found] == ["README.md", "extra", "LICENSE"]


def test_a_sample_that_differs(folder):
    expected = json.loads((folder / "sample/expected.json").read_text())
    expected["feature"]["values"][3] += 0.1
    tampered(folder, **{"sample/expected.json": json.dumps(expected).encode()})
    assert verify(local(folder)).faults == []
    assert "feature differs by 0.1" in verify(local(folder), run=True).faults[0]


def test_the_package_pins_its_entries(folder, hub, monkeypatch, tmp_path):
    from vision_suite.hub import places
    from vision_suite.hub.sums import sha256

    shipped, pins = tmp_path / "entries", tmp_path / "pins"
    pins.mkdir()
    folder.parent.rename(shipped)
    monkeypatch.setattr(places, "SHIPPED", shipped)
    monkeypatch.setattr(places, "PINS", pins)
    assert "no such entry" in refused(f"hub:{NAME}")
    (pins / f"{NAME}.sha256").write_text(sha256((shipped / NAME / "SHA256SUMS").read_bytes()) + "\n")
    checkpoint_hub.load(f"hub:{NAME}")
    assert hub_tiny.NAME in places.shipped()
    configured(shipped / NAME, lambda config: config["model"]["init_args"].update(drop_path=0.1))
    assert "the package pins" in refused(f"hub:{NAME}")
