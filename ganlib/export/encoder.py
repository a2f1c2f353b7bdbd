"""Exports a model's encoder as a graph from examples, and their class for conditional encoders, to codes."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ganlib.abilities import Encodes, can
from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError
from ganlib.export.arrays import MODALITIES, model_card
from ganlib.export.builder import FLOAT, GraphBuilder
from ganlib.export.network import export_network
from ganlib.export.parity import open_session
from ganlib.export.parts import Sealed
from ganlib.export.reference import (
    Reference,
    check_arrays,
    check_classes,
    check_network,
    conditions_in_turn,
    examples_of,
    golden_arrays,
    needs_condition,
    prepared,
    spread,
)
from ganlib.export.sampler_graph import add_condition
from ganlib.nn.layers import bake
from ganlib.training.data_checks import check_model

_CANDIDATES = 64


class _Encoder(nn.Module):
    """An algorithm's ``encode`` as a module."""

    algorithm: Any

    def __init__(self, algorithm: Any) -> None:
        super().__init__()
        self.by_class = len(inspect.signature(algorithm.encode).parameters) > 1
        self.algorithm = bake(algorithm).eval()

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Codes ``(n, k)``."""
        codes = self.algorithm.encode(x, condition) if self.by_class else self.algorithm.encode(x)
        return codes.to(x.dtype)


def encoder_of(algorithm: Any) -> nn.Module | None:
    """The module that maps examples ``(n, *shape)``, and their class for conditional encoders, to codes ``(n, k)``.

    None if the algorithm does not encode (``ganlib.abilities.Encodes``).
    """
    return _Encoder(algorithm) if can(algorithm, Encodes) else None


def seal_encoder(algorithm: Any, classes: Sequence[str] | None = None, *, spec: DataSpec | None = None) -> Sealed:
    """Build the graph of a model's encoder, check it against torch, and generate golden rows.

    ``save_sealed`` writes the result. Inputs are those of the network: images in [-1, 1], encoded table rows.
    ``classes`` names the classes of a conditional encoder and is ignored otherwise. ``spec``: ``None`` uses the
    algorithm's. Raises ConfigError for an object that is not a model or has no encoder, and for wrong ``classes``;
    ParityError if the graph does not reproduce torch.
    """
    check_model(algorithm)
    spec = spec or algorithm.spec
    found = encoder_of(algorithm)
    if found is None or spec.vocabulary:
        raise ConfigError(f"{type(algorithm).__name__} has no encoder of arrays")
    module = prepared(found)
    conditions: list[str] = []
    if needs_condition(module, torch.zeros(2, *spec.shape)):
        if not classes:
            raise ConfigError(f"this encoder is conditioned on the class: name its {spec.classes} classes")
        conditions = check_classes(classes, spec.classes)
    reference = Reference(module, lambda rows, seed: _draw(rows, seed, spec, conditions), conditions, "z")
    check_network(reference)
    width = int(reference.run(reference.draw(2, 0)).shape[1])
    model, exporter = _graph(reference, spec, width)
    session = open_session(model.SerializeToString())
    parity = check_arrays(session, reference)
    candidates = {"x": spread(np.arange(_CANDIDATES), spec.shape)} | conditions_in_turn(conditions, _CANDIDATES)
    rows, expected = golden_arrays(session, reference, candidates)
    golden: dict[str, Any] = {"rows": rows.tolist()} | expected
    if conditions:
        golden["condition"] = candidates["condition"][rows].tolist()
    metadata = {
        "model": model_card(algorithm),
        "modality": MODALITIES[spec.kind],
        "shape": list(spec.shape),
        "latent_dim": width,
        "conditions": conditions,
        "golden": golden,
    }
    return Sealed("encoder", model, exporter, parity, metadata)


def _draw(rows: int, seed: int, spec: DataSpec, conditions: Sequence[str]) -> dict[str, np.ndarray]:
    """Examples, and conditions in turn."""
    rng = np.random.Generator(np.random.Philox(seed))
    return {"x": examples_of(spec, rows, rng)} | conditions_in_turn(conditions, rows)


def _graph(reference: Reference, spec: DataSpec, width: int) -> tuple[Any, str]:
    builder, conditions = GraphBuilder(), list(reference.conditions)
    inputs = [builder.input("x", FLOAT, "batch", *spec.shape)]
    rows = max(2, len(conditions))
    examples = [torch.zeros(rows, *spec.shape)]
    if conditions:
        inputs.append(add_condition(builder, conditions))
        examples.append(torch.arange(rows) % len(conditions))
    network = export_network(reference.module, *examples)
    weights = network.add_weights(builder, f"{builder.prefix}weights/")
    values = network.add_nodes(builder, weights, f"{builder.prefix}net/", *inputs)
    builder.op("Identity", values, output="z")
    builder.output("z", FLOAT, "batch", width)
    return builder.model("encoder"), network.exporter
