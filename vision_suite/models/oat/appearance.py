"""Appearance of an object as a vector: OAT's small CNN, a frozen timm or CLIP image encoder, or given features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vision_suite.errors import ConfigError, DataError, MissingDependencyError

# Crops arrive normalised with these; a frozen encoder undoes it and applies its own.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Appearance(nn.Module):
    """Base of the appearance embeddings.

    Attributes:
        takes_crops: True if pictures can be embedded.
        takes_features: True if given vectors can be embedded.
    """

    takes_crops = True
    takes_features = True

    def forward(self, crops: Tensor) -> Tensor:
        """(M, 3, h, w) normalised crops to (M, width)."""
        raise NotImplementedError

    def project(self, features: Tensor) -> Tensor:
        """(..., F) features to (..., width)."""
        raise NotImplementedError

    def start(self) -> Tensor:
        """(width,) what stands at the start of every path."""
        raise NotImplementedError


class CropCNN(Appearance):
    """The authors' CNN, trained from scratch: conv 5x5, ReLU, pool 5, conv 3x3, ReLU, pool 3, linear.

    The start of a path is a picture of ones, as at the authors' training time.

    Args:
        width: Width of the vector (authors: 256).
        crop_size: Height and width of a crop in pixels (authors: 150, 93).
    """

    takes_features = False

    def __init__(self, width: int = 256, crop_size: tuple[int, int] = (150, 93)) -> None:
        super().__init__()
        if len(crop_size) != 2 or any(not side >= 1 or side % 1 for side in crop_size):
            raise ConfigError(f"crop_size={crop_size} must be a height and a width in whole pixels")
        height, breadth = (((side - 4) // 5 - 2) // 3 for side in crop_size)
        if height < 1 or breadth < 1:
            raise ConfigError(f"crop_size={crop_size} is too small for appearance=cnn: give 29 x 29 pixels or more")
        self.crop_size = tuple(crop_size)
        self.conv1, self.conv2 = nn.Conv2d(3, 16, 5), nn.Conv2d(16, 32, 3)
        self.linear = nn.Linear(32 * height * breadth, width)

    def forward(self, crops: Tensor) -> Tensor:
        """See the base class.

        Raises:
            DataError: The crops have another size than the network was built for.
        """
        if tuple(crops.shape[-2:]) != self.crop_size:
            raise DataError(f"crops of {tuple(crops.shape[-2:])} pixels do not fit crop_size={self.crop_size}")
        hidden = nn.functional.max_pool2d(torch.relu(self.conv1(crops)), 5)
        hidden = nn.functional.max_pool2d(torch.relu(self.conv2(hidden)), 3)
        out: Tensor = self.linear(hidden.flatten(1))
        return out

    def start(self) -> Tensor:
        """See the base class."""
        ones: Tensor = self(self.conv1.weight.new_ones(1, 3, *self.crop_size))
        return ones[0]


class FeatureTable(Appearance):
    """Given feature vectors behind one linear layer; the start of a path is learned.

    Args:
        feature_dim: Width F of the features.
        width: Width of the vector.
    """

    takes_crops = False

    def __init__(self, feature_dim: int, width: int = 256) -> None:
        super().__init__()
        self.feature_dim = feature_dim
        self.linear = nn.Linear(feature_dim, width)
        self.start_vector = nn.Parameter(torch.randn(width))

    def project(self, features: Tensor) -> Tensor:
        """See the base class.

        Raises:
            DataError: The features have another width than the network was built for.
        """
        if features.shape[-1] != self.feature_dim:
            raise DataError(f"features of width {features.shape[-1]} do not fit feature_dim={self.feature_dim}")
        out: Tensor = self.linear(features)
        return out

    def start(self) -> Tensor:
        """See the base class."""
        return self.start_vector


class FrozenEncoder(FeatureTable):
    """A trained image encoder that is not trained further, behind one linear layer.

    Args:
        encoder: Encoder of pictures (M, 3, h, w) to (M, F).
        width: Width of the vector.
        mean: Mean of the encoder's own normalisation.
        std: Standard deviation of the encoder's own normalisation.
        image_size: Height and width that crops are resized to.
        joint: True if pictures and words share the feature space; then every vector is brought to length sqrt(F), for
            the two differ in length.
    """

    takes_crops = True

    def __init__(
        self,
        encoder: nn.Module,
        width: int,
        *,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        image_size: tuple[int, int],
        joint: bool = False,
    ) -> None:
        frozen = encoder.requires_grad_(False).eval()
        with torch.no_grad():
            feature_dim = frozen(torch.zeros(1, 3, *image_size)).shape[-1]
        super().__init__(feature_dim, width)
        self.encoder = frozen
        self.image_size, self.joint = image_size, joint
        # (x * STD + MEAN - mean) / std in two numbers per channel.
        for name, values in (("scale", [s / o for s, o in zip(STD, std, strict=True)]),
                             ("shift", [(m - n) / o for m, n, o in zip(MEAN, mean, std, strict=True)])):  # fmt: skip
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> FrozenEncoder:
        """Switch the linear layer only; the encoder stays in evaluation mode."""
        super().train(mode)
        self.encoder.eval()
        return self

    def features(self, crops: Tensor) -> Tensor:
        """(M, 3, h, w) normalised crops to (M, F), without gradient."""
        with torch.no_grad():
            sized = nn.functional.interpolate(
                crops, self.image_size, mode="bilinear", align_corners=False, antialias=True
            )
            out: Tensor = self.encoder(sized * self.get_buffer("scale") + self.get_buffer("shift"))
        return out

    def forward(self, crops: Tensor) -> Tensor:
        """See the base class."""
        return self.project(self.features(crops))

    def project(self, features: Tensor) -> Tensor:
        """See the base class."""
        if self.joint:
            features = nn.functional.normalize(features, dim=-1) * features.shape[-1] ** 0.5
        return super().project(features)


def build_appearance(
    name: str,
    width: int,
    *,
    feature_dim: int | None = None,
    crop_size: tuple[int, int] = (150, 93),
    pretrained: bool = True,
) -> Appearance:
    """An appearance embedding by name.

    Args:
        name: ``cnn``, ``table``, ``timm:<model>``, or ``clip:<model>[/<weights>]`` of open_clip.
        width: Width of the vector.
        feature_dim: Width F of given features, for ``table``.
        crop_size: Height and width of crops in pixels, for ``cnn``.
        pretrained: Load the weights of frozen encoders; off only where a checkpoint brings them.

    Raises:
        ConfigError: The name is not known, or ``table`` has no ``feature_dim``.
        MissingDependencyError: open_clip is not installed.
    """
    if name == "cnn":
        return CropCNN(width, crop_size)
    if name == "table":
        if feature_dim is None:
            raise ConfigError("appearance=table needs feature_dim, the width of the data's features")
        if feature_dim < 1:
            raise ConfigError(f"feature_dim={feature_dim}, the width of the data's features, must be 1 or more")
        return FeatureTable(feature_dim, width)
    kind, _, model = name.partition(":")
    if kind == "timm" and model:
        return _timm(model, width, pretrained)
    if kind == "clip" and model:
        return _clip(model, width, pretrained)
    raise ConfigError(f"appearance={name!r} is not known: choose cnn, table, timm:<model> or clip:<model>/<weights>")


def _timm(model: str, width: int, pretrained: bool) -> FrozenEncoder:
    import timm
    from timm.data.config import resolve_model_data_config

    if not timm.is_model(model):
        raise ConfigError(f"appearance='timm:{model}': timm has no such model; timm.list_models() names them")
    encoder = timm.create_model(model, pretrained=pretrained, num_classes=0)
    data = resolve_model_data_config(encoder)  # type: ignore[no-untyped-call]
    return FrozenEncoder(encoder, width, mean=data["mean"], std=data["std"], image_size=tuple(data["input_size"][-2:]))


def _clip(model: str, width: int, pretrained: bool) -> FrozenEncoder:
    try:
        import open_clip  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ModuleNotFoundError as error:
        raise MissingDependencyError(f"appearance='clip:{model}'", "open_clip_torch", "clip") from error
    name, _, weights = model.partition("/")
    visual = open_clip.create_model(name, pretrained=(weights or "openai") if pretrained else None).visual
    side = visual.image_size
    size = (side, side) if isinstance(side, int) else (side[0], side[1])
    return FrozenEncoder(visual, width, mean=visual.image_mean, std=visual.image_std, image_size=size, joint=True)
