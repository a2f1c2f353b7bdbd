"""The list of operators that sealing keeps to is what the models emit: neither shorter nor longer."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from export_models import build, conditions, names
from test_arrays import ARRAYS, VARIANTS, spec_of
from test_encoder import CASES
from torch import nn

import ganlib.export
from ganlib.abilities import Locates, can
from ganlib.calibrate import Calibration
from ganlib.data.encoder import TableEncoder
from ganlib.data.inference import infer_schema
from ganlib.data.spec import DataSpec
from ganlib.detect import VAEDetector
from ganlib.errors import ParityError
from ganlib.export import seal_encoder, seal_generator
from ganlib.export.augmenter import seal_augmenter
from ganlib.export.detector import seal_detector
from ganlib.export.network import export_network
from ganlib.export.reference import prepared
from ganlib.models.gan.gan import CriticScorer
from ganlib.registry import entries
from serving.opening.operators import ACTIVATIONS, ALLOWED, EMITTED, ML

IMAGES, SMALL = DataSpec.image(1, 8, 8), {"latent_dim": 4, "width": 8, "hidden": (8,)}
NORMS = [(nets, norm) for nets in ("mlp", "resnet") for norm in ("batch", "layer", "instance", "virtual")]
SAMPLERS = [e for e in entries() if "sampler" in e.exports and not e.toy.spec.vocabulary]
SCORERS = [e for e in entries() if "scorer" in e.exports]


def operators(graph):
    """(domain, operator) of a graph and its branches."""
    for node in graph.node:
        yield node.domain, node.op_type
        for attribute in node.attribute:
            yield from operators(attribute.g)


class Activated(nn.Module):
    def __init__(self, activation):
        super().__init__()
        self.first, self.activation = nn.Linear(3, 4), activation

    def forward(self, x):
        return self.activation(self.first(x)).sum(1)


def of_arrays():
    for model in SAMPLERS:
        if ARRAYS & set(model.modalities):
            spec = spec_of(model)
            made = build(model.name, spec, **model.toy.config)
            yield seal_generator(made, conditions(made, spec), as_bytes=spec.kind == "image").model
    for name, spec, config in VARIANTS.values():
        made = build(name, spec, **{"latent_dim": 6, "width": 8, **config})
        yield seal_generator(made, names(spec), as_bytes=spec.kind == "image").model
    for name, (spec, config) in CASES.items():
        yield seal_encoder(build(name, spec, **config), names(spec)).model


def of_networks(spec):
    """Networks alone: scorers of encoded rows, and generators and critics under each norm."""
    for model in SCORERS:
        plain = "table" in model.modalities and not model.toy.spec.classes
        own = spec if plain else model.toy.spec
        made = build(model.name, own, **model.toy.config)
        yield made.scorer(), torch.zeros(2, *own.shape)
        if can(made, Locates):
            yield made.locator(), torch.zeros(2, *own.shape)
    for nets, norm in NORMS:
        shaped = spec if nets == "mlp" else IMAGES
        if nets == "mlp" and norm == "instance":
            continue
        config = {**SMALL, "networks": nets, "critic_networks": nets}
        sampler = build("gan", shaped, generator_norm=norm, **config).sampler()
        yield sampler, torch.zeros(2, sampler.latent_dim)
        if norm != "virtual":
            yield (
                CriticScorer(build("gan", shaped, critic_norm=norm, **config).critic).eval(),
                torch.zeros(2, *shaped.shape),
            )


def test_what_the_exporter_adds_itself_is_on_the_list():
    """Also what only some tables need: a tail beyond the calibration rows, the time between two dates."""
    sources = Path(ganlib.export.__file__).parent.glob("*.py")
    named = {name for path in sources for name in re.findall(r"\.op\(\s*\"(\w+)\"", path.read_text())}
    assert {"And", "Or", "Gather"} <= named <= {name for _, name in ALLOWED}


def with_tail_and_gap():
    """A detector whose graph has a Pareto tail and the time between two dates."""
    rng = np.random.default_rng(0)
    start = pd.Timestamp("2026-01-05") + pd.to_timedelta(rng.uniform(0, 60 * 86_400, 1400).round(), unit="s")
    end = start + pd.to_timedelta(rng.uniform(1800, 5400, 1400).round(), unit="s")
    frame = pd.DataFrame({"start": start, "end": end, "size": rng.normal(size=1400)})
    made = VAEDetector(steps=20, calibration_fraction=0.5, random_state=0).fit(frame)
    made.calibration_ = Calibration.fit(rng.exponential(size=2000))
    assert made.calibration_.tail is not None and any(c.gap_from for c in made.schema_.columns)
    return made


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_the_list_is_what_all_models_emit(table, detector):
    from test_augmenter import Generator

    encoder = TableEncoder(infer_schema(table), for_generation=True).fit(table)
    emitted = set(operators(seal_detector(detector).model.graph))
    emitted |= set(operators(seal_augmenter(Generator(table, ["no", "yes"])).model.graph))
    emitted |= set(operators(seal_detector(with_tail_and_gap()).model.graph))
    for model in of_arrays():
        emitted |= set(operators(model.graph))
    for module, example in of_networks(encoder.spec):
        emitted |= set(operators(export_network(prepared(module), example).graph))
    assert {name for domain, name in emitted if domain == ""} == EMITTED
    assert {pair for pair in emitted if pair[0]} == {(ML, "LabelEncoder")}


def test_a_network_of_other_operators_is_refused_by_their_names():
    class Sorted(nn.Module):
        def forward(self, x):
            return torch.topk(x, 1).values[:, 0]

    with pytest.raises(ParityError, match="operators that sealed graphs do not have: TopK"):
        export_network(Sorted(), torch.zeros(2, 4))


def test_sizes_that_depend_on_values_are_refused():
    import onnx
    from onnx import TensorProto, helper

    from ganlib.export.network import _unsupported

    ports = [helper.make_tensor_value_info(*p) for p in (("x", 1, ["b", 2]), ("n", 7, [1]), ("y", 1, ["c", 2]))]
    nodes = [helper.make_node("Concat", ["n", "two"], ["s"], axis=0), helper.make_node("Expand", ["x", "s"], ["y"])]
    two = helper.make_tensor("two", TensorProto.INT64, [1], [2])
    model = helper.make_model(
        helper.make_graph(nodes, "g", ports[:2], ports[2:], [two]), opset_imports=[helper.make_opsetid("", 20)]
    )
    onnx.checker.check_model(model)
    assert "not known before it runs" in _unsupported(model)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_activations_of_ones_own_networks_are_allowed():
    emitted = set()
    for name in (
        "CELU", "ELU", "GELU", "Hardsigmoid", "Hardswish", "Mish", "ReLU6", "SELU", "SiLU", "Softsign", "Tanhshrink",
        "PReLU", "LogSigmoid", "Hardtanh",
    ):  # fmt: skip
        network = export_network(Activated(getattr(nn, name)()), torch.zeros(2, 3))
        emitted |= set(operators(network.graph))
    assert emitted <= ALLOWED and {name for _, name in emitted} - EMITTED == ACTIVATIONS
