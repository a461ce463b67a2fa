"""The golden files, recomputed where PyTorch and the reference packages are installed (see make_golden)."""

import importlib.util

import numpy as np
import pytest

from . import case as cases

MISSING = [name for name in ("torch", "transformers", "stable_audio_tools") if importlib.util.find_spec(name) is None]


@pytest.mark.reference
@pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
def test_golden_files_are_what_the_reference_answers():
    from .make_golden import families

    for case, record in families.cases():
        wanted = cases.load(case.name)
        got = record(case)
        assert (got.config, got.runs, got.tensors) == (wanted.config, wanted.runs, wanted.tensors), case.name
        assert got.arrays.keys() == wanted.arrays.keys(), case.name
        for key, value in wanted.arrays.items():
            np.testing.assert_allclose(got.arrays[key], value, rtol=0, atol=2e-5 * np.abs(value).max(), err_msg=key)
