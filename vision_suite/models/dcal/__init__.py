"""DCAL: dual cross-attention learning for fine-grained classification and re-identification.

Zhu, Ke, Li, Liu, Tian, Shan: Dual Cross-Attention Learning for Fine-Grained Visual Categorization and Object
Re-Identification, CVPR 2022.
"""

from vision_suite.models.dcal.network import DCAL
from vision_suite.models.dcal.outputs import Branch, DCALOutput
from vision_suite.models.dcal.settings import FusionConfig, GLCAConfig, HeadConfig, PWCAConfig, SideConfig

__all__ = [
    "DCAL",
    "Branch",
    "DCALOutput",
    "FusionConfig",
    "GLCAConfig",
    "HeadConfig",
    "PWCAConfig",
    "SideConfig",
]
