"""imbalanced-learn's own estimator checks, on every augmenter, with a handful of training steps."""

import pytest
import torch
from imblearn.utils.estimator_checks import parametrize_with_checks

from ganlib.augment import AutoAugmenter, CGANAugmenter, CVAEAugmenter, CVAEGANAugmenter, VAEAugmenter

torch.set_num_threads(1)
QUICK = {"steps": 3, "hidden": (8,), "latent_dim": 2, "curation": 0.0}


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(
    [kind(**QUICK) for kind in (CVAEAugmenter, CVAEGANAugmenter, CGANAugmenter, VAEAugmenter)]
    + [AutoAugmenter(members=["gaussian"], compare=False, curation=0.0)]
)
def test_imbalanced_learn_checks(estimator, check):
    check(estimator)
