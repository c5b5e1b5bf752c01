"""Operator fusion for inference: convolutions that include batch normalisation, sum and activation.

The outputs of a network stay the same up to rounding. Convolution, normalisation, sum and activation pass over memory
once instead of four times, and memory access is most of the time of networks with small convolutions. On a CPU the
fused operation is one call of oneDNN, the same call that PyTorch's compiler emits; on a GPU it is one call of cuDNN.
Unlike PyTorch's compiler, fusion takes no minutes and needs no C++ compiler.
"""

from __future__ import annotations

import copy
import logging
import math
import operator
import threading
from collections.abc import Callable
from typing import Any

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, fx, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_weights

from classifier.engine.pooling import MaxPoolOfPositive

logger = logging.getLogger(__name__)

_TOLERANCE = 1e-3
"""The maximum difference of logits, relative to the largest one; rounding stays far below."""

_SUMS = (operator.add, operator.iadd, torch.add)


class _Cudnn:
    fuses = torch.version.cuda is not None
    """Whether cuDNN fuses; set to False when a GPU fails to."""


class FusedConvolution(nn.Module):
    """A convolution with a folded normalisation, the sum with another tensor, and an activation."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        """Copy a convolution."""
        super().__init__()
        self.weight = nn.Parameter(convolution.weight.detach().clone(), requires_grad=False)
        bias = convolution.bias
        self.bias = nn.Parameter(
            torch.zeros(convolution.out_channels) if bias is None else bias.detach().clone(), requires_grad=False
        )
        self._padding = [int(side) for side in convolution.padding]
        self._stride, self._dilation = list(convolution.stride), list(convolution.dilation)
        self._groups = convolution.groups
        self._same = isinstance(convolution, Conv2dSame)
        self._activation: tuple[str, list[float]] = ("none", [])
        self.packed: Tensor | None = None
        """The weights in oneDNN's layout for this device and format; None before the first batch."""

    def fold(self, norm: nn.BatchNorm2d) -> None:
        """Fold a batch normalisation into weights and bias."""
        assert norm.running_mean is not None  # noqa: S101 (for the type checker: networks here track statistics)
        assert norm.running_var is not None  # noqa: S101
        self.weight, self.bias = fuse_conv_bn_weights(
            self.weight, self.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )

    def activate(self, activation: nn.Module) -> bool:
        """Add an activation and return True; return False if the activation is not supported."""
        if isinstance(activation, nn.ReLU6):
            self._activation = ("hardtanh", [0.0, 6.0])
        elif isinstance(activation, nn.ReLU):
            self._activation = ("relu", [])
        else:
            return isinstance(activation, nn.Identity)
        return True

    @property
    def positive(self) -> bool:
        """Whether the activation makes all outputs non-negative."""
        return self._activation[0] != "none"

    def _apply(self, fn: Any, recurse: bool = True) -> nn.Module:
        """Drop the packed weights, because device or format may change."""
        self.packed = None
        applied: nn.Module = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return applied

    def forward(self, batch: Tensor, addend: Tensor | None = None) -> Tensor:
        """Compute a batch of shape (N, channels, height, width); `addend` is added before the activation."""
        padding = self._padding
        if self._same:
            batch, padding = self._pad(batch)
        if not _onednn_fuses(batch):
            return self._unfused(batch, addend, padding)
        shape = (padding, self._stride, self._dilation, self._groups)
        if self.packed is None:
            self.packed = torch.ops.mkldnn._reorder_convolution_weight(  # noqa: SLF001 (as inductor calls it)
                self.weight.contiguous(memory_format=torch.channels_last), *shape, list(batch.shape)
            )
        name, scalars = self._activation
        pointwise: Any = torch.ops.mkldnn._convolution_pointwise  # noqa: SLF001
        result: Tensor
        if addend is None:
            result = pointwise(batch, self.packed, self.bias, *shape, name, scalars, "")
        else:
            unary = None if name == "none" else name
            result = pointwise.binary(batch, addend, self.packed, self.bias, *shape, "add", 1.0, unary, scalars, "")
        return result

    def _unfused(self, batch: Tensor, addend: Tensor | None, padding: list[int]) -> Tensor:
        if self._activation[0] == "relu" and batch.is_cuda and _Cudnn.fuses:
            try:
                return self._by_cudnn(batch, addend, padding)
            except (torch.OutOfMemoryError, torch.AcceleratorError):
                raise
            except RuntimeError:
                logger.warning("cuDNN does not fuse on this GPU: networks are slower", exc_info=True)
                _Cudnn.fuses = False
        result = functional.conv2d(batch, self.weight, self.bias, self._stride, padding, self._dilation, self._groups)
        if addend is not None:
            result += addend
        name, _scalars = self._activation
        if name == "none":
            return result
        return functional.relu(result) if name == "relu" else functional.relu6(result)

    def _by_cudnn(self, batch: Tensor, addend: Tensor | None, padding: list[int]) -> Tensor:
        shape = (self._stride, padding, self._dilation, self._groups)
        if addend is None:
            return torch.cudnn_convolution_relu(batch, self.weight, self.bias, *shape)
        return torch.cudnn_convolution_add_relu(batch, self.weight, addend, 1.0, self.bias, *shape)

    def _pad(self, batch: Tensor) -> tuple[Tensor, list[int]]:
        """Pad as TensorFlow does, with the odd pixel at the right and the bottom."""
        wanted = []
        for axis in (0, 1):
            side, step, reach = batch.shape[2 + axis], self._stride[axis], self.weight.shape[2 + axis]
            wanted.append(max((math.ceil(side / step) - 1) * step + (reach - 1) * self._dilation[axis] + 1 - side, 0))
        if all(total % 2 == 0 for total in wanted):
            return batch, [total // 2 for total in wanted]
        sides = [part for total in reversed(wanted) for part in (total // 2, total - total // 2)]
        return functional.pad(batch, sides), [0, 0]


def fuse(module: nn.Module, patch: int) -> nn.Module:
    """Return a fused copy of a network, or the network itself if it cannot be fused or its logits differ.

    Args:
        module: A network in evaluation mode, on the CPU, in float32. It shares no tensor with the copy.
        patch: The side of the patches that the network will read, in pixels.
    """
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return module
    batch = torch.randn(2, 3, patch, patch, generator=torch.Generator().manual_seed(0))
    try:
        with torch.no_grad():  # inference tensors could not be used after a move to another device
            faster = _fuse(copy.deepcopy(module))  # unchanged layers would be shared otherwise
        with torch.inference_mode():
            logits = module(batch)
            difference = (faster(batch) - logits).abs().max().item()
    except Exception:
        logger.warning("the network cannot be fused and runs unfused", exc_info=True)
        return module
    if not difference <= _TOLERANCE * max(1.0, logits.abs().max().item()):
        logger.warning("the logits of the fused network differ by %g: the network runs unfused", difference)
        return module
    return faster.float()  # drops the packed weights, so that copies and moves are small


def _onednn_fuses(batch: Tensor) -> bool:
    """Return whether oneDNN runs the fused call: on a CPU, and in 16 bits only if the processor has the format."""
    if batch.device.type != "cpu":
        return False
    if batch.dtype == torch.float16:
        return bool(torch.ops.mkldnn._is_mkldnn_fp16_supported())  # noqa: SLF001
    return batch.dtype != torch.bfloat16 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001


class _Tracer(fx.Tracer):
    """A tracer that treats timm's layers as leaves and traces calls in its own thread only.

    While a network is traced, the module calls of all threads go through the tracer; a thread that computes with
    another network meanwhile must not be affected.
    """

    def __init__(self) -> None:
        """Trace calls of the current thread."""
        super().__init__()
        self._thread = threading.get_ident()

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Trace a call; in another thread, execute it."""
        if threading.get_ident() != self._thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Return whether a module is traced as one call."""
        return isinstance(m, Conv2dSame | BatchNormAct2d) or super().is_leaf_module(m, module_qualified_name)


def _fuse(module: nn.Module) -> nn.Module:
    graph = _Tracer().trace(module)
    result = fx.GraphModule(module, graph)
    layers = dict(result.named_modules())

    def replace(node: fx.Node, layer: nn.Module) -> None:
        name = f"{node.target}_fused".replace(".", "_")
        result.add_module(name, layer)
        layers[name] = layer
        node.target = name

    for node in list(graph.nodes):
        layer = layers.get(str(node.target)) if node.op == "call_module" else None
        if isinstance(layer, nn.Conv2d) and layer.padding_mode == "zeros" and not isinstance(layer.padding, str):
            convolution = FusedConvolution(layer)
            replace(node, convolution)
            _absorb(node, convolution, layers)
        elif isinstance(layer, nn.MaxPool2d) and MaxPoolOfPositive.can_replace(layer):
            before = layers.get(str(node.args[0].target)) if isinstance(node.args[0], fx.Node) else None
            if isinstance(before, FusedConvolution) and before.positive:
                replace(node, MaxPoolOfPositive(layer))
    graph.eliminate_dead_code()
    graph.lint()
    result.delete_all_unused_submodules()
    result.recompile()
    return result


def _absorb(node: fx.Node, convolution: FusedConvolution, layers: dict[str, nn.Module]) -> None:
    """Fuse a convolution with the normalisation, sum and activation after it, if nothing else uses its output."""
    activated = False
    user = _only_user(node)
    norm = layers.get(str(user.target)) if user and user.op == "call_module" else None
    if user and isinstance(norm, nn.BatchNorm2d):
        convolution.fold(norm)
        if isinstance(norm, BatchNormAct2d):
            if not convolution.activate(norm.act):
                raise TypeError(f"{type(norm.act).__name__} cannot be fused.")
            activated = not isinstance(norm.act, nn.Identity)
        node = _merge(node, user)
        user = _only_user(node)
    if user and not activated and user.target in _SUMS and len(user.args) == 2 and not user.kwargs:  # noqa: PLR2004
        [addend] = [argument for argument in user.args if argument is not node] or [None]
        # The convolution computes the sum, so it has to run after the addend.
        if isinstance(addend, fx.Node):
            user.prepend(node)
            node.args = (*node.args, addend)
            node = _merge(node, user)
            user = _only_user(node)
    # After a sum, oneDNN fuses ReLU only.
    activations = (nn.ReLU,) if len(node.args) > 1 else (nn.ReLU, nn.ReLU6)
    follower = layers.get(str(user.target)) if user and user.op == "call_module" else None
    if user and not activated and isinstance(follower, activations) and convolution.activate(follower):
        _merge(node, user)


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _merge(node: fx.Node, user: fx.Node) -> fx.Node:
    """Replace a node's only user by the node itself."""
    user.replace_all_uses_with(node)
    user.graph.erase_node(user)
    return node
