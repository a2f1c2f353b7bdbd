"""Maps from normal scores to columns."""

import numpy as np
import torch

from ganlib.data.spec import DataSpec
from ganlib.nn.marginals import Marginals


def test_columns_of_very_many_atoms():
    """42 common values, the most there can be, and rare ones between each two."""
    common, rare = np.repeat(np.arange(42) * 10.0, 100), np.arange(43) * 10.0 - 5
    x = np.concatenate([common, rare])[:, None]
    rows = np.arange(len(x))
    marginals = Marginals(DataSpec.vector(1))
    scores = marginals.fit_transform(x, np.ones(len(x)), rows, np.random.default_rng(0))
    back = marginals(torch.from_numpy(scores)).numpy()
    assert np.array_equal(back[: len(common)], common[:, None].astype(np.float32))
    assert np.abs(back - x).max() < 10
