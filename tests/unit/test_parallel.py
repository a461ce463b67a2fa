"""Pieces side by side: the same numbers, a stream and a BLAS thread for each core, and nothing left behind."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from stable_audio_mlx import cpu
from stable_audio_mlx.layers import parallel
from stable_audio_mlx.memory import NORMAL, spending
from stable_audio_mlx.models.oobleck import OobleckDecoder, OobleckEncoder
from stable_audio_mlx.weights.layout import load_all
from stable_audio_mlx.weights.store import read_npz

from .test_oobleck import network
from .test_same import MODELS, error, noise, random_model

OURS = pytest.mark.skipif(not cpu.setup().startswith("OpenBLAS"), reason="MLX has its own BLAS here")
X = mx.random.normal((64, 32), key=mx.random.key(0))
W = mx.random.normal((32, 32), key=mx.random.key(1))


def job(rows):
    return lambda: mx.tanh(X[rows] @ W) @ W.T


@pytest.fixture(params=[1, 3])
def cores(request, monkeypatch):
    """As on a machine with so many cores; the real number of threads is set again."""
    with cpu.one_blas_thread(), monkeypatch.context() as patch:
        patch.setattr(cpu, "blas_threads", lambda: request.param)
        yield request.param


def test_results_come_in_order(cores):
    rows = [slice(i, i + 10) for i in range(0, 60, 10)]
    batches = list(parallel.batches(rows))
    assert [len(batch) for batch in batches] == ([3, 3] if cores == 3 else [1] * 6)
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


def test_streams_are_made_once():
    """MLX gives each a thread, and keeps it: one per call would be thousands in a long decoding."""
    for _ in range(3):
        parallel.together([job(slice(0, 9)), job(slice(9, 20)), job(slice(20, 30))])
    assert parallel.another.cache_info().currsize <= parallel.MOST
    first, second = parallel.streams(3), parallel.streams(3)
    assert all(a is b for a, b in zip(first[1:], second[1:], strict=True))
    threads = Path("/proc/self/task")
    if threads.exists():
        before = len(list(threads.iterdir()))
        for _ in range(20):
            parallel.together([job(slice(0, 9)), job(slice(9, 20))])
        assert len(list(threads.iterdir())) <= before


@pytest.mark.parametrize("name", ["chunks", "band", "uneven_band"])
def test_same_has_its_numbers_on_any_number_of_cores(name, cores):
    model, z, sound = random_model(MODELS[name]), noise(1, 45, 3), noise(1, 45 * 8, 2)
    with spending(replace(NORMAL, window=32, piece=8)):
        decoded, encoded = model.decode_tiled(z), model.encode_tiled(sound)
    assert error(decoded, model.decode(z)) < 1e-6 and error(encoded, model.encode(sound)) < 1e-6


@pytest.mark.parametrize(("cls", "shape"), [(OobleckDecoder, (1, 2500, 3)), (OobleckEncoder, (1, 20000, 2))])
def test_oobleck_has_its_numbers_on_any_number_of_cores(cls, shape, cores):
    model, x = network(cls, channels=64, c_mults=[1, 1], strides=[2, 4], use_snake=True), noise(*shape)
    assert error(mx.concatenate(list(model.tiled(x)), axis=1), model(x)) < 1e-6


def test_weights_are_those_of_the_file_on_any_number_of_cores(cores, tmp_path):
    arrays = {f"x{i}": np.random.default_rng(i).normal(size=(i + 1, 7)).astype(np.float32) for i in range(9)}
    arrays |= {"half": np.arange(6, dtype=np.float16), "none": np.zeros((0, 3), np.float32), "one": np.float32(3)}
    np.savez(tmp_path / "x.npz", **arrays)
    entries = read_npz(tmp_path / "x.npz")
    for dtype in (None, mx.float32, mx.float16):
        for name, value in load_all(entries, dtype):
            expected = mx.array(arrays[name]) if dtype is None else mx.array(arrays[name]).astype(dtype)
            assert value.dtype == expected.dtype and mx.array_equal(value, expected), name


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
