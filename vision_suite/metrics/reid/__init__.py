"""Re-ID evaluation as plain functions: scoring, ranking, re-ranking, protocols, verification."""

from vision_suite.metrics.reid.reranking import rerank
from vision_suite.metrics.reid.scoring import evaluate, evaluate_features, evaluate_single_shot, verification

__all__ = ["evaluate", "evaluate_features", "evaluate_single_shot", "rerank", "verification"]
