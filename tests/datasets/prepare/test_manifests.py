"""Manifests of prepared sets that were changed by hand or damaged: one line, never a traceback."""

import json

import pytest

from vision_suite.datasets.emoji.plan import load_plan
from vision_suite.datasets.emoji.recipe import RECIPE as EMOJI
from vision_suite.datasets.prepare.base import Options, changed_files, load_manifest, missing_file
from vision_suite.datasets.scanpath.onestop_recipe import RECIPE as ONESTOP
from vision_suite.errors import DataError


def quiet(stage, done, total):
    pass


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '["rule_version", "sources", "checksums"]',
        '{"rule_version": 1, "sources": [], "checksums": []}',
        '{"rule_version": 1, "sources": [], "checksums": {"a.npy": 3}}',
        '{"rule_version": 1, "rule_version": 2, "sources": [], "checksums": {}}',
    ],
    ids=["deep", "list", "checksums a list", "checksum a number", "key twice"],
)
def test_a_manifest_of_another_form_is_one_line(tmp_path, text):
    (tmp_path / "MANIFEST.json").write_text(text)
    with pytest.raises(DataError, match="delete the folder and prepare it again"):
        load_manifest(tmp_path, {"rule_version", "sources", "checksums"}, "vision-suite data prepare x")
    assert "cannot be read" in ONESTOP.why_not_ready(tmp_path)
    assert Options().workers == 1


@pytest.mark.parametrize("name", ["x" * 10**6, "a\0b", "\ud800", "../" * 2000 + "x"])
def test_a_name_that_no_file_has_is_a_missing_file(tmp_path, name):
    manifest = {"rule_version": 1, "sources": [], "checksums": {name: "0" * 64}}
    (line,) = changed_files(tmp_path, manifest, quiet)
    assert line.endswith(": missing or changed")
    assert len(line) < 1000
    line.encode()
    assert missing_file(tmp_path, manifest).endswith(" is missing")


@pytest.mark.parametrize(
    "change",
    [
        {"identities": []},
        {"tables": ["names.csv"]},
        {"parts": {"a": {"checksums": {"query": 3}}}},
        {"parts": {"a": {"checksums": {"query": {"files": 1}}}}},
        {"parts": {"a": {"checksums": {"x" * 300: {"files": 1, "sha256": ""}}}}},
        {"parts": {"a\0": {"checksums": {}}}},
    ],
)
def test_a_manifest_of_parts_of_another_form_is_one_line(tmp_path, change):
    plan = load_plan()
    identities = {"sha256": plan.expected.sha256}
    whole = {
        "rule_version": plan.rule_version, "sources": plan.sources(), "identities": identities, "tables": {},
        "parts": {},
    }  # fmt: skip
    (tmp_path / "MANIFEST.json").write_text(json.dumps(whole))
    assert EMOJI.verify(tmp_path, quiet).problems == ()
    (tmp_path / "MANIFEST.json").write_text(json.dumps({**whole, **change}))
    with pytest.raises(DataError, match="delete the folder and prepare it again"):
        EMOJI.verify(tmp_path, quiet)
    assert "cannot be read" in EMOJI.why_not_ready(tmp_path)


def test_the_manifest_of_a_part_may_hold_any_bytes(tmp_path):
    plan = load_plan()
    whole = {
        "rule_version": plan.rule_version, "sources": plan.sources(), "tables": {},
        "identities": {"sha256": plan.expected.sha256}, "parts": {"a": {"checksums": {}}},
    }  # fmt: skip
    (tmp_path / "MANIFEST.json").write_text(json.dumps(whole))
    (tmp_path / "a").mkdir()
    (tmp_path / "a/MANIFEST.json").write_bytes(b"\xff\xfe")
    assert EMOJI.verify(tmp_path, quiet).problems == (
        "a/MANIFEST.json: missing or different from what MANIFEST.json says",
    )
