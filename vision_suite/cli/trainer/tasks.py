"""Models and data of one task: another pair is refused before the data are read."""

from __future__ import annotations

from collections.abc import Mapping
from traceback import walk_tb
from typing import Any, cast, get_args, get_type_hints

from vision_suite.cli.trainer.vocabulary import class_defaults
from vision_suite.datasets.base import BaseData
from vision_suite.errors import ConfigError, DataError
from vision_suite.lit_modules.base import LitBase

STEPS = ("training_step", "validation_step", "test_step", "predict_step")
TYPES = "vision_suite.types"
# Tasks by names of the batches in `vision_suite.types`, none of which is imported for it.
BATCHES = {
    "ReIDBatch": "reid",
    "FGVCBatch": "fgvc",
    "TADBatch": "tad",
    "ScanpathBatch": "scanpath",
    "InstructBatch": "instruct",
    "PreferenceBatch": "preference",
}


def check_task(model: type[LitBase] | None, data: type[BaseData] | None, chosen: object) -> None:
    """Refuse a model of another task than the data's.

    A datamodule declares its task. The tasks of a model are those of the batches that its ``training_step`` takes, by
    its annotation; where its constructor has an argument ``task``, that decides. Classes of plug-ins that tell neither
    are not compared.

    Args:
        model: Class of the model.
        data: Class of the datamodule.
        chosen: Value given for its argument ``task``, None for the default.

    Raises:
        ConfigError: Their tasks differ.
    """
    task = "" if data is None else data.task
    if model is None or data is None or not task:
        return
    tasks = tasks_of(model)
    chosen = class_defaults(cast("type", model)).get("task") if chosen is None else chosen
    if isinstance(chosen, str) and chosen in BATCHES.values():
        if chosen != task:
            raise ConfigError(
                f"--model.task={chosen}, but {data.__name__} gives data of the task {task}: "
                f"{f'use --model.task={task}, or ' if task in tasks else ''}choose data of {chosen}"
            )
    elif tasks and task not in tasks:
        raise ConfigError(
            f"{model.__name__} is a model of the task {' or '.join(sorted(tasks))}, but {data.__name__} gives data of "
            f"the task {task}: choose --model and --data of one task ('vision-suite configs' lists pairs)"
        )


def tasks_of(model: type[LitBase]) -> set[str]:
    """Tasks of the batches that a model trains on, by the annotation of ``training_step``; empty if it tells none."""
    try:
        hint = get_type_hints(model.training_step).get("batch")
    except (
        AttributeError,
        NameError,
        SyntaxError,
        TypeError,
    ):  # an annotation of a plug-in that only a type checker can read
        return set()
    kinds = [each for each in (hint, *get_args(hint)) if str(getattr(each, "__module__", "")).startswith(TYPES)]
    return {BATCHES[each.__name__] for each in kinds if each.__name__ in BATCHES}


def of_other_task(error: BaseException) -> DataError | None:
    """The error that explains a batch or data without what a model reads; None if an error is something else.

    It is for classes of plug-ins that do not tell their tasks.

    Args:
        error: Error that ended a run.
    """
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    own = bool(frames) and isinstance(frames[-1].f_locals.get("self"), BaseData)  # a fault of the datamodule itself
    if isinstance(error, AttributeError) and isinstance(error.obj, BaseData) and not own:
        name = type(error.obj).__name__
        return DataError(f"the model reads {error.name} of {name}, which has none: choose data of the model's task")
    if not isinstance(error, KeyError) or not error.args:
        return None
    for frame in frames:
        batch: Any = frame.f_locals.get("batch")
        owner = frame.f_locals.get("self")
        step = frame.f_code.co_name in STEPS and isinstance(owner, LitBase) and isinstance(batch, Mapping)
        if step and error.args[0] not in batch:
            return DataError(
                f"{type(owner).__name__} reads {error.args[0]!r} of a batch, and the batches of the data hold "
                f"{', '.join(map(str, batch))}: choose data of the model's task"
            )
    return None
