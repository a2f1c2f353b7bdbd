"""One small sealed detector and its data for all serving tests."""

import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))
from serving_data import table  # noqa: E402


@pytest.fixture(scope="session")
def artifact(tmp_path_factory):
    import torch

    from ganlib.detect import VAEDetector
    from ganlib.export import seal

    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("artifact") / "small.onnx"
    detector = VAEDetector(steps=200, options={"score_samples": 2}).fit(table(600))
    seal(detector, path)
    return path


@pytest.fixture(scope="session")
def environment():
    """For subprocesses: this checkout first, one thread."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
