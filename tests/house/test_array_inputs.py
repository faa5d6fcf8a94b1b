"""Arrays that are laid out as no tensor can be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.testing import assert_close

import howfar


@pytest.mark.parametrize("turned", [np.flipud, np.fliplr, lambda array: array[::-2]])
def test_arrays_that_run_backwards_are_taken(turned):
    """Torch has no negative strides: a hand-over by DLPack would end the process."""
    array = np.arange(12.0).reshape(6, 2) ** 2
    backwards, y = turned(array), np.ones((3, 2))
    assert min(backwards.strides) < 0
    assert_close(howfar.wasserstein(backwards, y), howfar.wasserstein(backwards.copy(), y), atol=0, rtol=0)


def test_arrays_of_another_byte_order_are_taken():
    array = np.arange(6.0).reshape(3, 2)
    swapped = array.astype(array.dtype.newbyteorder())
    assert_close(howfar.Measure.of(swapped).points, torch.from_numpy(array), atol=0, rtol=0)


def test_read_only_arrays_are_copied():
    array = np.arange(6.0).reshape(3, 2)
    array.setflags(write=False)
    assert howfar.Measure.of(array).points.data_ptr() != array.ctypes.data
