"""One mixed table and hand-made estimators: exports are slow, so each is made once a session."""

import copy
import os
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from ganlib.calibrate import Calibration
from ganlib.data.encoder import TableEncoder
from ganlib.data.inference import infer_schema
from ganlib.export import seal

sys.path.insert(0, os.path.dirname(__file__))

SECRETS = ("zebra-canary-7731", "otter/canary/88")
NUMBERS = (123456.789012, -98765.432109)


def mixed_table(n=1500, seed=0):
    """Every kind of column, with and without missing values, and canaries seen once and thrice."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "amount": rng.lognormal(3, 1, n),
            "cat": rng.choice(["red", "green", "blue"], n, p=[0.6, 0.3, 0.1]),
            "count": rng.integers(0, 40, n),
            "flag": rng.random(n) < 0.3,
            "when": pd.Timestamp("2024-03-01") + pd.to_timedelta(rng.integers(0, 10**7, n), unit="s"),
            "words": [" ".join(rng.choice(["lorem", "ipsum", "Dolor", "42"], 4)) + f" {i}" for i in range(n)],
            "gaps": np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n)),
            "maybe": pd.array(rng.random(n) < 0.5, dtype="boolean"),
            "level": rng.choice(["a", "b", None], n, p=[0.5, 0.3, 0.2]),
            "explain": rng.normal(size=n),
        }
    )
    frame.loc[::17, "maybe"] = pd.NA
    frame.loc[5, "cat"], frame.loc[[7, 8, 9], "level"] = SECRETS
    frame.loc[11, "amount"], frame.loc[[12, 13, 14], "gaps"] = NUMBERS
    frame["site"] = rng.choice(["north", "south", "tiny"], n, p=[0.6, 0.38, 0.02])
    return frame


class Score(nn.Module):
    """An autoencoder's squared error: a scorer small enough to reason about."""

    def __init__(self, width, hidden=8):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width))

    def forward(self, x):
        return self.residual(x).mean(1)

    def residual(self, x):
        return (x - self.net(x)).square()


class Fitted:
    """What sealing needs of a fitted detector."""

    model = "hand_made"

    def __init__(self, frame, scorer=Score, group=None, schema=None):
        torch.manual_seed(0)
        self.schema_ = schema or infer_schema(frame, group=group)
        half = len(frame) // 2
        self.encoder_ = TableEncoder(self.schema_).fit(frame.iloc[:half])
        self.scorer_ = scorer(self.encoder_.width).eval()
        self._double = copy.deepcopy(self.scorer_).double()
        self.algorithm_ = SimpleNamespace(config=SimpleNamespace(to_dict=lambda: {"hidden": 8}))
        feeds = self.encoder_.feeds(frame.iloc[half:])
        self.calibration_ = Calibration.fit(self._score(self.encoder_.encode(feeds)), self._groups(feeds))

    def _score(self, x):
        with torch.no_grad():
            return self._double(torch.from_numpy(x).double()).float().numpy()

    def _groups(self, feeds):
        return feeds[self.schema_.group] if self.schema_.group else None


@pytest.fixture(scope="session")
def table():
    return mixed_table()


@pytest.fixture(scope="session")
def detector(table):
    return Fitted(table, group="site")


@pytest.fixture(scope="session")
def sealed(detector, tmp_path_factory):
    path = tmp_path_factory.mktemp("sealed") / "detector.onnx"
    training = {"fingerprint": "f" * 64, "rows": 750, "data": "toy"}
    return path, seal(detector, path, training=training)


@pytest.fixture(scope="session")
def make():
    """Builds a fitted detector from a frame."""
    return Fitted
