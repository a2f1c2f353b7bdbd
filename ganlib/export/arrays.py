"""Exports a trained generator of images, series or points as a graph from noise and conditions to arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from ganlib.abilities import Samples, can
from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError
from ganlib.export.builder import FLOAT, UINT8, GraphBuilder
from ganlib.export.golden import to_json
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
from ganlib.export.sampler_graph import add_latent
from ganlib.nn.sampler import Sampler
from ganlib.training.data_checks import check_model

MODALITIES = {"vector": "points", "series": "series", "image": "image"}
_CANDIDATES = 64


class _Conditional(nn.Module):
    """Calls a sampler of a float condition with class indices and attributes."""

    def __init__(self, sampler: nn.Module, classes: int) -> None:
        super().__init__()
        self.sampler, self.classes = sampler, classes

    def forward(self, z: Tensor, y: Tensor, attributes: Tensor) -> Tensor:
        return self.sampler(z, torch.cat([one_hot(y, self.classes).to(z.dtype), attributes], 1))


def seal_generator(
    algorithm: Any,
    classes: Sequence[str] | None = None,
    *,
    spec: DataSpec | None = None,
    as_bytes: bool = False,
    in_units: Callable[[Sampler], Sampler] | None = None,
) -> Sealed:
    """Build the graph of a generator of arrays, check it against torch, and generate golden rows.

    ``save_sealed`` writes the result. ``algorithm.sampler()`` maps ``z (n, latent_dim)`` to float32 ``(n, *shape)``;
    conditional models also take class indices, attributes, both, or examples.

    - ``classes``: class names in the order of their indices.
    - ``spec``: ``None`` uses the algorithm's.
    - ``as_bytes``: output images as uint8 ``(n, h, w, c)``.
    - ``in_units``: wraps the sampler before sealing, for example to rescale its output.

    Raises ConfigError for an object that is not a model or has no sampler, for table rows, and for wrong ``classes``;
    ParityError if the graph does not reproduce torch.
    """
    check_model(algorithm)
    spec = spec or algorithm.spec
    if not can(algorithm, Samples):
        raise ConfigError(f"{type(algorithm).__name__} has no sampler; `ganlib models` says what each model exports")
    _check_spec(spec, as_bytes)
    sampler = algorithm.sampler() if in_units is None else in_units(algorithm.sampler())
    takes = _inputs_of(sampler, spec, classes)
    sampler = prepared(sampler)
    module = _Conditional(sampler, len(takes.conditions)) if takes.conditions and takes.attributes else sampler
    reference = Reference(module, takes.draw, takes.conditions, "image" if as_bytes else "x")
    check_network(reference)
    model, exporter = _graph(reference, takes, spec)
    session = open_session(model.SerializeToString())
    parity = check_arrays(session, reference)
    candidates = reference.draw(_CANDIDATES, 2)
    if takes.examples:
        # Inputs that can be recomputed from row numbers, so that the file need not contain them.
        candidates["example"] = spread(np.arange(_CANDIDATES), spec.shape)
    rows, expected = golden_arrays(session, reference, candidates)
    golden = {name: to_json(value[rows]) for name, value in candidates.items() if name != "example"} | expected
    if takes.examples:
        golden["rows"] = rows.tolist()
    metadata = {
        "model": model_card(algorithm),
        "modality": MODALITIES[spec.kind],
        "shape": list(spec.shape),
        "latent_dim": takes.latent_dim,
        "conditions": takes.conditions,
        "attributes": takes.attributes,
        "examples": takes.examples,
        "golden": golden,
    }
    return Sealed("augmenter", model, exporter, parity, metadata)


def model_card(algorithm: Any) -> dict[str, Any]:
    """The registry name, or otherwise the class name, and the configuration."""
    from ganlib.registry import resolve

    try:
        name = resolve(algorithm).name
    except ConfigError:
        name = type(algorithm).__name__
    return {"name": name, "config": algorithm.config.to_dict()}


def _check_spec(spec: DataSpec, as_bytes: bool) -> None:
    if spec.vocabulary:
        raise ConfigError("sequences of tokens are not sealed; the format holds tables, images, series and points")
    if any(block.kind != "number" for block in spec.blocks):
        raise ConfigError("this generator returns encoded table rows; seal the augmenter that decodes them")
    if as_bytes and spec.kind != "image":
        raise ConfigError(f"bytes are for images; this generator returns shape {spec.shape}: use as_bytes=False")


@dataclass(frozen=True)
class _Inputs:
    """A graph's inputs: noise, and class, attributes or an example for a conditional sampler."""

    latent_dim: int
    conditions: list[str]
    attributes: int
    examples: bool
    spec: DataSpec

    def draw(self, rows: int, seed: int) -> dict[str, np.ndarray]:
        """Sample inputs: noise by a seed, conditions in turn, standard normal attributes, random examples."""
        rng = np.random.Generator(np.random.Philox(seed))
        feeds = {"z": rng.standard_normal((rows, self.latent_dim), dtype=np.float32)}
        feeds |= conditions_in_turn(self.conditions, rows)
        if self.attributes:
            feeds["attributes"] = rng.standard_normal((rows, self.attributes), dtype=np.float32)
        return feeds | ({"example": examples_of(self.spec, rows, rng)} if self.examples else {})


def _inputs_of(sampler: Sampler, spec: DataSpec, classes: Sequence[str] | None) -> _Inputs:
    """The sampler's inputs; raises ConfigError if ``classes`` do not fit."""
    latent_dim = int(sampler.latent_dim)
    if sampler.by_example or not needs_condition(prepared(sampler), torch.zeros(2, latent_dim)):
        if classes:
            raise ConfigError("this generator is not conditioned on the class; leave classes out")
        return _Inputs(latent_dim, [], 0, sampler.by_example, spec)
    if spec.classes and not classes:
        raise ConfigError(f"this generator is conditioned on the class: name its {spec.classes} classes")
    return _Inputs(latent_dim, check_classes(classes or (), spec.classes), spec.attributes, False, spec)


def _graph(reference: Reference, takes: _Inputs, spec: DataSpec) -> tuple[Any, str]:
    builder = GraphBuilder()
    inputs = add_latent(builder, takes.latent_dim, takes.conditions)
    rows = max(2, len(takes.conditions))
    examples = [torch.zeros(rows, takes.latent_dim)]
    if takes.conditions:
        examples.append(torch.arange(rows) % len(takes.conditions))
    if takes.attributes:
        inputs.append(builder.input("attributes", FLOAT, "batch", takes.attributes))
        examples.append(torch.zeros(rows, takes.attributes))
    if takes.examples:
        inputs.append(builder.input("example", FLOAT, "batch", *spec.shape))
        examples.append(torch.zeros(rows, *spec.shape))
    network = export_network(reference.module, *examples)
    weights = network.add_weights(builder, f"{builder.prefix}weights/")
    values = network.add_nodes(builder, weights, f"{builder.prefix}net/", *inputs)
    if reference.output == "image":
        _bytes(builder, values, spec)
    else:
        builder.op("Identity", values, output="x")
        builder.output("x", FLOAT, "batch", *spec.shape)
    return builder.model("augmenter"), network.exporter


def _bytes(b: GraphBuilder, values: str, spec: DataSpec) -> None:
    """(x + 1) · 127.5, rounded half to even and clipped, channels last."""
    scaled = b.op("Mul", b.op("Add", values, b.constant(1.0, np.float32)), b.constant(127.5, np.float32))
    levels = b.op("Clip", b.op("Round", scaled), b.constant(0.0, np.float32), b.constant(255.0, np.float32))
    b.op("Transpose", b.cast(levels, UINT8), perm=[0, 2, 3, 1], output="image")
    channels, height, width = spec.shape
    b.output("image", UINT8, "batch", height, width, channels)
