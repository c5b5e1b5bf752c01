"""Batches one after the other; what needs a GPU runs where there is one."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from torch import Tensor

from classifier import networks
from classifier.bundle import Bundle
from classifier.engine import devices
from classifier.engine.devices import Engine
from classifier.engine.fusion import FusedConvolution, fuse
from classifier.engine.gpu import BUSY_BATCH, Gpu
from classifier.predictor import Predictor
from testing.images import noise

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")


@pytest.fixture
def gpu() -> Gpu:
    """The CPU in its place: it computes in the same order, at once."""
    return Gpu(torch.device("cpu"))


@pytest.mark.parametrize("patches", [0, 1, 15, BUSY_BATCH - 1, BUSY_BATCH, 960, 5000])
@pytest.mark.parametrize("max_in_memory", [1, 64, 1024])
def test_results_come_in_the_order_of_the_patches(gpu: Gpu, patches: int, max_in_memory: int) -> None:
    sizes = []

    def work(numbers: range) -> Tensor:
        sizes.append(len(numbers))
        return torch.tensor(numbers)

    found = [number for part in gpu.map(work, patches, max_in_memory) for number in part.tolist()]
    assert found == list(range(patches))
    assert max(sizes, default=0) <= min(max_in_memory, max(2 * BUSY_BATCH, patches // 4))


def test_each_batch_is_begun_before_the_one_before_it_is_waited_for(gpu: Gpu) -> None:
    done: list[str] = []

    def work(numbers: range) -> Tensor:
        done.append(f"begun {numbers.start}")
        return torch.tensor(numbers)

    coming = gpu.map(work, 6, 2)
    assert done == ["begun 0"]
    done.extend(f"there {int(part[0])}" for part in coming)
    assert done == ["begun 0", "begun 2", "there 0", "begun 4", "there 2", "there 4"]


def test_batches_become_smaller_where_memory_is_too_small_and_stay_so(
    gpu: Gpu, caplog: pytest.LogCaptureFixture
) -> None:
    sizes = []

    def work(numbers: range) -> Tensor:
        sizes.append(len(numbers))
        if len(numbers) > 7:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return torch.tensor(numbers)

    with caplog.at_level(logging.WARNING):
        assert torch.cat(list(gpu.map(work, 60, 60))).tolist() == list(range(60))
    assert gpu.max_batch == 7
    assert "batches have at most 7 patches" in caplog.text
    sizes.clear()
    assert len(torch.cat(list(gpu.map(work, 30, 64)))) == 30
    assert max(sizes) <= 7


def test_one_patch_too_many_is_an_error(gpu: Gpu) -> None:
    def work(_numbers: range) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(torch.OutOfMemoryError):
        gpu.map(work, 3, 3)


def test_a_fused_network_can_be_moved_to_a_gpu() -> None:
    """A GPU's convolution refuses weights that were made in inference mode, a CPU's does not."""
    module = fuse(networks.create("resnet18").eval(), 225)
    assert [layer for layer in module.modules() if isinstance(layer, FusedConvolution)]
    assert not [name for name, weights in module.state_dict(keep_vars=True).items() if weights.is_inference()]


def test_to_move_a_fused_network_does_not_move_the_one_it_was_made_of() -> None:
    module = networks.create("resnet18").eval()
    fuse(module, 225).to("meta")
    assert {weights.device.type for weights in module.state_dict().values()} == {"cpu"}


@needs_gpu
@pytest.mark.parametrize("name", ["resnet18", "squeezenet", "efficientnet_lite0", "shufflenet_v2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_gpu_says_what_the_cpu_says(name: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    module = networks.create(name).eval()
    batch = torch.randn(5, 3, 225, 225)
    faster = fuse(module, 225).to("cuda", dtype).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        found = faster(batch.to("cuda", dtype).contiguous(memory_format=torch.channels_last)).float().cpu()
        expected = module(batch)
    assert any(isinstance(layer, FusedConvolution) for layer in faster.modules())
    tolerance = 5e-2 if dtype == torch.bfloat16 else 5e-3  # float32 may be TF32 in cuDNN
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


@needs_gpu
def test_all_formats_of_a_gpu_are_tried() -> None:
    module = fuse(networks.create("resnet18").eval(), 225)
    engines = [Engine(torch.device("cuda"), dtype) for dtype in devices.formats(torch.device("cuda"))]
    assert list(devices._forward_seconds(module, engines, (5, 3, 225, 225))) == engines


@needs_gpu
def test_images_of_all_sizes_on_a_gpu(tiny_bundle: Bundle) -> None:
    images = [noise(), noise(300, 260, seed=1), *[noise(seed=seed) for seed in range(2, 24)], noise(2300, 1800, seed=9)]
    on_gpu = Predictor(tiny_bundle, device="cuda", precision="float32").predict(images)
    on_cpu = Predictor(tiny_bundle, device="cpu", precision="float32").predict(images)
    for one, other in zip(on_gpu, on_cpu, strict=True):
        np.testing.assert_allclose(
            [vote.malignant_probability for vote in one.votes],
            [vote.malignant_probability for vote in other.votes],
            atol=5e-3,
        )
