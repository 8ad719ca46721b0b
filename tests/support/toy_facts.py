"""A datamodule and a model as another package would bring them, with a fact that the suite has never heard of."""

from toy_method import OPTIM, LitToy

from vision_suite.datasets.reid.data import ReIDData
from vision_suite.datasets.saved import SavedPreprocessing
from vision_suite.optim import OptimConfig


class PaletteData(ReIDData):
    """Pictures with a number of colours.

    Attributes:
        num_colours: Number of colours.
    """

    facts = ("num_colours",)

    def __init__(self, root: str, colours: int = 0, batch_size: int = 4, num_instances: int = 2) -> None:
        """Read the pictures.

        Args:
            root: Folder in Market-1501's layout.
            colours: Number of colours.
            batch_size: Pictures of a step.
            num_instances: Pictures of an identity in a step.
        """
        super().__init__(
            root=root, image_size=(32, 16), batch_size=batch_size, num_instances=num_instances, cache="memory"
        )
        self.num_colours = colours


class LitPalette(LitToy):
    """The toy with an argument that the data decides."""

    def __init__(self, num_classes: int, num_colours: int, width: int = 8, optim: OptimConfig = OPTIM) -> None:
        """Build it.

        Args:
            num_classes: Identities to tell apart.
            num_colours: Number of colours.
            width: Width of the hidden layer.
            optim: Optimiser and schedule.
        """
        super().__init__(num_classes, width=width, optim=optim)
        self.num_colours = num_colours


class DimData(ReIDData):
    """Pictures that a constructor without such arguments normalises; the suite can still tell how."""

    def __init__(self, root: str, grey: float = 0.5) -> None:
        """Read the pictures.

        Args:
            root: Folder in Market-1501's layout.
            grey: Mean of every channel.
        """
        super().__init__(
            root=root, image_size=(32, 16), batch_size=4, num_instances=2, cache="memory", mean=(grey, grey, grey)
        )


class OpaqueData(DimData):
    """The same, as of a package that does not translate its preprocessing into arguments."""

    @classmethod
    def _settings(cls, saved: SavedPreprocessing) -> None:
        return None
