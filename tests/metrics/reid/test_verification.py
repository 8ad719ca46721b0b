"""TPR at fixed FPR against scikit-learn's ROC curve."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from vision_suite.errors import ConfigError, DataError
from vision_suite.metrics.reid import ranking, verification


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    levels=st.sampled_from([3, 20, 10**6]),
    rate=st.floats(0.001, 0.9),
    rows=st.sampled_from([1, 60, 1 << 24]),
)
def test_equals_the_roc_curve(seed, levels, rate, rows):
    r = np.random.RandomState(seed)
    qp, gp, qc, gc = r.randint(0, 5, 12), r.randint(-1, 5, 30), r.randint(0, 3, 12), r.randint(0, 3, 30)
    distance = r.randint(0, levels, (12, 30)).astype(np.float64)
    kept = (gp[None] != -1) & ~((qp[:, None] == gp[None]) & (qc[:, None] == gc[None]))
    match = (qp[:, None] == gp[None])[kept]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "BLOCK_ELEMENTS", rows)
        found = verification(distance, qp, gp, qc, gc, fpr=(rate, rate / 2))
    fpr, tpr, _ = roc_curve(match, -distance[kept], drop_intermediate=False)
    for each in (rate, rate / 2):
        assert found[f"tpr_at_fpr_{each:g}"] == pytest.approx(tpr[fpr <= each + 1e-12].max(), abs=1e-12)


def test_rounded_product_still_allows_the_whole_number():
    # 0.29 x 100 is 28.999... in binary: the 29 closest negatives (0 to 28) may be accepted.
    distance = np.concatenate([np.arange(100.0), [28.5, 29.5]])[None]
    found = verification(distance, [1], [2] * 100 + [1] * 2, [0], [1] * 102, fpr=(0.29,))
    assert found == {"tpr_at_fpr_0.29": 0.5}


def test_errors():
    with pytest.raises(ConfigError, match="fpr"):
        verification([[0.1, 0.2]], [1], [1, 2], [0], [1, 1], fpr=())
    with pytest.raises(DataError, match="no negative pair"):
        verification([[0.1, 0.2]], [1], [1, 1], [0], [1, 1])
    with pytest.raises(DataError, match="no query is valid"):
        verification([[0.1, 0.2]], [1], [2, 3], [0], [1, 1])
    with pytest.raises(DataError, match="is nan"):
        verification([[0.1, np.nan]], [1], [1, 2], [0], [1, 1])
