"""Augmenters of tables and their peers on the same rows: ``python -m benchmarks.augmentation run``, then ``report``."""

import os

# One thread unless said otherwise; before NumPy is imported.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
