"""The stored preprocessing of a datamodule as settings of another one."""

import yaml

from vision_suite.datasets.base import BaseData


def restored(data: BaseData, **other: object) -> BaseData:
    """A datamodule with other settings and those that the first one's preprocessing gives, as a file holds them."""
    settings = type(data).evaluation_settings(yaml.safe_load(yaml.safe_dump(data.preprocessing)))
    assert yaml.safe_load(yaml.safe_dump(settings)) == settings, "plain values only"
    return type(data)(**{**other, **settings})
