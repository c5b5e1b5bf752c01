"""Each core takes patches of its own."""

import threading
import time
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from classifier.engine.cores import MAX_CHUNK, Cores


@pytest.fixture
def cores() -> Iterator[Cores]:
    """Of a machine with three."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield Cores()
    torch.set_num_threads(before)


@pytest.mark.parametrize("patches", [0, 1, 2, 15, 16, 100])
def test_results_come_in_the_order_of_the_patches(cores: Cores, patches: int) -> None:
    def work(numbers: range) -> Tensor:
        time.sleep(0.001 * (numbers.start % 3))
        return torch.tensor(numbers)

    found = [number for part in cores.map(work, patches, max_in_memory=64) for number in part.tolist()]
    assert found == list(range(patches))


@pytest.mark.parametrize(("patches", "max_in_memory"), [(15, 64), (15, 4), (15, 1), (1000, 128), (1000, 12)])
def test_no_more_than_allowed_are_in_memory_at_once(cores: Cores, patches: int, max_in_memory: int) -> None:
    lock = threading.Lock()
    now = most = 0

    def work(numbers: range) -> Tensor:
        nonlocal now, most
        with lock:
            now += len(numbers)
            most = max(most, now)
        assert len(numbers) <= MAX_CHUNK
        time.sleep(0.0005)
        with lock:
            now -= len(numbers)
        return torch.tensor(numbers)

    assert sum(map(len, cores.map(work, patches, max_in_memory))) == patches
    assert most <= max(max_in_memory, 3)  # one for each core at the least


def test_a_core_that_is_used_otherwise_leaves_its_share_to_the_others(cores: Cores) -> None:
    first = 0
    done: list[int] = []
    all_others = threading.Event()

    def work(numbers: range) -> Tensor:
        nonlocal first
        if numbers.start == 0:
            first = len(numbers)
            assert all_others.wait(10)  # while this core is busy, the others do all the rest
        done.extend(numbers)
        if len(done) == 60 - first:
            all_others.set()
        return torch.tensor(numbers)

    first = 60
    list(cores.map(work, 60, max_in_memory=64))
    assert sorted(done) == list(range(60))


@pytest.mark.parametrize("patches", [15, 45, 60, 100, 3500])
def test_cores_end_at_about_the_same_time(cores: Cores, patches: int) -> None:
    """Whoever is free takes the next go, and a patch takes as long as another."""
    sizes = [len(part) for part in cores.map(torch.tensor, patches, max_in_memory=64)]
    ends = [0, 0, 0]
    for size in sizes:
        ends[ends.index(min(ends))] += size
    assert max(ends) - min(ends) <= 2
    assert sizes[0] == min(MAX_CHUNK, -(-patches // 6))


def test_within_the_threads_pytorch_uses_one_core_each_and_outside_what_it_used_before() -> None:
    before = torch.get_num_threads()
    cores = Cores()
    inside = torch.cat(list(cores.map(lambda _: torch.tensor([torch.get_num_threads()]), 20, max_in_memory=64)))
    assert set(inside.tolist()) == {1}
    assert torch.get_num_threads() == before
    later: list[int] = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [before]


def test_an_error_reaches_the_caller_and_the_rest_is_dropped(cores: Cores) -> None:
    begun: list[int] = []

    def work(numbers: range) -> Tensor:
        begun.append(numbers.start)
        if numbers.start == 0:
            raise ValueError("no number")
        time.sleep(0.05)
        return torch.tensor(numbers)

    with pytest.raises(ValueError, match="no number"):
        list(cores.map(work, 1000, max_in_memory=64))
    assert len(begun) < 20
    assert sum(map(len, cores.map(torch.tensor, 3, max_in_memory=64))) == 3
