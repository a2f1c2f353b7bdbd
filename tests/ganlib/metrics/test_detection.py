import numpy as np
import pytest
import torch

from ganlib.errors import DataError
from ganlib.metrics.detection import auprc, auroc


def test_by_hand():
    """Of four pairs three are ranked right; the anomalies stand at ranks 1 and 3: precision 1 and 2/3."""
    scores, truths = torch.tensor([[4.0], [3.0], [2.0], [1.0]]), np.array([True, False, True, False])
    assert auroc(scores, truths) == pytest.approx(3 / 4, abs=1e-12)
    assert auprc(scores, torch.from_numpy(truths)) == pytest.approx(5 / 6, abs=1e-12)


@pytest.mark.parametrize("measure", [auroc, auprc])
@pytest.mark.parametrize(
    ("scores", "truths", "message"),
    [
        ([0.1, 0.9, 0.5], [0, 1], "scores holds 3 values, anomalous 2"),
        ([0.1, np.nan], [0, 1], "scores holds values that are not finite"),
        ([0, 1], [0.1, 0.9], "give the scores first"),
        ([0.1, 0.9], [-1, 1], "other than 0 and 1"),
        ([0.1, 0.9], ["normal", "odd"], "anomalous must be one array of numbers"),
        ([0.1, 0.9], [1, 1], "one kind only"),
        ([], [], "anomalous has 0 samples"),
    ],
)
def test_refusals(measure, scores, truths, message):
    with pytest.raises(DataError, match=message):
        measure(np.asarray(scores), np.asarray(truths))
