import numpy as np
import pytest

from oneformer.datasets.pixel_counts import count_values


@pytest.mark.parametrize('dtype', [np.uint8, np.int16, np.uint16, np.int32, np.int64])
@pytest.mark.parametrize('shape', [(1, 1), (7, 300), (0, 4)])
@pytest.mark.parametrize('minlength', [0, 3, 400])
def test_counts_are_those_of_numpy(dtype, shape, minlength):
    values = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
    for given in (values, np.asfortranarray(values), values[:, ::2]):
        expected = np.bincount(given.ravel(), minlength=minlength)
        counts = count_values(given, minlength)
        assert counts.dtype == expected.dtype and counts.tolist() == expected.tolist()


def test_the_largest_values_are_counted():
    values = np.array([[0, 65535, 65535], [65534, 0, 1]], np.uint16)
    assert np.flatnonzero(count_values(values)).tolist() == [0, 1, 65534, 65535]
    assert count_values(values)[65535] == 2
    assert count_values(np.full((1, 2), 32767, np.int16))[32767] == 2


def test_counts_beyond_the_precision_of_float32_are_exact():
    values = np.zeros((4097, 4097), np.uint8)
    values[0, :3] = 1
    assert count_values(values).tolist() == [4097 * 4097 - 3, 3]
