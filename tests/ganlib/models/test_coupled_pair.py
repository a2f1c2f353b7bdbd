"""The coupled pair: domains of different widths."""

import pytest
import torch

from ganlib.data.spec import DataSpec, Vector
from ganlib.errors import DataError
from ganlib.registry import create
from ganlib.training import Trainer, TrainerConfig

torch.set_num_threads(1)


def test_the_second_domain_may_have_another_width():
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(64, 2, generator=g), torch.randn(64, 5, generator=g)
    model = create("coupled_pair", DataSpec({"x": Vector(2), "x_b": Vector(5)}), hidden=(8,))
    history = Trainer(TrainerConfig(steps=3, batch_size=16)).fit(model, {"x": a, "x_b": b})
    assert history.steps == 3
    assert model.forward_generator(a).shape == (64, 5) and model.backward_generator(b).shape == (64, 2)
    with pytest.raises(DataError, match=r"shape \(5,\), and 'x_b' has \(2,\)"):
        Trainer(TrainerConfig(steps=3, batch_size=16)).fit(model, {"x": a, "x_b": a})
