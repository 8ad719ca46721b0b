"""Preference data: pairs of continuations to train on, captions and questions to find made-up objects with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from torch import Tensor
from torch.utils.data import Dataset

from vision_suite.datasets.base import Stage
from vision_suite.datasets.conversations.base import ConversationData
from vision_suite.datasets.conversations.batches import InstructBatches
from vision_suite.datasets.conversations.pictures import Appearance, Square
from vision_suite.datasets.conversations.settings import ChatSettings, ChatTemplate
from vision_suite.datasets.conversations.stage import OnBadRow, OnMissing, Policy
from vision_suite.datasets.loading import Cache
from vision_suite.datasets.pictures.images import Interpolation
from vision_suite.datasets.preference.batches import PreferenceBatches
from vision_suite.datasets.preference.encode import Unit
from vision_suite.datasets.preference.evaluation import EvaluationRows, EvaluationSettings, EvaluationSource
from vision_suite.datasets.preference.reference import KeyedLogps, Score, reference_of
from vision_suite.datasets.preference.sources import PairSettings, PairSource
from vision_suite.datasets.preference.stage import PairRows
from vision_suite.errors import ConfigError, check_number
from vision_suite.records import as_record
from vision_suite.types.conversations import Row
from vision_suite.types.preference import HallucinationItem, PreferenceRow

