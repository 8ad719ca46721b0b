"""Object-level attention transformer for scanpaths (Fang et al., ECCV 2024)."""

from vision_suite.models.oat.beam import beam_search
from vision_suite.models.oat.counterfactual import move_object, swap_objects
from vision_suite.models.oat.decoding import greedy, sample
from vision_suite.models.oat.generated import Scanpaths
from vision_suite.models.oat.network import OAT, EncodedScenes, OATOutput, PathLogProb
from vision_suite.models.oat.pixels import Spread, fit_spread, pixel_log_density, pixel_map
from vision_suite.models.oat.search import SearchChange, SearchTime, search_change, search_time

__all__ = [
    "OAT",
    "EncodedScenes",
    "OATOutput",
    "PathLogProb",
    "Scanpaths",
    "SearchChange",
    "SearchTime",
    "Spread",
    "beam_search",
    "fit_spread",
    "greedy",
    "move_object",
    "pixel_log_density",
    "pixel_map",
    "sample",
    "search_change",
    "search_time",
    "swap_objects",
]
