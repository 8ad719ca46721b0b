"""Re-ID retrieval as a torchmetrics metric: features in, CMC, mAP and mINP out, the same on any number of processes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torchmetrics import Metric

from vision_suite.errors import ConfigError, DataError
from vision_suite.metrics.feature_warnings import feature_warnings
from vision_suite.metrics.gather import gather_rows
from vision_suite.metrics.reid.distances import cosine_blocks, inverse_norms
from vision_suite.metrics.reid.expansion import Expansion, expand_queries
from vision_suite.metrics.reid.protocols import (
    PROTOCOLS,
    EvaluatedPictures,
    Protocol,
    RetrievalTest,
    protocol_facts,
    retrieval_tests,
)
from vision_suite.metrics.reid.ranking import (
    AP_CONVENTIONS,
    APConvention,
    Block,
    QueryScores,
    RetrievalScores,
    row_blocks,
    score,
    summarise,
)
from vision_suite.metrics.reid.reranking import SQUARED_EUCLIDEAN, Reranker, check_rerank
from vision_suite.metrics.reid.roc import PairTally, check_rates
from vision_suite.metrics.reid.scoring import uniform_draws
from vision_suite.metrics.reid.truth import RetrievalTruth
from vision_suite.types import RetrievalReport
from vision_suite.types.arrays import Floats, Ints

RANKS = (1, 5, 10, 20)
RERANK = "rerank"


@dataclass(frozen=True)
class _Result:
    """Result of `ReIDMetric.compute` that `ReIDMetric.report` reads: no features, which are large."""

    metrics: dict[str, float]
    cmc: dict[str, Floats]
    protocol: dict[str, object]
    truth: RetrievalTruth
    query_index: Ints
    gallery_index: Ints
    scores: QueryScores
    roc: dict[str, Floats]


class ReIDMetric(Metric):
    """CMC, mAP and mINP of L2-normalised features by exact cosine distance, optionally re-ranked as well.

    Pictures that arrive twice (a distributed sampler pads with duplicates) are counted once, by their index. Distances
    are computed in float32 and in blocks of queries whose bounds depend on the gallery size alone; after a gather each
    process scores every n-th block, so one and two processes give the same bits. Memory: the gathered features twice,
    and three times while they are gathered, plus at most 64 MiB of distances.

    Queries are those with role ``QUERY``; gallery pictures with identity -1 (junk) are dropped before anything else.
    With ``rerank`` the plain scores stay and ``rerank/mAP`` ... (fused feature only) are added.

    Args:
        branches: Column range [start, stop) of each branch's own feature in the fused one; scored as ``<branch>/mAP``.
        protocol: "market" (also Duke, MSMT17, VeRi-776, CUHK03-NP and cross-domain tests), "multi_query",
            "cuhk03" (classic single-gallery-shot) or "vehicleid".
        ap: Average precision: "rect" (rectangular, nearly all papers) or "trapz" (the Market-1501 MATLAB code).
        max_rank: Length of the CMC curve.
        rerank: Also score k-reciprocal re-ranking.
        k1: Re-ranking: neighbours of the reciprocal test.
        k2: Re-ranking: neighbours of the query expansion.
        lambda_: Re-ranking: weight of the original distance.
        draws: Random galleries of "cuhk03" and "vehicleid".
        seed: Seed of these galleries.
        top_k: Length of the ranked lists in the report.
        fpr: False positive rates at which the true positive rate over all pairs is reported as ``tpr_at_fpr_<rate>``;
            the report then has the ROC curve.
        expansion: Query expansion, for the fused feature, each branch and re-ranking.

    Attributes:
        thresholds: Distances chosen on another split, whose rates are scored as ``decision/...`` with ``fpr``; None
            without them.

    Raises:
        ConfigError: A setting is unknown or out of range.

    Example:
        >>> metric, role = ReIDMetric(max_rank=1), torch.tensor([1, 0, 0])  # a query, and two of the gallery
        >>> feature = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.8, 0.6]])
        >>> metric.update(feature, torch.tensor([7, 7, 8]), torch.tensor([0, 1, 1]), role, torch.arange(3))
        >>> metric.compute()
        {'mAP': tensor(0.5000), 'mINP': tensor(0.5000), 'num_valid': tensor(1.), 'rank1': tensor(0.)}
    """

    full_state_update = False
    higher_is_better = True
    is_differentiable = False

    features: list[Tensor] | Tensor
    tags: list[Tensor] | Tensor

    def __init__(
        self,
        branches: dict[str, tuple[int, int]] | None = None,
        protocol: Protocol = "market",
        ap: APConvention = "rect",
        max_rank: int = 50,
        rerank: bool = False,
        k1: int = 20,
        k2: int = 6,
        lambda_: float = 0.3,
        draws: int = 10,
        seed: int = 0,
        top_k: int = 10,
        fpr: Sequence[float] = (),
        expansion: Expansion = Expansion(),  # noqa: B008  (a plain record, never changed)
    ) -> None:
        super().__init__(dist_sync_fn=gather_rows)
        if protocol not in PROTOCOLS:
            raise ConfigError(f"protocol={protocol!r} is not known: choose one of {', '.join(PROTOCOLS)}")
        if ap not in AP_CONVENTIONS:
            raise ConfigError(f"ap={ap!r} is not an AP convention: choose one of {', '.join(AP_CONVENTIONS)}")
        if max_rank < 1 or top_k < 1 or draws < 1:
            raise ConfigError(f"max_rank={max_rank}, top_k={top_k}, draws={draws}: each must be 1 or more")
        check_rerank(k1, k2, lambda_)
        self.fpr = tuple(fpr)
        if self.fpr:
            check_rates(self.fpr)
        self.branches = dict(branches or {})
        for name, (start, stop) in self.branches.items():
            if name in ("", RERANK) or not 0 <= start < stop:
                raise ConfigError(
                    f"branch {name!r} has columns [{start}, {stop}): choose 0 <= start < stop, and a name other "
                    f"than {RERANK!r}"
                )
        self.protocol: Protocol = protocol
        self.ap: APConvention = ap
        self.max_rank, self.top_k = max_rank, top_k
        self.rerank, self.k1, self.k2, self.lambda_ = rerank, k1, k2, lambda_
        self.draws, self.seed, self.expansion = draws, seed, expansion
        self.thresholds: tuple[float, float] | None = None
        self._result: _Result | None = None
        self.add_state("features", default=[], dist_reduce_fx="cat")
        self.add_state("tags", default=[], dist_reduce_fx="cat")

    def update(self, features: Tensor, identities: Tensor, cameras: Tensor, roles: Tensor, indices: Tensor) -> None:
        """Take a batch.

        Args:
            features: (B, D) features, any float type and length; kept as float32.
            identities: (B,) identities, -1 junk.
            cameras: (B,) cameras, -1 unknown.
            roles: (B,) `vision_suite.types.Role`.
            indices: (B,) position of each picture in the evaluation list.

        Raises:
            DataError: Shapes that do not agree.
        """
        count = len(features)
        labels = (indices, identities, cameras, roles)
        if features.ndim != 2 or any(tuple(label.shape) != (count,) for label in labels):
            shapes = ", ".join(str(tuple(label.shape)) for label in labels)
            raise DataError(
                f"features have shape {tuple(features.shape)} and indices, identities, cameras, roles {shapes}: "
                "give (B, D) and (B,)"
            )
        width = max([stop for _, stop in self.branches.values()], default=0)
        if features.shape[1] < width:
            raise DataError(
                f"features have {features.shape[1]} columns but a branch ends at column {width}: check branches"
            )
        if count and isinstance(self.features, list) and isinstance(self.tags, list):
            # A copy: a compiled network may write its next output into the same memory.
            self.features.append(features.detach().to(torch.float32, copy=True))
            self.tags.append(torch.stack([label.to(features.device, torch.int64) for label in labels], dim=1))

    def compute(self) -> dict[str, Tensor]:
        """Scores in fractions of one: mAP, mINP, rank1 ..., num_valid; ``<branch>/...`` and ``rerank/...`` likewise.

        Raises:
            DataError: No picture, no query, no gallery or no valid query; features that are not finite.
        """
        tags = self.tags if isinstance(self.tags, list) else [self.tags]
        pieces = self.features if isinstance(self.features, list) else [self.features]
        arrived = torch.cat(tags).cpu().numpy() if tags else np.empty((0, 4), dtype=np.int64)
        pictures = EvaluatedPictures.collect(pieces, arrived)
        results = [self._score(test) for test in retrieval_tests(pictures, self.protocol, self.draws, self.seed)]
        metrics = {key: float(np.mean([each.metrics[key] for each in results])) for key in results[0].metrics}
        cmc = {key: np.mean([each.cmc[key] for each in results], axis=0) for key in results[0].cmc}
        protocol = {**results[0].protocol, "duplicates_removed": pictures.duplicates}
        self._result = replace(results[0], metrics=metrics, cmc=cmc, protocol=protocol)
        return {key: torch.tensor(value, dtype=torch.float32, device=self.device) for key, value in metrics.items()}

    def report(self, protocol: Mapping[str, object]) -> RetrievalReport:
        """Everything a table or a picture needs; computes first if that was not done. With draws: lists of the first.

        Args:
            protocol: Facts of the data (data set, split, fingerprint); the metric's own entries are added.
        """
        self.compute()
        if self._result is None:
            raise DataError("there is no result to report: reset() came between compute() and report()")
        result = self._result
        truth, scores = result.truth, result.scores
        left = scores.ranked >= 0
        ranked_index = np.where(left, result.gallery_index[scores.ranked], -1)
        match = truth.gallery_ids[scores.ranked] == truth.query_ids[:, None]
        return RetrievalReport(
            metrics=dict(result.metrics),
            cmc=dict(result.cmc),
            protocol={**protocol, **result.protocol},
            query_index=result.query_index,
            ranked_index=ranked_index,
            ranked_distance=scores.ranked_distance.astype(np.float32),
            ranked_match=match & left,
            average_precision=scores.average_precision,
            roc=result.roc,
        )

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self._result = None

    def _score(self, test: RetrievalTest) -> _Result:
        """Score one test by the fused feature, by each branch, and re-ranked."""
        queries, gallery = test.truth.shape
        # Everywhere, before blocks are shared out: a process that fails alone would leave the others waiting.
        inverse_norms(test.features, "the features, queries first")
        lines = feature_warnings(test.features)
        query = expand_queries(test.query, test.gallery, self.expansion)
        mine = self._my_share(row_blocks(queries, gallery))
        blocks = cosine_blocks(query, test.gallery, mine)
        tally = self._tally(test, lines)
        fused = self._rank(tally.tap(blocks) if tally else blocks, test, self.top_k)
        scored = {"": summarise(fused, test.truth, self.max_rank)}
        for name, (start, stop) in self.branches.items():
            part = test.gallery[:, start:stop]
            blocks = cosine_blocks(expand_queries(test.query[:, start:stop], part, self.expansion), part, mine)
            scored[name] = summarise(self._rank(blocks, test), test.truth, self.max_rank)
        if self.rerank:
            reranker = Reranker(query, test.gallery, self.k1, self.k2, self.lambda_)
            mine = self._my_share(row_blocks(queries, queries + gallery))
            scored[RERANK] = summarise(self._rank(reranker.blocks(mine), test), test.truth, self.max_rank)
        metrics: dict[str, float] = {}
        for name, scores in scored.items():
            metrics.update(self._scalars(f"{name}/" if name else "", scores))
        protocol = self._protocol_block(test, scored[""]["num_valid"])
        table: dict[str, Floats] = {}
        if tally:
            gather = self._gather if self._is_synced else None
            roc = tally.roc(gather)
            metrics.update(tally.rates_of(roc))
            metrics.update(tally.decided(roc.positives.size, gather))
            table = roc.table(self.fpr)
            protocol["pairs"] = {"positive": roc.positives.size, "negative": roc.num_negatives}
        cmc = {name: scores["cmc"] for name, scores in scored.items()}
        protocol |= {"warnings": lines} if lines else {}
        return _Result(metrics, cmc, protocol, test.truth, test.query_index, test.gallery_index, fused, table)

    def _tally(self, test: RetrievalTest, lines: list[str]) -> PairTally | None:
        """The tally of pairs, if rates are asked for and there are negative pairs; else a line tells their lack."""
        if not self.fpr:
            return None
        try:
            return PairTally(test.truth, self.fpr, self.thresholds)
        except DataError as error:
            lines.append(f"no threshold and no ROC curve: {error}")
            return None

    def _rank(self, blocks: Iterable[Block], test: RetrievalTest, keep: int = 0) -> QueryScores:
        """Scores of all queries, from this process's blocks and those of the others."""
        single_shot = self.protocol == "cuhk03"
        draws = uniform_draws(self.draws, test.truth.num_identities, self.seed) if single_shot else None
        scores = score(blocks, test.truth, self.ap, keep, draws)
        if not self._is_synced:
            return scores
        columns = {f.name: self._gather(getattr(scores, f.name)) for f in fields(scores)}
        return QueryScores.join([QueryScores(**columns)])

    def _gather(self, rows: np.ndarray) -> np.ndarray:
        own = torch.from_numpy(rows.reshape(len(rows), int(np.prod(rows.shape[1:])))).to(self.device)
        joined: np.ndarray = torch.cat(gather_rows(own, self.process_group)).cpu().numpy()
        return joined.reshape(len(joined), *rows.shape[1:])

    def _my_share(self, ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
        if not self._is_synced:
            return ranges
        return ranges[dist.get_rank(self.process_group) :: dist.get_world_size(self.process_group)]

    def _scalars(self, prefix: str, scores: RetrievalScores) -> dict[str, float]:
        scalars = {"mAP": scores["mAP"], "mINP": scores["mINP"], "num_valid": float(scores["num_valid"])}
        scalars |= {f"rank{k}": float(scores["cmc"][k - 1]) for k in RANKS if k <= self.max_rank}
        return {prefix + key: value for key, value in scalars.items()}

    def _protocol_block(self, test: RetrievalTest, num_valid: int) -> dict[str, object]:
        """Facts that a reader of the numbers must know, as plain values."""
        block = protocol_facts(test, self.protocol, self.ap, num_valid) | {
            "branches": {name: list(columns) for name, columns in self.branches.items()},
            "max_rank": self.max_rank,
            "query_expansion": self.expansion.facts,
            "rerank": None,
        }
        if self.rerank:
            block["rerank"] = {
                "k1": self.k1,
                "k2": self.k2,
                "lambda": self.lambda_,
                "distance": SQUARED_EUCLIDEAN,
                "distance_power": 1,
            }
        if self.protocol in ("cuhk03", "vehicleid"):
            block |= {"draws": self.draws, "seed": self.seed}
        return block
