"""Watch-TAD: the rule of assembly on generated recordings, and the real set where it is prepared."""

import json

import numpy as np
import pytest

from vision_suite.datasets.prepare.base import Options
from vision_suite.datasets.prepare.fetch import data_dir
from vision_suite.datasets.tad import watch_tad
from vision_suite.datasets.tad.watch_tad_recipe import RECIPE
from vision_suite.errors import DataError


def fake_recordings():
    rng = np.random.default_rng(5)
    return {
        (subject, side, label): rng.standard_normal((int(rng.integers(950, 1300)), 6)) + label
        for subject in range(1, 11)
        for side in (0, 1)
        for label in range(7)
    }


def test_sequences_alternate_and_annotations_lie_where_the_signal_is():
    found = fake_recordings()
    made = watch_tad.assemble(found, range(1, 3), 0)
    assert len(made) == 2 * 2 * 12
    for name, subject, signal, actions in made:
        assert signal.shape == (1500, 6)
        assert name.startswith(f"subject{subject:02d}_")
        before = 0.0
        for action in actions:
            assert action.start >= before + 2.0, "at least 100 samples of background in between"
            assert 1.0 <= action.end - action.start <= 8.0
            label = watch_tad.CLASSES.index(action.label)
            inside = signal[round(action.start * 50) : round(action.end * 50)]
            assert inside.mean() == pytest.approx(label, abs=0.3)
            before = action.end
    again = watch_tad.assemble(found, range(1, 3), 0)
    assert all(np.array_equal(a[2], b[2]) for a, b in zip(made, again, strict=True))


def test_snippets_are_statistics_of_windows():
    signal = np.random.default_rng(0).standard_normal((40, 6))
    found = watch_tad.snippets(signal)
    assert found.shape == (7, 30)
    window = signal[8:24]
    np.testing.assert_allclose(found[2, :6], window.mean(0))
    np.testing.assert_allclose(found[2, 24:], (window**2).mean(0))
    np.testing.assert_allclose(found[2, 12:18], window.min(0))


def test_other_counts_stop_the_preparation(tmp_path, monkeypatch):
    monkeypatch.setenv("VISION_SUITE_DATA", str(tmp_path))
    monkeypatch.setattr(watch_tad, "fetch_members", lambda archive, source: {watch_tad.MEMBER: b""})
    monkeypatch.setattr(watch_tad, "recordings", lambda contents: fake_recordings())
    monkeypatch.setattr(watch_tad, "REPEATS", 2)
    with pytest.raises(DataError, match=r"sequences and actions .* instead of"):
        RECIPE.prepare(lambda *step: None, Options())
    assert not RECIPE.folder_of().exists(), "nothing half made is left"


def test_prepared_once_checked_and_mended(tmp_path, monkeypatch):
    monkeypatch.setenv("VISION_SUITE_DATA", str(tmp_path))
    calls = []
    monkeypatch.setattr(watch_tad, "fetch_members", lambda *_: calls.append(1) or {watch_tad.MEMBER: b""})
    monkeypatch.setattr(watch_tad, "recordings", lambda contents: fake_recordings())
    monkeypatch.setattr(watch_tad, "_check", lambda videos: None)
    folder = RECIPE.prepare(lambda *step: None, Options())
    assert RECIPE.prepare(lambda *step: None, Options()) == folder
    assert len(calls) == 1
    assert RECIPE.verify(folder, lambda *step: None).problems == ()
    manifest = json.loads((folder / "MANIFEST.json").read_text())
    assert manifest["counts"]["validation"]["sequences"] == 24
    (folder / "features/semantics").mkdir()
    (folder / "features/semantics/x.npy").write_text("")
    assert RECIPE.verify(folder, lambda *step: None).problems == ()
    victim = next(iter(sorted((folder / "features/raw").glob("*.npy"))))
    victim.write_bytes(b"")
    (folder / "features/raw/stranger.npy").write_text("")
    problems = RECIPE.verify(folder, lambda *step: None).problems
    assert [p.split(":")[0] for p in problems] == [f"features/raw/{victim.name}", "features/raw/stranger.npy"]
    victim.unlink()
    RECIPE.prepare(lambda *step: None, Options())
    assert len(calls) == 2


@pytest.mark.real_data
@pytest.mark.skipif(not (data_dir() / RECIPE.name).is_dir(), reason="prepare it: vision-suite data prepare watch-tad")
def test_the_real_set_has_the_published_counts():
    manifest = json.loads((data_dir() / RECIPE.name / "MANIFEST.json").read_text())
    counts = {name: (c["sequences"], c["actions"]) for name, c in manifest["counts"].items()}
    assert counts["testing"] == (72, 236)
    assert tuple(np.add(counts["training"], counts["validation"])) == (168, 543)
    database = json.loads((data_dir() / RECIPE.name / "annotations.json").read_text())["database"]
    lengths = [
        n["segment"][1] - n["segment"][0]
        for e in database.values()
        if e["subset"] == "testing"
        for n in e["annotations"]
    ]
    assert np.mean(lengths) == pytest.approx(4.76, abs=0.005)
