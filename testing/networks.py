"""Networks that do what a test wants."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import Tensor, nn

from classifier.engine.devices import Engine


class _Called(nn.Module):
    def __init__(self, network: nn.Module, call: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self.call = network, call

    def forward(self, inputs: Tensor) -> Tensor:
        return self.call(self.network, inputs)


def replace_forward(monkeypatch: pytest.MonkeyPatch, call: Callable[[nn.Module, Tensor], Tensor]) -> None:
    """Let `call(network, inputs)` compute the logits of the predictors that are created from now on."""
    prepare = Engine.prepare

    def prepared(self: Engine, network: nn.Module) -> nn.Module:
        return _Called(prepare(self, network), call)

    monkeypatch.setattr(Engine, "prepare", prepared)
