"""Processes side by side (pytest-xdist) share the cores: one thread of linear algebra each."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(name, "1")
