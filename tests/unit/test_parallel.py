"""Pieces side by side: the same numbers, a stream and a BLAS thread for each core, and nothing left behind."""

from concurrent.futures import ThreadPoolExecutor

import mlx.core as mx
import numpy as np
import pytest

from stable_audio_mlx import cpu
from stable_audio_mlx.layers import parallel

OURS = pytest.mark.skipif(not cpu.setup().startswith("OpenBLAS"), reason="MLX has its own BLAS here")
X = mx.random.normal((64, 32), key=mx.random.key(0))
W = mx.random.normal((32, 32), key=mx.random.key(1))


def job(rows):
    return lambda: mx.tanh(X[rows] @ W) @ W.T


@pytest.fixture(params=[1, 3])
def wide(request, monkeypatch):
    monkeypatch.setattr(parallel, "width", lambda: request.param)
    return request.param


def test_results_come_in_order(wide):
    rows = [slice(i, i + 10) for i in range(0, 60, 10)]
    batches = list(parallel.batches(rows))
    assert [len(batch) for batch in batches] == ([3, 3] if wide == 3 else [1] * 6)
    for batch in batches:
        for r, y in zip(batch, parallel.together([job(r) for r in batch]), strict=True):
            np.testing.assert_allclose(np.array(y), np.array(job(r)()), rtol=1e-5, atol=1e-5)


def test_every_thread_has_streams_of_its_own():
    """MLX's streams belong to the thread that made them."""

    def work(_):
        return [np.array(y) for y in parallel.together([job(slice(0, 9)), job(slice(9, 20))])]

    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        for first, second in [work(0), *one.map(work, range(2)), *other.map(work, range(2))]:
            np.testing.assert_allclose(first, np.array(job(slice(0, 9))()), rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(second, np.array(job(slice(9, 20))()), rtol=1e-5, atol=1e-5)


@OURS
def test_products_take_one_thread_each_and_all_of_them_afterwards():
    library, seen = cpu._openblas, []

    def watched():
        seen.append(library.scipy_openblas_get_num_threads())
        return X @ W

    parallel.together([watched, watched])
    assert seen == [1, 1]
    assert library.scipy_openblas_get_num_threads() == cpu.blas_threads() >= 1

    def failing():
        raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        parallel.together([watched, failing])
    assert library.scipy_openblas_get_num_threads() == cpu.blas_threads()


def test_a_chip_that_is_parallel_itself_gets_one_piece_at_a_time(monkeypatch):
    monkeypatch.setattr(cpu, "_openblas", None)
    cpu.blas_threads.cache_clear()
    try:
        assert parallel.width() == 1
    finally:
        cpu.blas_threads.cache_clear()
