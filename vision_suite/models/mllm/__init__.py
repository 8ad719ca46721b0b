"""Language models that read pictures: a decoder, a vision tower, and a projector between them."""

from vision_suite.models.mllm.network import Mllm
from vision_suite.models.mllm.projector import Projector, ProjectorConfig
from vision_suite.models.mllm.tower import Tower, TowerConfig, build_tower

__all__ = ["Mllm", "Projector", "ProjectorConfig", "Tower", "TowerConfig", "build_tower"]
