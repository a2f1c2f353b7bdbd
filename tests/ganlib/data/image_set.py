"""Images of noise in files."""

import numpy as np
from PIL import Image

from ganlib.data import image_files as module


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(path, **options)
    return path


def count_decoding(monkeypatch):
    decoded, decode = [], module.decode
    monkeypatch.setattr(module, "decode", lambda path, *rest: decoded.append(path) or decode(path, *rest))
    return decoded
