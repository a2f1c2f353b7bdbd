"""The page of generated examples: which classes and examples it shows."""

import numpy as np
import pytest

from ganlib.augment.lift import Shown
from pipelines.example_page import ACROSS, CLASSES, gallery, nearest


def test_the_nearest_real_example_is_found():
    rng = np.random.default_rng(0)
    real = rng.integers(0, 256, (30, 6, 6), dtype=np.uint8)
    places = rng.permutation(30)[:12]
    made = np.clip(real[places].astype(int) + rng.integers(-9, 10, (12, 6, 6)), 0, 255).astype(np.uint8)
    assert nearest(real, made).tolist() == places.tolist()


@pytest.mark.parametrize("shape", [(8, 8), (8, 6, 3), (1, 12), (5, 12)])
@pytest.mark.parametrize("made", [1, 30])
def test_the_smallest_classes_that_grew_are_shown(shape, made):
    rng = np.random.default_rng(0)
    counts = {"large": 40, "b<i>": 3, "c": 12, "d": 2, "e": 9, "f": 30}
    of = np.repeat(list(counts), list(counts.values()))
    grown = np.repeat([name for name in counts if name != "large"], made)
    modality = "series" if shape[-1] == 12 else "image"
    shown = Shown(modality, (rng.random((len(of), *shape)), of), (rng.random((len(grown), *shape)), grown))
    page = gallery(shown)
    assert page.count("<img") == CLASSES < ACROSS and gallery(shown) == page
    order = [page.index(f"Class {name}:") for name in ("d", "b&lt;i&gt;", "e", "c")]
    assert order == sorted(order) and "Class large" not in page and "Class f" not in page
