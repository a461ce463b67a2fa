"""The Linux CPU platform: the fast BLAS computes what NumPy computes, and every way it can fail leaves MLX working."""

import os
import subprocess
import sys

import mlx.core as mx
import numpy as np
import pytest

from stable_audio_mlx import cpu

linux_cpu = pytest.mark.skipif(not cpu.on_linux_cpu(), reason="only a Linux CPU needs a fast BLAS")
installed = pytest.mark.skipif(cpu.importlib.util.find_spec("scipy_openblas32") is None, reason="no scipy-openblas32")


def run(code: str, **environment: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, 'src'); from stable_audio_mlx import cpu; {code}"],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@linux_cpu
@installed
def test_setup_gives_mlx_a_fast_blas():
    assert "scipy-openblas32" in cpu.setup()
    base, path = cpu._loaded_library("libmlx.so")
    for name, address in cpu._pointer_slots(base, path).items():
        assert "openblas" in cpu._mapping(cpu._pointer(address).value)[1], name


@linux_cpu
@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 7), (64, 64, 64), (1, 257, 33), (130, 1, 9)])
def test_products_agree_with_numpy(dtype, shape):
    cpu.setup()
    rows, inner, columns = shape
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, rows, inner)), rng.standard_normal((columns, inner))
    if dtype == np.complex64:
        a, b = a + 1j * a[::-1], b - 0.5j * b
    a, b = a.astype(dtype), b.astype(dtype)
    product = np.array(mx.array(a) @ mx.array(b).T)
    np.testing.assert_allclose(product, a @ b.T, rtol=1e-4, atol=1e-4)


@linux_cpu
def test_gradients_and_batches_pass_through_it():
    cpu.setup()
    x = mx.random.normal((4, 6, 8), key=mx.random.key(0))
    w = mx.random.normal((8, 5), key=mx.random.key(1))
    gradient = mx.grad(lambda w: (x @ w).square().sum())(w)
    expected = 2 * np.einsum("bij,bik->jk", np.array(x), np.array(x @ w))
    np.testing.assert_allclose(np.array(gradient), expected, rtol=1e-4, atol=1e-4)


@linux_cpu
def test_the_cache_limit_is_raised():
    cpu.setup()
    assert mx.set_cache_limit(cpu.CACHE_LIMIT) == cpu.CACHE_LIMIT


@linux_cpu
def test_switches():
    assert "STABLE_AUDIO_MLX_BLAS is 0" in run("print(cpu.setup())", STABLE_AUDIO_MLX_BLAS="0")
    assert run("print(cpu.fast_forms())", STABLE_AUDIO_MLX_FAST_CPU="0") == "False"
    assert run("print(cpu.fast_forms())", STABLE_AUDIO_MLX_FAST_CPU="1") == "True"


@linux_cpu
@installed
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="names of x86-64 kernels")
def test_kernels_follow_the_processor_or_our_own_variable():
    """What holds NumPy to an older kernel would halve MLX's speed; the variable itself is left as it was."""
    ours = run("print(cpu.setup())", OPENBLAS_CORETYPE="", STABLE_AUDIO_MLX_CORETYPE="")
    seen = "print(cpu.setup()); import os; print(os.environ['OPENBLAS_CORETYPE'])"
    assert run(seen, OPENBLAS_CORETYPE="Nehalem").splitlines() == [ours, "Nehalem"]
    assert "Nehalem kernels" in run("print(cpu.setup())", STABLE_AUDIO_MLX_CORETYPE="Nehalem")


@linux_cpu
@installed
def test_a_wrong_product_restores_the_old_functions():
    """With the check reporting a difference, the pointers must be as before and the reason must be told."""
    print_pointers = (
        "print([cpu._pointer(a).value for a in cpu._pointer_slots(*cpu._loaded_library('libmlx.so')).values()])"
    )
    fail = "cpu._wrong_product = lambda: 'float32'; print(cpu.setup())"
    code = f"import mlx.core; {print_pointers}; {fail}; {print_pointers}"
    before, reason, after = run(code).splitlines()
    assert before == after
    assert "float32 product did not agree" in reason


@linux_cpu
def test_the_check_sees_a_wrong_product(monkeypatch):
    cpu.setup()
    assert cpu._wrong_product() is None
    monkeypatch.setattr(mx.array, "__matmul__", lambda a, b: mx.matmul(a, b) + 1)
    assert cpu._wrong_product() == "float32"


@linux_cpu
@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("cpu.POINTER_KINDS = {}", "is not known"),
        ("cpu.FUNCTIONS = ('cblas_sgemm', 'cblas_no_such')", "does not call"),
        ("cpu._loaded_library = lambda name: (0, cpu.__file__)", "not a 64-bit"),
        ("cpu._mapping = lambda address: ('r--p', '')", "read-only"),
        ("cpu.importlib.util.find_spec = lambda name: None", "not installed"),
    ],
)
def test_what_does_not_look_as_expected_leaves_mlx_as_it_was(damage, reason):
    out = run(
        f"import mlx.core as mx; {damage}; print(cpu.setup()); print((mx.ones((3, 3)) @ mx.ones((3, 3))).sum().item())"
    )
    assert reason in out.splitlines()[0]
    assert out.splitlines()[1] == "27.0"
