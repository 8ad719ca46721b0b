"""Formats of the hub to the byte: sums, configuration, index, signature, keys."""

import json
import os
import stat
import subprocess

import hub_tiny
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from vision_suite.errors import CheckpointError, ConfigError
from vision_suite.hub.index import canonical, read_index, signed_bytes
from vision_suite.hub.schema import NAME, faults_of
from vision_suite.hub.signature import check_signature, config_folder, key_id, make_key, read_key, sign
from vision_suite.hub.sums import read_sums, sha256, write_sums
from vision_suite.hub.text import read_json, write_json
from vision_suite.hub.writing import write_index

# RFC 8032, section 7.1, test 1.
SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
INDEX = {
    "created": "2026-01-01T00:00:00Z",
    "entries": {"dcal_micro.emoji_a": {"bytes": 1, "method": "dcal", "sums_sha256": "0" * 64, "task": "reid"}},
    "format": 1,
    "name": "demo",
    "serial": 1,
}
DIGEST = "64ffd9a4e224083d0b8721dbe8622a7238e48d571bd3241ec9b1086ea119319a"
SIGNATURE = (
    "d729631c2a066c9fad75b45796bb50baab01ae51af1234474016476b1532af9e4b5c51ab492a1d1535cfc356b75aa084cd035184ca1a9e52"
    "65b8eb522a32c105"
)


def test_the_oracle_of_the_signature():
    data = signed_bytes(INDEX)
    assert data.startswith(b"vision-suite-hub-index-v1\n")
    assert (len(canonical(INDEX)), sha256(canonical(INDEX))) == (226, DIGEST)
    made = sign(INDEX, Ed25519PrivateKey.from_private_bytes(SEED))
    assert made["key_id"] == "21fe31dfa154a261"
    assert made["signature"] == SIGNATURE
    assert set(made) == {"format", "algorithm", "key_id", "public_key", "signature"}


def test_sha256sum_reads_the_sums_of_an_entry(folder):
    done = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    listed = {line.rpartition(":")[0] for line in done.stdout.splitlines()}
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert listed == present - {"SHA256SUMS"}


def test_sums_are_sorted_by_bytes_and_read_back():
    files = {"b": b"1", "B": b"2", "sample/x": b"3", "é": b"4", "sample.txt": b"5"}
    text = write_sums(files)
    names = [line[66:] for line in text.decode().splitlines()]
    assert names == sorted(files, key=str.encode) == ["B", "b", "sample.txt", "sample/x", "é"]
    assert read_sums(text) == ({name: sha256(files[name]) for name in names}, [])


ZERO = "0" * 64


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{ZERO}  a/../../b\n", "leads out"),
        (f"{ZERO}  ..\n", "leads out"),
        (f"{ZERO}  /etc/passwd\n", "not relative"),
        (f"{ZERO}  ./a\n", "plain path"),
        (f"{ZERO}  a//b\n", "plain path"),
        (f"{ZERO}  a\\b\n", "letter"),
        (f"{ZERO}  a\rb\n", "letter"),
        (f"{ZERO} a\n", "two spaces"),
        (f"{ZERO[:-1]}  a\n", "two spaces"),
        (f"{ZERO.upper()[:-1]}G  a\n", "two spaces"),
        (f"{ZERO}  a\n{ZERO}  a\n", "second time"),
        (f"{ZERO}  b\n{ZERO}  a\n", "not sorted"),
        (f"{ZERO}  a", "cut off"),
        (f"{ZERO}  SHA256SUMS\n", "sums themselves"),
    ],
)
def test_sums_that_are_refused(text, said):
    _, faults = read_sums(text.encode())
    assert any(said in fault for fault in faults), faults
    assert read_sums(b"\xff\xfe")[1]


@pytest.mark.parametrize("text", [b'{"a": NaN}', b'{"a": 1, "a": 2}', b"[" * 50 + b"]" * 50, b"\xff", b"1e999", b"{"])
def test_json_that_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        read_json(text)


def test_names():
    for good in ("dcal_micro.emoji_a", "dcal.emoji", "csa_bmn.watch_tad.seed_1", "a1_b2.c"):
        assert NAME.fullmatch(good), good
    for bad in ("dcal", "Dcal.a", "dcal-micro.a", "_a.b", "a_.b", "a.b.c.d", "a.", "../a.b", "a.b/c", "a..b"):
        assert not NAME.fullmatch(bad), bad


def test_the_configuration_follows_its_schema(folder):
    text = (folder / "config.json").read_text(encoding="utf-8")
    config = json.loads(text)
    assert text == write_json(config) == json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    assert faults_of(config, hub_tiny.NAME) == []
    assert config["weights"]["sha256"] == sha256((folder / "model.safetensors").read_bytes())
    header = (folder / "model.safetensors").read_bytes()
    size = int.from_bytes(header[:8], "little")
    notes = json.loads(header[8 : 8 + size])["__metadata__"]
    assert notes == {"format": "pt", "vision_suite.entry": "1", "vision_suite.name": hub_tiny.NAME}


def changed(config, path, value):
    *parents, last = path.split("/")
    for name in parents:
        config = config[name]
    if value is Ellipsis:
        del config[last]
    else:
        config[last] = value


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("format", 2, "newer suite"),
        ("format", True, "format"),
        ("format", 0, "format"),
        ("name", "dcal_other.market", "folder"),
        ("task", "chess", "task"),
        ("created", "yesterday", "created"),
        ("license", "", "license"),
        ("license", ..., "license is missing"),
        ("surprise", 1, "surprise is unknown"),
        ("model/init_args", [], "init_args"),
        ("model/more", 1, "more is unknown"),
        ("preprocess/mean", [0.5], "mean"),
        ("preprocess/std", [0.5, 0.5, 0], "std"),
        ("preprocess/resize", "stretch", "resize"),
        ("preprocess/extra", 1, "extra is unknown"),
        ("preprocess/size", ..., "size is missing"),
        ("weights/bytes", "7", "bytes"),
        ("weights/ema", 1, "ema"),
        ("labels", {"file": "../x", "count": 1}, "labels"),
        ("metrics", [{"name": "mAP"}], "metrics"),
        ("attribution", [{"what": "x", "by": "", "license": "", "source": ""}], "attribution"),
        ("base", {"source": "/home/me", "sha256": "0" * 64}, "base"),
        ("training/commit", "abc", "commit"),
    ],
)
def test_configurations_that_are_refused(folder, path, value, said):
    config = json.loads((folder / "config.json").read_text())
    changed(config, path, value)
    faults = faults_of(config, hub_tiny.NAME)
    assert faults
    assert said in faults[0], faults
    assert "\n" not in faults[0]


def test_keys_and_trust(hub, tmp_path):
    path = tmp_path / "keys/mine.pem"
    line = make_key(path)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert path.read_text().startswith("-----BEGIN PRIVATE KEY-----")
    word, public = line.split()
    assert (word, len(public)) == (key_id(bytes.fromhex(public)), 64)
    assert check_signature(hub, read_index(hub)) == ("absent", "")
    index = write_index(hub, key=path)
    assert check_signature(hub, index) == ("unknown", word)
    config_folder().mkdir(parents=True, exist_ok=True)
    (config_folder() / "trusted_keys").write_text(f"# of a colleague\n{line} a colleague\n")
    assert check_signature(hub, index) == ("trusted", word)
    with pytest.raises(ConfigError, match="never overwritten"):
        make_key(path)
    with pytest.raises(ConfigError, match="never lies in a hub"):
        make_key(hub / "deep/key.pem")
    with pytest.raises(ConfigError, match="signed"):
        write_index(hub)
    with pytest.raises(ConfigError, match="no private key"):
        read_key(hub / "index.json")
    (config_folder() / "trusted_keys").write_text("0123456789abcdef " + public)
    with pytest.raises(ConfigError, match="line 1"):
        check_signature(hub, index)


def test_the_index_is_made_of_the_entries(hub, folder):
    index = read_index(hub)
    listed = index["entries"][hub_tiny.NAME]
    assert listed["sums_sha256"] == sha256((folder / "SHA256SUMS").read_bytes())
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.name != "SHA256SUMS"]
    assert listed["bytes"] == sum(sizes)
    assert (listed["method"], listed["task"], index["serial"]) == ("dcal", "reid", 1)
    assert write_index(hub)["serial"] == 1  # nothing changed
    assert write_index(hub, name="ours")["serial"] == 2


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2}, {"serial": -1}, {"serial": 1.0}, {"more": 1}, {"name": "a/b"}, {"created": 5},
        {"entries": {"../x": INDEX["entries"]["dcal_micro.emoji_a"]}}, {"entries": {"a.b": {}}},
    ],
)  # fmt: skip
def test_an_index_that_is_refused(hub, change):
    (hub / "index.json").write_text(json.dumps({**INDEX, **change}))
    with pytest.raises(CheckpointError, match=r"index.json"):
        read_index(hub)
