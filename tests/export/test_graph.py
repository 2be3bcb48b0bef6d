"""The pen: what it writes computes what it says."""

import numpy as np
import onnxruntime
import pytest

from flux1.export.graph import FLOAT, HALF, INT64, Graph
from flux1.export.t5 import bucket


def run(graph, **inputs):
    session = onnxruntime.InferenceSession(graph.finish({}).SerializeToString())
    return session.run(None, inputs)


def test_arithmetic_is_written_as_it_reads():
    graph = Graph("x", {}, "fp32", 20)
    x = graph.input("x", "n", 3)
    graph.output("y", (x * 2.0 + 1.0) / np.array([1.0, 2.0, 4.0]) - x, "n", 3)
    given = np.float32([[1, 2, 3], [4, 5, 6]])
    (found,) = run(graph, x=given)
    np.testing.assert_allclose(found, (given * 2 + 1) / [1, 2, 4] - given)


def test_numbers_take_the_type_of_what_they_meet():
    graph = Graph("x", {}, "fp16", 20)
    x = graph.input("x", "n").to(HALF)
    y = x + 1.0
    assert (y.type, y.to(FLOAT).type, graph.shape(y).type) == (HALF, FLOAT, INT64)
    assert y.to(HALF) is y


def test_equal_constants_are_kept_once():
    graph = Graph("x", {}, "fp32", 20)
    x = graph.input("x", "n")
    graph.output("y", x * 2.0 + x * 2.0 + 3.0, "n")
    assert len(graph.finish({}).graph.initializer) == 2


def test_only_the_newest_value_can_be_named():
    graph = Graph("x", {}, "fp32", 20)
    first = graph.input("x", "n") + 1.0
    assert (first * 2.0).graph is graph
    with pytest.raises(ValueError, match="is not the newest value"):
        graph.called(first, "first")


@pytest.mark.parametrize("far", [0, 7, 8, 15, 16, 31, 64, 127, 128, 1000])
def test_buckets_of_distances_are_those_of_t5(far):
    import torch
    from transformers.models.t5.modeling_t5 import T5Attention

    both = np.array([-far, far])
    theirs = T5Attention._relative_position_bucket(torch.from_numpy(both))
    assert bucket(both).tolist() == theirs.tolist()
