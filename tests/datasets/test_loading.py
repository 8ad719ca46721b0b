"""Worker processes of a loader."""

import pytest

from vision_suite.datasets import loading


@pytest.mark.parametrize(
    ("requested", "cache", "cores", "expected"),
    [(None, "memory", 4, 0), (None, "none", 4, 4), (None, "none", 64, 8), (0, "none", 4, 0), (3, "memory", 4, 3)],
)
def test_workers_as_requested_or_by_the_cache(monkeypatch, requested, cache, cores, expected):
    monkeypatch.setattr(loading, "available_cores", lambda: cores)
    assert loading.worker_count(requested, cache) == expected
