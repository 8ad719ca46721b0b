"""Which path serves what, one clear line for what does not fit, and falling back."""

import os
import re
import subprocess
import sys

import pytest
import torch
from long_tests import long
from reference import heads

from vision_suite.ops import _arguments, attention
from vision_suite.ops.attention import (
    choose,
    cross_attention,
    pair_attention,
    pointer_log_probs,
    portable_attention,
    status,
)

compiled = pytest.mark.skipif(not status()["cpu"]["loaded"], reason="the compiled operators are not built")
X = heads(5, 8)
MASK = torch.zeros(2, 5, dtype=torch.bool)


@pytest.mark.parametrize(
    ("arguments", "settings", "error", "text"),
    [
        ((X[0], X, X), {}, ValueError, "q must be [B, H, rows, D], got [2, 5, 8]"),
        ((X, X.double(), X), {}, TypeError, "k is torch.float64 but q is torch.float32"),
        ((X.int(), X, X), {}, TypeError, "q is torch.int32: give float32"),
        ((X, X[..., :6], X), {}, ValueError, "k has head width 6 but q has 8 (q [2, 2, 5, 8], k [2, 2, 5, 6])"),
        ((X, X[:1], X[:1]), {}, ValueError, "k has 1 images but q has 2"),
        ((X, X, X[:, :, :4]), {}, ValueError, "v must have the shape of k"),
        ((heads(5, 8, count=3), X, X), {}, ValueError, "the 2 heads of k do not divide the 3 of q"),
        ((heads(2, 257), heads(2, 257), heads(2, 257)), {}, ValueError, "head width 257 must lie between 1 and 256"),
        ((X, X, X), {"key_padding_mask": MASK[:1]}, ValueError, "key_padding_mask must be [B, N] = [2, 5]"),
        ((X, X, X), {"key_padding_mask": MASK.float()}, TypeError, "must be boolean, True where padded"),
        ((X, X, X), {"key_padding_mask": MASK, "key_bias": MASK.float()}, ValueError, "not both"),
        ((X, X, X), {"key_bias": torch.zeros(2, 5, requires_grad=True)}, ValueError, "key_bias is not differentiable"),
        ((X, X, X), {"key_bias": torch.zeros(2, 5).double()}, TypeError, "key_bias must be torch.float32"),
        ((X, X, X), {"partner": torch.tensor([0, 2])}, ValueError, "partner[1] = 2 must lie in [-1, 1]"),
        ((X, X, X), {"partner": torch.tensor([0, 1]).int()}, TypeError, "partner must be int64"),
        ((X, X, X), {"partner": torch.tensor([0])}, ValueError, "partner must be [B] = [2]"),
        ((X, X, X), {"partner": torch.tensor([0, 1]), "causal": True}, ValueError, "partner and causal exclude"),
        ((X, X, X), {"partner": torch.tensor([0, 1]), "need": ("mean_map",)}, ValueError, "exclude each other"),
        ((X, X, X), {"need": ("outt",)}, ValueError, "did you mean 'out'?"),
        ((X, X, X), {"need": ("extra",)}, ValueError, "give readout=[N, G]"),
        ((X, X, X), {"need": ("extra",), "readout": torch.zeros(5, 9)}, ValueError, "9 columns, at most 8"),
        ((X, X, X), {"need": ("extra",), "readout": torch.zeros(4, 2)}, ValueError, "readout must be [N, G]"),
        ((X, X, X), {"need": ("extra",), "readout": torch.zeros(5, 2).half()}, TypeError, "readout must be"),
        ((X, X, X), {"backend": "mps"}, ValueError, "backend='mps' is not known"),
        ((X, X, X), {"backend": "cuda"}, ValueError, "backend='cuda' but q is on cpu"),
        ((X, X, X), {"backend": "sdpa", "need": ("lse",)}, ValueError, "backend='sdpa' cannot serve need=['lse']"),
        ((X, X, X), {"dropout_p": 0.1, "need": ("lse",)}, ValueError, "is served by backend 'sdpa'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_one_line(arguments, settings, error, text):
    with pytest.raises(error, match=re.escape(text)) as caught:
        cross_attention(*arguments, **settings)
    assert "\n" not in str(caught.value)


def test_pairs_need_an_even_batch():
    with pytest.raises(ValueError, match="with B even"):
        pair_attention(X[:1], X[:1], X[:1])


@compiled
def test_the_path_follows_from_device_dtype_and_need(monkeypatch):
    monkeypatch.setattr(attention, "cpu_isa", lambda: "avx512")
    meta = X.to("meta")
    assert choose(X, frozenset({"out"}), False) == "cpu"
    assert choose(X, frozenset({"out", "lse"}), False) == "cpu"
    assert choose(X, frozenset({"out"}), True) == "cpu"
    assert choose(X.double(), frozenset({"out"}), False) == "sdpa"
    assert choose(X.double(), frozenset({"lse"}), False) == "cpu"
    assert choose(X, frozenset({"out"}), False, 0.1) == "sdpa"
    assert choose(meta, frozenset({"out"}), False) == "sdpa"
    with portable_attention():
        assert choose(X, frozenset({"out"}), False) == "sdpa"
        assert choose(X, frozenset({"lse"}), False) == "reference"
    assert choose(X, frozenset({"out"}), False) == "cpu"
    monkeypatch.setattr(attention, "cpu_isa", lambda: "avx2")  # where PyTorch's float32 kernels are no slower
    assert choose(X, frozenset({"out"}), False) == "sdpa"
    assert choose(X.bfloat16(), frozenset({"out"}), False) == "cpu"
    assert choose(X, frozenset({"out", "lse"}), False) == "cpu"


def test_dropout_is_pytorchs():
    torch.manual_seed(0)
    ones = torch.ones(1, 1, 400, 4)
    out = cross_attention(ones, ones, ones, dropout_p=0.5).out
    assert 0.8 < out.mean() < 1.2
    assert out.std() > 0


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("queries", [3, 5])
def test_pytorchs_attention_has_the_suites_semantics(causal, queries):
    q, k, v = heads(queries, 8, count=4, seed=1), heads(5, 8, seed=2), heads(5, 8, seed=3)
    bias = torch.randn(2, 5)
    bias[0] = -torch.inf
    bias[1, 2] = -torch.inf
    k[1, :, 2] = v[1, :, 2] = torch.nan
    readout = torch.randn(5, 3)
    more = {"key_bias": bias, "readout": readout, "causal": causal, "need": ("out", "extra")}
    found = cross_attention(q, k, v, backend="sdpa", **more)
    exact = cross_attention(q, k, v, backend="reference", **more)
    torch.testing.assert_close(found.out, exact.out, atol=2e-6, rtol=0)
    torch.testing.assert_close(found.extra, exact.extra, atol=2e-6, rtol=0)


def test_pointing_at_keys_or_at_nothing():
    queries, keys = torch.randn(2, 3, 8), torch.randn(2, 5, 8)
    mask = torch.zeros(2, 5, dtype=torch.bool)
    mask[0, 3:] = mask[1] = True
    found = pointer_log_probs(queries, keys, key_padding_mask=mask, scale=0.5)
    expected = (0.5 * queries[0] @ keys[0, :3].T).log_softmax(-1)
    torch.testing.assert_close(found[0, :, :3], expected)
    assert (found[0, :, 3:] == -torch.inf).all()
    assert (found[1] == -torch.inf).all()
    null = pointer_log_probs(queries, keys, key_padding_mask=mask, null_logit=0.25, scale=0.5)
    assert null.shape == (2, 3, 6)
    torch.testing.assert_close(null.exp().sum(-1), torch.ones(2, 3))
    assert not null[1, :, 5].any()
    with pytest.raises(ValueError, match=re.escape("queries must be [B, T, E]")):
        pointer_log_probs(queries, keys[:1], scale=1.0)


def run(code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


CODE = """
import torch, warnings
from vision_suite.ops.attention import cross_attention, status
x = torch.randn(2, 2, 9, 8)
for _ in range(2):
    result = cross_attention(x, x, x, need=("out", "lse"))
expected = torch.nn.functional.scaled_dot_product_attention(x, x, x)
torch.testing.assert_close(result.out, expected)
print(status()["cpu"]["loaded"], status()["cpu"]["reason"])
"""


def test_the_environment_switches_to_pytorch_alone():
    done = run(CODE, VISION_SUITE_OPS="reference")
    assert done.stdout.startswith("False switched off by VISION_SUITE_OPS=reference")
    assert "Warning" not in done.stderr


@pytest.mark.long
def test_a_missing_library_is_named_once(tmp_path):
    hide = f"import vision_suite.ops._load as l, pathlib; l.PACKAGE = l.SOURCES = pathlib.Path(r'{tmp_path}')\n"
    done = run(hide + CODE, XDG_CACHE_HOME=str(tmp_path))
    assert done.stdout.startswith("False not built; to build it: python -m vision_suite.ops build")
    assert done.stderr.count("attention runs on PyTorch alone (cpu)") == 1


@compiled
@pytest.mark.parametrize("damage", ["schema", *map(long, ["truncated", "garbage", "stale"])])
def test_a_library_that_does_not_fit_is_refused_with_the_mend(tmp_path, damage):
    content = open(status()["cpu"]["path"], "rb").read()
    if damage == "schema":
        content = content.replace(b'{"schema": 1,', b'{"schema": 9,')
    elif damage == "truncated":
        content = content[: len(content) * 3 // 4]
    elif damage == "garbage":
        content = b"not a library"
    (tmp_path / "_C.abi3.so").write_bytes(content)
    sources = tmp_path / "csrc"
    sources.mkdir()
    (sources / "other.cpp").write_text("// other sources")
    hide = f"import vision_suite.ops._load as l, pathlib; l.PACKAGE = l.SOURCES = pathlib.Path(r'{tmp_path}')\n"
    done = run(hide + CODE)
    assert "python -m vision_suite.ops build" in done.stderr
    assert done.stdout.startswith("True" if damage == "stale" else "False")
    expected = {"schema": "operators of version 9", "garbage": "holds no stamp", "stale": "built from other sources"}
    assert expected.get(damage, "attention operators (cpu) are not used") in done.stderr


def test_an_unknown_switch_is_named():
    done = subprocess.run(
        [sys.executable, "-c", CODE], env={**os.environ, "VISION_SUITE_OPS": "fast"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert "VISION_SUITE_OPS=fast is not known: give auto or reference" in done.stderr


def test_values_on_a_gpu_are_looked_at_on_demand(monkeypatch):
    monkeypatch.delenv("VISION_SUITE_OPS_CHECK", raising=False)
    assert [_arguments.values_are_checked(device) for device in ("cpu", "cuda", "meta")] == [True, False, False]
    monkeypatch.setenv("VISION_SUITE_OPS_CHECK", "1")
    assert [_arguments.values_are_checked(device) for device in ("cpu", "cuda", "meta")] == [True, True, False]
