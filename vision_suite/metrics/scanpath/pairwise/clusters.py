"""Mean-shift clusters of fixations, for the Sequence Score and FED at pixel level, and the file that keeps them.

As in the preprocessing of HAT, Gazeformer, IRL and GazeXplain, for any data set: the fixations of all observers of one
stimulus are clustered with several bandwidth factors, and the factor with the highest transition rate is kept (see
`cluster_stimulus`). Scoring needs the file alone, building it needs scikit-learn.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vision_suite.drafts import write_whole
from vision_suite.errors import ConfigError, DataError, MissingDependencyError
from vision_suite.metrics.scanpath.paths import as_fixations
from vision_suite.types.arrays import Floats, Ints

FORMAT, VERSION = "vision-suite scanpath clusters", 1
QUANTILE = 0.3
# Two lists are in circulation and give different clusters, so a file names its list.
FACTORS: dict[str, tuple[float, ...]] = {
    "current": (0.2, 0.5, 0.8, 1.0, 1.2, 1.5, 1.8),
    "older": (0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0),
}


@dataclass(frozen=True)
class Clusters:
    """Clusters of one stimulus.

    Attributes:
        centers: (K, 2) pixels; their order is arbitrary.
        bandwidth: Pixels, of the chosen factor; 0 if most points coincide.
        factor: Chosen factor.
        rates: Transition rate of each factor, in the order of the list.
        people: Number of clustered scanpaths.
        fixations: Number of clustered points.
    """

    centers: Floats
    bandwidth: float
    factor: float
    rates: tuple[float, ...]
    people: int
    fixations: int

    def string(self, xy: npt.ArrayLike) -> list[int]:
        """Index of the nearest centre of each point, at any distance (scikit-learn's ``predict``).

        Args:
            xy: (n, 2) or (n, 3) fixations, pixels.
        """
        labels: list[int] = _nearest(as_fixations(xy, "a scanpath")[:, :2], self.centers).tolist()
        return labels


@dataclass(frozen=True)
class ClusterFile:
    """Clusters of a data set's stimuli, by name.

    Attributes:
        stimuli: Clusters by stimulus; the name should hold the image and, where tasks differ, the task.
        factors: Name of the list of `FACTORS` that was used.
        quantile: Quantile of the bandwidth estimate.
        note: Description of the fixations: data set, part, first fixation included or not.
    """

    stimuli: dict[str, Clusters] = field(repr=False)
    factors: str
    quantile: float = QUANTILE
    note: str = ""

    def __getitem__(self, name: str) -> Clusters:
        if name not in self.stimuli:
            raise DataError(
                f"stimulus {name!r} is not among the {len(self.stimuli)} of the cluster file: build it anew"
            )
        return self.stimuli[name]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file as JSON; its folder is made."""
        data = {
            "format": FORMAT,
            "version": VERSION,
            "factors": self.factors,
            "factor_list": list(FACTORS[self.factors]),
            "quantile": self.quantile,
            "note": self.note,
            "stimuli": {
                name: {
                    "centers": clusters.centers.tolist(),
                    "bandwidth": clusters.bandwidth,
                    "factor": clusters.factor,
                    "rates": list(clusters.rates),
                    "people": clusters.people,
                    "fixations": clusters.fixations,
                }
                for name, clusters in sorted(self.stimuli.items())
            },
        }
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_whole(Path(path), json.dumps(data, indent=1) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ClusterFile:
        """Read a file written by `save`.

        Raises:
            DataError: The file is of another format or version, or malformed.
        """
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
            if data["format"] != FORMAT or data["version"] != VERSION:
                raise DataError(
                    f"{path}: format {data['format']!r} version {data['version']}, not {FORMAT!r} {VERSION}"
                )
            if tuple(data["factor_list"]) != FACTORS[data["factors"]]:
                raise DataError(f"{path}: factor_list is not that of {data['factors']!r}: build the file anew")
            stimuli = {name: _read(entry) for name, entry in data["stimuli"].items()}
            return cls(stimuli, data["factors"], float(data["quantile"]), str(data["note"]))
        except DataError:
            raise
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path} is no readable cluster file ({error}): build it with build_clusters") from error


def build_clusters(
    humans: Mapping[str, Sequence[npt.ArrayLike]],
    factors: str = "current",
    *,
    quantile: float = QUANTILE,
    note: str = "",
) -> ClusterFile:
    """Cluster file of a data set.

    Args:
        humans: Scanpaths [n, 2] or [n, 3] of all observers by stimulus, pixels; the first fixation stays in, as in the
            reference code.
        factors: List of bandwidth factors to try, ``current`` or ``older``, see `FACTORS`.
        quantile: Quantile of the distances from which the bandwidth is estimated.
        note: Description that is kept in the file.

    Raises:
        ConfigError: ``factors`` is unknown, or ``quantile`` out of range.
        DataError: A stimulus has no fixation.
        MissingDependencyError: scikit-learn is not installed.

    Example:
        >>> humans = {"desk.jpg, cup": [[(0, 0), (200, 0), (2, 0)], [(0, 2), (201, 1)], [(1, 1), (199, 0)]]}
        >>> build_clusters(humans)["desk.jpg, cup"].string([(3, 3), (180, 0), (0, 0)])
        [0, 1, 0]
    """
    if factors not in FACTORS:
        raise ConfigError(f"factors={factors!r} is unknown: use one of {', '.join(FACTORS)}")
    if not 0 < quantile <= 1:
        raise ConfigError(f"quantile={quantile} must be above 0 and at most 1")
    stimuli = {name: cluster_stimulus(paths, FACTORS[factors], quantile, name) for name, paths in humans.items()}
    return ClusterFile(stimuli, factors, quantile, note)


def cluster_stimulus(
    paths: Sequence[npt.ArrayLike], factors: Sequence[float], quantile: float = QUANTILE, name: str = "a stimulus"
) -> Clusters:
    """Clusters of one stimulus: mean shift at each bandwidth factor, the first with the highest transition rate kept.

    The rate is (transitions between clusters - transitions within one) / clusters.

    Args:
        paths: Scanpaths [n, 2] or [n, 3] of all observers, pixels.
        factors: Bandwidth factors.
        quantile: Quantile of the bandwidth estimate.
        name: Name of the stimulus in errors.

    Raises:
        DataError: There is no fixation.
        MissingDependencyError: scikit-learn is not installed.

    Example:
        >>> paths = [[(0, 0), (200, 0), (2, 0)], [(0, 2), (201, 1)], [(1, 1), (199, 0)]]
        >>> clusters = cluster_stimulus(paths, FACTORS["current"])
        >>> len(clusters.centers), clusters.fixations
        (2, 7)
    """
    try:
        from sklearn.cluster import MeanShift, estimate_bandwidth
    except ModuleNotFoundError as error:
        raise MissingDependencyError("building mean-shift clusters", "scikit-learn") from error
    points = [as_fixations(path, name)[:, :2] for path in paths]
    pooled = np.concatenate(points) if points else np.empty((0, 2))
    if not len(pooled):
        raise DataError(f"{name} has no fixation to cluster: leave it out")
    bandwidth = float(estimate_bandwidth(pooled, quantile=quantile))
    if bandwidth == 0:  # most points coincide; MeanShift's own default then makes each distinct point a cluster
        centers = np.unique(pooled, axis=0)
        rate = _transition_rate(points, centers)
        return Clusters(centers, 0.0, 1.0, (rate,) * len(factors), len(paths), len(pooled))
    found = [MeanShift(bandwidth=bandwidth * factor).fit(pooled).cluster_centers_ for factor in factors]
    rates = tuple(_transition_rate(points, centers) for centers in found)
    best = int(np.argmax(rates))
    return Clusters(found[best], bandwidth * factors[best], factors[best], rates, len(paths), len(pooled))


def _transition_rate(points: Sequence[Floats], centers: Floats) -> float:
    changes = [np.diff(_nearest(path, centers)) != 0 for path in points if len(path)]
    between = sum(int(change.sum()) for change in changes)
    within = sum(len(change) for change in changes) - between
    return (between - within) / len(centers)


def _nearest(points: Floats, centers: Floats) -> Ints:
    nearest: Ints = ((points[:, None] - centers) ** 2).sum(axis=2).argmin(axis=1)
    return nearest


def _read(entry: Mapping[str, Any]) -> Clusters:
    centers = np.array(entry["centers"], dtype=np.float64)
    if centers.ndim != 2 or centers.shape[1] != 2 or not len(centers) or not np.isfinite(centers).all():
        raise DataError(f"centers of shape {centers.shape} are not [K, 2] finite points: build the cluster file anew")
    rates = tuple(float(rate) for rate in entry["rates"])
    numbers = int(entry["people"]), int(entry["fixations"])
    return Clusters(centers, float(entry["bandwidth"]), float(entry["factor"]), rates, *numbers)
