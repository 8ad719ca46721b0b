"""Entries made to break what reads them, their sums right: each is refused in one line, soon, in little memory."""

import json
import os
import time

import pytest
import torch
from hub_tiny import NAME, configured, local, tampered
from safetensors.torch import save

from vision_suite import hub as checkpoint_hub
from vision_suite.cli.trainer.hub_entry import contents_of
from vision_suite.errors import CheckpointError
from vision_suite.hub import base
from vision_suite.hub.loading import open_entry
from vision_suite.hub.schema import BASE
from vision_suite.hub.text import read_json
from vision_suite.hub.verification import verify

HUGE = 10**400


def refused(action):
    """The line with which something is refused."""
    with pytest.raises(CheckpointError) as caught:
        action()
    line = str(caught.value)
    assert line.isprintable()
    return line


def written(folder, name, text):
    """Write a text as a file of the entry, its sums right."""
    tampered(folder, **{name: text.encode("utf-8", "surrogatepass")})


def figure(value):
    return [{"name": "m", "value": value, "std": None, "seeds": [1], "split": "", "data": "", "protocol": {}}]


def test_numbers_and_texts_that_no_json_of_ours_has(folder):
    for path, value in (("metrics", figure(HUGE)), ("weights", {"bytes": HUGE}), ("labels", [HUGE])):
        config = json.loads((folder / "config.json").read_text())
        written(folder, "config.json", json.dumps({**config, path: value}))
        assert "is too large" in refused(lambda: checkpoint_hub.load(local(folder)))
        written(folder, "config.json", json.dumps(config))
    configured(folder, lambda config: config.update(metrics=figure(1.5e300)))
    assert "not a finite number" in refused(lambda: checkpoint_hub.load(local(folder)))
    for contents in (b'"\\ud800"', b'{"\\udfff": 1}', b"[1e999]", b"9" * 5000, b"-9223372036854775809"):
        with pytest.raises(ValueError, match=r"too large|surrogate"):
            read_json(contents)
    assert read_json(b'["\\ud83d\\ude00", 9223372036854775807]') == ["😀", 2**63 - 1]


@pytest.mark.parametrize("text", ["\x1b[31m", "\x9b31m", "\x00", "\u202e", "\x7f"])
def test_texts_that_a_terminal_obeys(folder, text):
    configured(folder, lambda config: config["training"].update(hardware=f"GPU{text}"))
    assert "training: hardware is" in refused(lambda: checkpoint_hub.load(local(folder)))
    configured(folder, lambda config: config["training"].update(hardware="GPU", command=["a\n\tb", "ä\u00a0😀"]))
    checkpoint_hub.load(local(folder))


def test_a_key_twice_among_many_is_found_at_once(folder):
    keys = ",".join(f'"{number:x}":0' for number in range(60_000))
    written(folder, "config.json", f'{{{keys},"zz":0,"zz":0}}')
    start = time.process_time()
    assert "'zz' is there twice" in refused(lambda: checkpoint_hub.load(local(folder)))
    assert time.process_time() - start < 5


def test_names_of_files_in_one_printable_line(folder):
    (folder / "a\nb\x1b[31m").write_text("x")
    open(os.fsencode(str(folder)) + b"/\xff\xfe", "w").close()
    assert "a?b?[31m: it is not in SHA256SUMS" in refused(lambda: checkpoint_hub.load(local(folder)))
    faults = verify(local(folder)).faults
    assert len(faults) == 2
    assert all(fault.isprintable() and fault.encode() for fault in faults)


def test_weights_are_not_read_before_their_size_was_compared(folder):
    path = folder / "model.safetensors"
    before = path.stat().st_size
    os.truncate(path, 1 << 42)
    line = refused(lambda: checkpoint_hub.load(local(folder)))
    assert f"model.safetensors: 4,398,046,511,104 bytes, config.json says {before:,}" in line
    config = json.loads((folder / "config.json").read_text())
    config["weights"]["bytes"] = 1 << 42
    os.truncate(path, before)
    written(folder, "config.json", json.dumps(config))
    os.truncate(path, 1 << 42)
    assert "more than the memory of this machine has" in refused(lambda: checkpoint_hub.load(local(folder)))


def test_other_files_are_bounded_together(folder, monkeypatch):
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    left = size - (folder / "model.safetensors").stat().st_size - (folder / "SHA256SUMS").stat().st_size
    monkeypatch.setattr("vision_suite.hub.files.LARGEST_ALL", left)
    checkpoint_hub.load(local(folder))
    monkeypatch.setattr("vision_suite.hub.files.LARGEST_ALL", left - 1)
    assert "of all files are read" in refused(lambda: checkpoint_hub.load(local(folder)))


def test_settings_that_ask_for_more_than_the_weights_fill(folder):
    init_args = json.loads((folder / "config.json").read_text())["model"]["init_args"]
    small = init_args["backbone_args"]
    start = time.process_time()
    for change, said in (
        ({"backbone_args": {**small, "depth": 3000}}, "parameters, which the weights lack"),
        ({"image_size": [1_000_000, 1_000_000]}, "ask for a tensor of"),
        ({"num_classes": 10**7, "backbone_args": {**small, "embed_dim": 3000}}, "ask for a tensor of"),
    ):
        configured(folder, lambda config, change=change: config["model"]["init_args"].update({**init_args, **change}))
        assert said in refused(lambda: checkpoint_hub.load(local(folder)))
        assert said in verify(local(folder)).faults[0]
    assert time.process_time() - start < 30


def test_samples_that_break_what_computes_them(folder):
    expected = (folder / "sample/expected.json").read_bytes()
    (folder / "sample/input.png").rename(folder / "sample/keep.png")
    for shape in ((1, 5, 7, 7), (2,), (0, 3, 32, 32)):
        tampered(folder, **{"sample/input.safetensors": save({"image": torch.ones(shape)})})
        (fault,) = verify(local(folder), run=True).faults
        assert "sample" in fault
    (folder / "sample/keep.png").rename(folder / "sample/input.png")
    for contents in (
        expected.replace(b'"values"', b'"valves"'), b"[]", b'{"feature": 3}', b"\x00",
        b'{"feature": {"shape": [1, 24], "values": [' + b", ".join([b"1" + b"0" * 400] * 24) + b"]}}",
    ):  # fmt: skip
        tampered(folder, **{"sample/expected.json": contents})
        assert verify(local(folder), run=True).faults


@pytest.mark.parametrize(
    "source",
    ["package:..", "package:.", "package:a/b", "package:/etc", "hf-hub:../evil", "hf-hub:a/..", "hf-hub:.a/b",
     "hf-hub:a/b@../c", "hf-hub:a", "hf-hub:a/b/c", "package:a\n"],
)  # fmt: skip
def test_bases_that_are_places_of_this_machine(folder, source):
    assert BASE.fullmatch(source) is None
    configured(folder, lambda config: config.update(base={"source": source, "sha256": "0" * 64}))
    assert "base" in refused(lambda: checkpoint_hub.load(local(folder)))


def test_a_base_for_a_network_without_a_decoder(folder):
    configured(folder, lambda config: config.update(base={"source": "package:smollm2", "sha256": "0" * 64}))
    assert "its network has no decoder" in refused(lambda: checkpoint_hub.load(local(folder)))
    assert "its network has no decoder" in verify(local(folder)).faults[0]


def test_a_base_is_what_its_source_means(tmp_path, monkeypatch):
    """No folder of the working folder is taken for it, and the revision is asked for."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VISION_SUITE_DATA", str(tmp_path / "data"))
    for name in ("smollm2", "org/name", "data/kept"):
        (tmp_path / name).mkdir(parents=True)
    read, asked = [], []
    monkeypatch.setattr("vision_suite.layers.decoders.load_decoder", lambda source, dtype: read.append(source))
    assert "vision-suite data prepare smollm2" in refused(lambda: base._decoder("package:smollm2", torch.float32))
    base._decoder("package:kept", torch.float32)

    def snapshot_download(name, **chosen):
        asked.append((name, chosen["revision"], chosen["local_files_only"]))
        return str(tmp_path / "snapshot")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    base._decoder("hf-hub:org/name@v1", torch.float32)
    assert read == [tmp_path / "data/kept", tmp_path / "snapshot"]
    assert asked == [("org/name", "v1", True)]


def evaluated(folder, change):
    """Contents of a checkpoint of the entry after a change of its evaluation settings, whose sums are right."""
    found = json.loads((folder / "evaluation.json").read_text())
    change(found)
    kept = (folder / "evaluation.json").read_bytes()
    written(folder, "evaluation.json", json.dumps(found))
    try:
        return contents_of(open_entry(local(folder)))
    finally:
        tampered(folder, **{"evaluation.json": kept})


@pytest.mark.parametrize("place", ["preprocessing", "facts", "operating_point"])
def test_an_evaluation_names_no_file_and_no_repository(folder, place):
    def part(found):
        return found[place] if place == "operating_point" else found["data"][place]

    named = {"tokenizer": "words", "path": "x", "checkpoint": "x", "weights": "default", "hf_hub_id": "x"}
    texts = {"colour": "../x", "template": "/etc/passwd", "join": "hf-hub:a/b"} if place == "preprocessing" else {}
    for name, value in {**named, **texts}.items():
        for given in (value, [value], {name: value}):
            line = refused(lambda n=name, g=given: evaluated(folder, lambda found: part(found).update({n: g})))
            assert f"{place}.{name}" in line
    evaluated(folder, lambda found: part(found).update(labels=["car/truck", "N/A"] if place == "facts" else [1]))


def test_the_extractor_of_features_keeps_its_checksum_and_no_place(folder):
    noted = {"kind": "video", "backbone": "timm:resnet10t", "weights": "random:0", "checksum": "ab", "stride": 2}
    lost = {"weights": "/home/me/x.pt", "checkpoint": "/home/me/x.ckpt", "source": "/etc/passwd"}
    sampling = {"sampling": {"fps": 2, "extractor": {**noted}}}
    contents = evaluated(folder, lambda found: found["data"]["preprocessing"].update(sampling))
    assert contents["ReIDData"]["preprocessing"]["sampling"] == sampling["sampling"]
    sampling["sampling"]["extractor"] = {**noted, **lost}
    contents = evaluated(folder, lambda found: found["data"]["preprocessing"].update(sampling))
    kept = {name: value for name, value in noted.items() if name != "weights"}
    assert contents["ReIDData"]["preprocessing"]["sampling"]["extractor"] == kept


def test_evaluations_that_do_not_fit(folder):
    def settings(**given):
        return lambda found: found["settings"]["backbone_args"].update(given)

    for change, said in (
        (settings(num_heads=0), "does not fit LitDCAL: ZeroDivisionError"),
        (settings(depth=3000), "parameters, which the weights lack"),
        (lambda found: found["settings"].update(zzz=1), "does not fit LitDCAL"),
        (lambda found: found["data"].update({"class": "os"}), "'os' is no class of data"),
        (lambda found: found["data"].update({"class": "__class__"}), "is no class of data"),
        (lambda found: found.update(step=HUGE), "is too large"),
    ):
        assert said in refused(lambda change=change: evaluated(folder, change))
    assert evaluated(folder, lambda found: None)["global_step"] >= 0
    assert NAME in local(folder)
