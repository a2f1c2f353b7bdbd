"""Networks export with a free batch axis, or not at all."""

import numpy as np
import pytest
import torch
from torch import nn

from ganlib.errors import ParityError
from ganlib.export.network import export_network


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 4))

    def forward(self, x):
        return (x @ self.weight).sum(1)


class Frozen(Scale):
    """The older exporter writes the example's batch size into the graph."""

    def forward(self, x):
        return super().forward(x) * float(x.shape[0])


def test_the_older_exporter_is_the_second_choice():
    network = export_network(Scale(), torch.zeros(2, 4), exporters=("no such exporter", "torchscript"))
    assert network.exporter == "torchscript" and len(network.inputs) == 1


def test_a_frozen_batch_axis_is_found():
    with pytest.raises(ParityError, match="differ from torch by up to .* at batch 1"):
        export_network(Frozen(), torch.zeros(2, 4), exporters=("torchscript",))


def test_the_module_is_left_alone():
    module = Scale().train()
    before = module.weight.detach().clone()
    export_network(module, torch.zeros(2, 4), exporters=("torchscript",))
    assert module.training and np.array_equal(before, module.weight.detach())
