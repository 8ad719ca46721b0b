"""Training killed with SIGKILL at random moments, continued, and equal to an uninterrupted run in every bit."""

import os
import signal

import pytest
from endurance import equal, moments, prepare, result, train

SEED = int(os.environ.get("SEED", "0"))
KILLS = 20


@pytest.mark.long
@pytest.mark.parametrize("method", ["dcal", "csa"])
def test_a_killed_run_goes_on_exactly(tmp_path, method):
    whole = tmp_path / "whole"
    whole.mkdir()
    prepare(whole, method)
    fit = ["fit", "-c", "method.yaml"]
    code, seconds = train(whole, fit)
    assert code == 0, (whole / "log.txt").read_text()
    expected = result(whole / "runs/method/version_0")
    killed_while_training = 0
    for number, moment in enumerate(moments(KILLS, seconds, SEED)):
        place = tmp_path / f"kill{number}"
        place.mkdir()
        prepare(place, method)
        told = f"SEED={SEED}, kill {number} after {moment:.3f} of {seconds:.1f} s"
        code, _ = train(place, fit, kill_after=moment)
        assert code in (0, -signal.SIGKILL), told
        run = place / "runs/method/version_0"
        if (run / "checkpoints/last.ckpt").exists():
            killed_while_training += code != 0
            code, _ = train(place, ["fit", "--ckpt_path=last"])
        else:
            # Nothing was trained that could be lost: the command says so, and a new run starts.
            assert train(place, ["fit", "-c", "method.yaml", "--ckpt_path=last"])[0] == 2, told
            code, _ = train(place, fit)
            run = max((place / "runs/method").iterdir(), key=lambda path: path.stat().st_mtime_ns)
        assert code == 0, f"{told}\n{(place / 'log.txt').read_text()}"
        found = result(run)
        for name, value in expected.items():
            assert equal(found[name], value), f"{told}: {name}"
        assert not list(run.rglob("*.draft")), told
    assert killed_while_training >= KILLS // 4, "most kills came before the first checkpoint"
