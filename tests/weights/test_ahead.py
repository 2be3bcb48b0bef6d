"""Reading ahead: who reads what, what becomes of errors, and the thread's end."""

import gc
import threading

import pytest
import torch

from flux1.weights.files.ahead import Ahead
from flux1.weights.files.lazy import Stored
from flux1.weights.files.mapped import MappedFile


class Shelf:
    """Four tensors; it notes which thread reads which, and fails where it is told to."""

    def __init__(self):
        self.read, self.broken = [], set()
        self.tensors = [Stored("F32", (4,), 16, (lambda n=n: self._open(n),)) for n in range(4)]

    def _open(self, number):
        self.read.append((number, threading.current_thread().name.startswith("flux1-ahead")))
        if number in self.broken:
            raise OSError(f"tensor {number} cannot be read")
        return torch.full((4,), float(number))


def walk(ahead, shelf, numbers=range(4)):
    for number in numbers:
        (tensor,) = ahead.open(shelf.tensors[number])
        assert tensor.tolist() == [number] * 4


def readers():
    return [t for t in threading.enumerate() if t.name.startswith("flux1-ahead")]


def test_the_second_walk_is_read_ahead():
    shelf, ahead = Shelf(), Ahead("cpu")
    walk(ahead, shelf)
    assert shelf.read == [(0, False), (1, False), (2, False), (3, False)]
    shelf.read.clear()
    walk(ahead, shelf)
    walk(ahead, shelf)
    assert [number for number, _ in shelf.read[:8]] == [0, 1, 2, 3, 0, 1, 2, 3]
    assert [ahead for _, ahead in shelf.read[:8]] == [False] + [True] * 7


def test_an_order_that_changes_is_learnt_again():
    shelf, ahead = Shelf(), Ahead("cpu")
    for numbers in ([0, 1, 2, 3], [0, 2, 1, 3], [3, 1, 1, 1, 0], [2], [0, 2, 1, 3]):
        walk(ahead, shelf, numbers)
    shelf.read.clear()
    walk(ahead, shelf, [0, 2, 1, 3])
    assert all(there for number, there in shelf.read[1:])


def test_an_error_is_raised_where_the_tensor_is_used_and_not_kept():
    shelf, ahead = Shelf(), Ahead("cpu")
    walk(ahead, shelf)
    shelf.broken.add(2)
    for _ in range(3):
        walk(ahead, shelf, [0, 1])
        with pytest.raises(OSError, match="tensor 2 cannot be read"):
            ahead.open(shelf.tensors[2])
    shelf.broken.clear()
    walk(ahead, shelf)


def test_a_walk_that_is_broken_off_leaves_nothing_in_the_way():
    shelf, ahead = Shelf(), Ahead("cpu")
    for stop in (4, 1, 3, 2, 4):
        walk(ahead, shelf, range(stop))


def test_one_thread_for_all_and_it_ends_with_the_last():
    shelves, all_ahead = [Shelf() for _ in range(3)], [Ahead("cpu") for _ in range(3)]
    for _ in range(2):
        for shelf, ahead in zip(shelves, all_ahead, strict=True):
            walk(ahead, shelf)
    (thread,) = readers()
    ahead = all_ahead.pop()
    all_ahead.clear()
    gc.collect()
    assert readers() == [thread]
    del ahead
    gc.collect()
    thread.join(timeout=60)
    assert not thread.is_alive()


def test_many_threads_share_a_network():
    shelf, ahead, failures = Shelf(), Ahead("cpu"), []

    def many():
        try:
            for _ in range(50):
                walk(ahead, shelf)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in threads)
    assert not failures


def test_bytes_of_a_file_arrive_and_are_given_back(tmp_path):
    file = tmp_path / "x"
    numbers = torch.arange(3 * 2**18, dtype=torch.int32).view(torch.float32)
    file.write_bytes(numbers.numpy().tobytes())
    mapped = MappedFile(file)
    size = 2**20
    tensors = [
        Stored(
            "F32", (2**18,), size, (lambda n=n: mapped.tensor(n * size, torch.float32, (2**18,)),)
        )
        for n in range(3)
    ]
    ahead = Ahead("cpu")
    for _ in range(3):
        for n, stored in enumerate(tensors):
            (tensor,) = ahead.open(stored)
            expected = numbers[n * 2**18 : (n + 1) * 2**18]
            assert torch.equal(tensor.view(torch.int32), expected.view(torch.int32))
