"""Class-semantics attention for temporal action detection (Sridhar et al., ICCV 2021) in BMN and G-TAD."""

from vision_suite.models.csa.attention import CSA, CSAConfig, FeatureAttention, SqueezeExcitation
from vision_suite.models.csa.hosts import BMN, GTAD, GCNeXt
from vision_suite.models.csa.network import CSADetector, DetectorOutput

__all__ = [
    "BMN",
    "CSA",
    "GTAD",
    "CSAConfig",
    "CSADetector",
    "DetectorOutput",
    "FeatureAttention",
    "GCNeXt",
    "SqueezeExcitation",
]
