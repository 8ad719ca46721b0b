"""Former names of settings: their table, and functions that replace them by the present names.

The settings of a model are grouped in records, as in ``--model.glca.ratio 0.1``. Formerly they were not grouped, as in
``--model.glca_ratio 0.1``. The former names still work in command lines and configuration files
(`vision_suite.cli.trainer.old_names`), in checkpoints (`vision_suite.lit_modules.loading`), and in Python
(`takes_old_names`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from vision_suite.errors import ConfigError

_DCAL = {
    "glca": "glca.enabled",
    "glca_ratio": "glca.ratio",
    "glca_rounding": "glca.rounding",
    "glca_candidates": "glca.candidates",
    "glca_input": "glca.input",
    "glca_all_rows": "glca.all_rows",
    "glca_readout": "glca.readout",
    "glca_copy": "glca.copy",
    "glca_blocks": "glca.blocks",
    "rollout_heads": "glca.rollout_heads",
    "rollout_depth": "glca.rollout_depth",
    "pwca": "pwca.enabled",
    "pwca_partner": "pwca.partner",
    "pwca_stream": "pwca.stream",
    "pwca_head": "pwca.head",
    "pwca_blocks": "pwca.blocks",
    "pwca_share": "pwca.share",
    "neck": "head.neck",
    "classifier": "head.classifier",
    "cosine_scale": "head.cosine_scale",
    "fgvc_fusion": "fusion.fgvc",
    "reid_fusion": "fusion.reid",
    "glca_scale": "fusion.glca_scale",
    "neck_feature": "fusion.neck_feature",
    "side_information": "side.information",
    "side_scale": "side.scale",
}
_LIT_DCAL = {
    "label_smoothing": "loss.label_smoothing",
    "loss_weighting": "loss.weighting",
    "initial_log_variance": "loss.initial_log_variance",
    "log_variance_limit": "loss.log_variance_limit",
    "triplet_margin": "triplet.margin",
    "triplet_normalize": "triplet.normalize",
    "triplet_weight": "triplet.weight",
    "triplet_feature": "triplet.feature",
    "protocol": "retrieval.protocol",
    "ap": "retrieval.ap",
    "draws": "retrieval.draws",
    "top_k": "retrieval.top_k",
    "rerank": "retrieval.rerank",
    "rerank_k1": "retrieval.rerank_k1",
    "rerank_k2": "retrieval.rerank_k2",
    "rerank_lambda": "retrieval.rerank_lambda",
}
_CSA = {
    "layout": "convention.layout",
    "sampling": "convention.sampling",
    "boundary": "convention.boundary",
    "channels": "convention.channels",
}
# By class of model: the former name of a setting, and its present record and field.
RENAMED: dict[str, dict[str, str]] = {
    "DCAL": _DCAL,
    "LitDCAL": {**_DCAL, **_LIT_DCAL},
    "CSADetector": _CSA,
    "LitCSA": _CSA,
}

Init = TypeVar("Init", bound=Callable[..., None])


def new_name(model: str, name: str, value: object) -> str | None:
    """Present dotted name of a setting that is given under its former name, else None.

    Args:
        model: Name of the model's class.
        name: Name of the setting.
        value: Value of the setting. ``glca`` and ``pwca`` are records now and were switches: a bool, or None for off.
    """
    dotted = RENAMED.get(model, {}).get(name)
    if dotted is None or (dotted.startswith(f"{name}.") and not isinstance(value, bool | None)):
        return None
    return dotted


def renamed_class(cls: type) -> str:
    """Name in `RENAMED` of a class or of its nearest base in this package; empty if there is none."""
    own = (each for each in cls.__mro__ if each.__module__.partition(".")[0] == "vision_suite")
    return next((each.__name__ for each in own if each.__name__ in RENAMED), "")


def with_new_names(model: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a model, with those under former names moved into their records.

    Args:
        model: Name of the model's class.
        settings: Values by name; records as mappings or dataclasses.

    Raises:
        ConfigError: A setting is given under its former and its present name.
    """
    moved = {name: dotted for name, value in settings.items() if (dotted := new_name(model, name, value)) is not None}
    found = {name: value for name, value in settings.items() if name not in moved}
    for name, dotted in moved.items():
        record, field = dotted.split(".")
        given = found.get(record, {})
        if not isinstance(given, Mapping) or field in given:
            raise given_twice(name, dotted)
        value = settings[name]
        found[record] = {**given, field: bool(value) if record == name else value}
    return found


def given_twice(name: str, dotted: str) -> ConfigError:
    """Error for a setting that is given under both its names."""
    return ConfigError(f"{name} is the old name of {dotted}, and both are given: keep {dotted}")


def takes_old_names(init: Init) -> Init:
    """Decorate a constructor so that it also takes keyword arguments under their former names."""
    model = init.__qualname__.split(".")[-2]

    @functools.wraps(init)
    def wrapped(self: object, *args: Any, **settings: Any) -> None:
        init(self, *args, **with_new_names(model, settings))

    return cast("Init", wrapped)
