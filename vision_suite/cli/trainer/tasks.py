"""Models and data of one task: another pair is refused before the data are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args, get_type_hints

from vision_suite.datasets.base import BaseData
from vision_suite.errors import ConfigError
from vision_suite.lit_modules.base import LitBase
from vision_suite.types import FGVCBatch, ReIDBatch, ScanpathBatch, TADBatch

BATCHES: dict[Any, str] = {ReIDBatch: "reid", FGVCBatch: "fgvc", TADBatch: "tad", ScanpathBatch: "scanpath"}


def check_task(model: type[LitBase] | None, data: type[BaseData] | None, settings: Mapping[str, Any]) -> None:
    """Refuse a model of another task than the data's.

    A datamodule declares its task. The tasks of a model are those of the batches that its ``training_step`` takes, by
    its annotation; where its constructor has an argument ``task``, that decides. Classes of plug-ins that tell neither
    are not compared.

    Args:
        model: Class of the model.
        data: Class of the datamodule.
        settings: Arguments of the model's constructor.

    Raises:
        ConfigError: Their tasks differ.
    """
    task = "" if data is None else data.task
    if model is None or data is None or not task:
        return
    tasks = tasks_of(model)
    chosen = settings.get("task")
    if isinstance(chosen, str) and chosen in BATCHES.values():
        if chosen != task:
            raise ConfigError(
                f"--model.task={chosen}, but {data.__name__} gives data of the task {task}: "
                f"{f'use --model.task={task}, or ' if task in tasks else ''}choose data of {chosen}"
            )
    elif tasks and task not in tasks:
        raise ConfigError(
            f"{model.__name__} is a model of the task {' or '.join(sorted(tasks))}, but {data.__name__} gives data of the "
            f"task {task}: choose --model and --data of one task ('vision-suite configs' lists pairs)"
        )


def tasks_of(model: type[LitBase]) -> set[str]:
    """Tasks of the batches that a model trains on, by the annotation of ``training_step``; empty if it tells none."""
    try:
        hint = get_type_hints(model.training_step).get("batch")
    except (NameError, TypeError):  # an annotation of a plug-in that only a type checker can read
        return set()
    return {BATCHES[kind] for kind in (hint, *get_args(hint)) if _hashable(kind) and kind in BATCHES}


def _hashable(kind: object) -> bool:
    return kind.__hash__ is not None
