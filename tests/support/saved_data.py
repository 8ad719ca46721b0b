"""Generated data that the configurations in ``before`` name."""

from pathlib import Path

from synthetic import write_market
from synthetic_sets import write_cub
from synthetic_tad import write_feature_set


def write_saved_data(root: Path) -> Path:
    """Write the data sets of saved configurations into a folder, from which their commands are started."""
    write_market(root / "market", train_ids=8, test_ids=4, val_ids=2)
    write_cub(root / "cub")
    write_feature_set(root / "videos", videos=8)
    return root
