"""Scanpath metrics: plain functions, batched forms for many pairs, and the table of a model.

Units are pixels and seconds throughout. Nothing here needs a model: arrays and lists in, numbers out.
"""

from vision_suite.metrics.scanpath.behaviours import (
    BEHAVIOURS,
    KINDS,
    BehaviourDelta,
    behaviour,
    behaviour_delta,
    fixation_proportions,
    object_kinds,
)
from vision_suite.metrics.scanpath.objects import object_information_gain, top_k_accuracy, true_probability, true_rank
from vision_suite.metrics.scanpath.pairwise.clusters import (
    FACTORS,
    ClusterFile,
    Clusters,
    build_clusters,
    cluster_stimulus,
)
from vision_suite.metrics.scanpath.pairwise.embedding import stde, stdes, time_delay_embedding
from vision_suite.metrics.scanpath.pairwise.multimatch import MultiMatch, multimatch, multimatches
from vision_suite.metrics.scanpath.pairwise.scanmatch import scanmatch, scanmatches, substitution_matrix
from vision_suite.metrics.scanpath.pairwise.scores import PAIR_SCORES, PairSettings, pair_scores
from vision_suite.metrics.scanpath.pairwise.scores import Stimulus as Scene
from vision_suite.metrics.scanpath.pairwise.simplify import Simplify
from vision_suite.metrics.scanpath.pairwise.strings import (
    edit_distance,
    edit_distances,
    sequence_score,
    sequence_scores,
)
from vision_suite.metrics.scanpath.pairwise.symbols import grid_letters, labels_at, object_labels, repeat_by_duration
from vision_suite.metrics.scanpath.paths import Scanpath, unpadded
from vision_suite.metrics.scanpath.report.protocol import Interval, balanced_mean, bootstrap, human_pairs
from vision_suite.metrics.scanpath.report.table import ScanpathScores, ScoreRow, scanpath_scores
from vision_suite.metrics.scanpath.saliency import (
    conditional_auc,
    conditional_auc_hat,
    conditional_information_gain,
    conditional_nss,
    fixation_prior,
    sampled_nss,
    similarity,
)
from vision_suite.metrics.scanpath.search import (
    SearchEfficiency,
    scanpath_ratio,
    search_efficiency,
    steps_to_box,
    steps_to_objects,
)
from vision_suite.metrics.scanpath.step_likelihood import Likelihood, likelihood, step_log_probabilities

__all__ = [
    "BEHAVIOURS",
    "FACTORS",
    "KINDS",
    "PAIR_SCORES",
    "BehaviourDelta",
    "ClusterFile",
    "Clusters",
    "Interval",
    "Likelihood",
    "MultiMatch",
    "PairSettings",
    "Scanpath",
    "ScanpathScores",
    "Scene",
    "ScoreRow",
    "SearchEfficiency",
    "Simplify",
    "balanced_mean",
    "behaviour",
    "behaviour_delta",
    "bootstrap",
    "build_clusters",
    "cluster_stimulus",
    "conditional_auc",
    "conditional_auc_hat",
    "conditional_information_gain",
    "conditional_nss",
    "edit_distance",
    "edit_distances",
    "fixation_prior",
    "fixation_proportions",
    "grid_letters",
    "human_pairs",
    "labels_at",
    "likelihood",
    "multimatch",
    "multimatches",
    "object_information_gain",
    "object_kinds",
    "object_labels",
    "pair_scores",
    "repeat_by_duration",
    "sampled_nss",
    "scanmatch",
    "scanmatches",
    "scanpath_ratio",
    "scanpath_scores",
    "search_efficiency",
    "sequence_score",
    "sequence_scores",
    "similarity",
    "stde",
    "stdes",
    "step_log_probabilities",
    "steps_to_box",
    "steps_to_objects",
    "substitution_matrix",
    "time_delay_embedding",
    "top_k_accuracy",
    "true_probability",
    "true_rank",
    "unpadded",
]
