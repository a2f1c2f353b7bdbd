"""One small sealed detector and its data for all serving tests."""

import os
import sys

import numpy as np
import pytest

sys.path.insert(0, os.path.dirname(__file__))
from redis_fixture import own_server, running, server  # noqa: E402, F401
from serving_data import CLASSES, table  # noqa: E402


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
def files(tmp_path_factory):
    """A sealed generator of images and a sealed encoder of the same images."""
    import torch

    from ganlib.data.spec import DataSpec
    from ganlib.export import save_sealed, seal_encoder, seal_generator
    from ganlib.registry import create

    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("arrays")
    algorithm = create("cvae", DataSpec.image(3, 8, 6, classes=2), latent_dim=4, width=8)
    save_sealed(seal_generator(algorithm, CLASSES, as_bytes=True), folder / "images.onnx")
    save_sealed(seal_encoder(algorithm, CLASSES), folder / "encoder.onnx")
    return folder


@pytest.fixture(scope="session")
def detectors(tmp_path_factory):
    """Briefly trained detectors of grey images of 8 x 8 bytes and of series of 2 x 24: (estimator, sealed file)."""
    import torch
    from serving_data import pictures, waves

    from ganlib.detect import as_detector
    from ganlib.export import seal

    torch.set_num_threads(1)
    folder, made = tmp_path_factory.mktemp("detectors"), {}
    for name, data, options in (("image", pictures(300), {"width": 4}), ("series", waves(300), {})):
        model = "began" if name == "image" else "reconstruction_vae"
        detector = as_detector(model, steps=60, latent_dim=4, alpha=0.05, options=options).fit(data)
        seal(detector, folder / f"{name}.onnx")
        made[name] = detector, folder / f"{name}.onnx"
    return made


@pytest.fixture(scope="session")
def windowed(tmp_path_factory):
    """A briefly trained detector of windows of 8 rows and two channels, keyed by ``machine``: (estimator, file)."""
    import torch
    from serving_data import WINDOWS, readings

    from ganlib.detect import as_detector
    from ganlib.export import seal

    torch.set_num_threads(1)
    frame = readings(1, 400)
    values = frame[["heat", "load"]].to_numpy()
    examples = np.stack([values[i : i + 8].T for i in range(len(values) - 7)])
    detector = as_detector("reconstruction_vae", steps=60, latent_dim=2, hidden=(8,), alpha=0.05).fit(examples)
    path = tmp_path_factory.mktemp("windowed") / "windows.onnx"
    seal(detector, path, windows=WINDOWS)
    return detector, path


@pytest.fixture(scope="session")
def environment():
    """For subprocesses: this checkout first, one thread."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
