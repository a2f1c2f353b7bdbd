"""Exports a fitted augmenter as a graph from noise and a condition to raw columns."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from ganlib.data.encoder import TableEncoder
from ganlib.data.inverse import decode_feeds
from ganlib.export.builder import GraphBuilder
from ganlib.export.columns import ColumnReference, Feeds, check_columns, golden_columns, warn_of_rare
from ganlib.export.golden import to_json
from ganlib.export.network import export_network
from ganlib.export.parity import open_session
from ganlib.export.parts import Sealed, check_names
from ganlib.export.sampler_graph import add_latent, decode_columns

RESERVED = ("z", "condition")


class _Reference(ColumnReference):
    """The sampler in torch."""

    made, moved = "generated", "the noise changes"

    def __init__(self, estimator: Any) -> None:
        self.encoder: TableEncoder = estimator.encoder_
        self.conditions = [str(c) for c in (estimator.conditions_ if estimator.conditions_ is not None else [])]
        self.sampler: nn.Module = copy.deepcopy(estimator.algorithm_.sampler()).cpu().eval()
        self.latent_dim = int(self.sampler.latent_dim)  # type: ignore[arg-type]

    def draw(self, rows: int, seed: int) -> Feeds:
        """Sample inputs: noise by a seed, conditions in turn."""
        rng = np.random.Generator(np.random.Philox(seed))
        feeds = {"z": rng.standard_normal((rows, self.latent_dim), dtype=np.float32)}
        if self.conditions:
            feeds["condition"] = np.resize(np.array(self.conditions, dtype=object), rows)
        return feeds

    @torch.no_grad()
    def columns(self, feeds: Mapping[str, np.ndarray], stretch: float = 1.0) -> Feeds:
        """Raw columns; ``stretch`` scales the noise, to test the sensitivity to rounding."""
        inputs = [torch.from_numpy(feeds["z"] * np.float32(stretch))]
        if self.conditions:
            number = {c: i for i, c in enumerate(self.conditions)}
            inputs.append(torch.tensor([number[c] for c in feeds["condition"]]))
        return decode_feeds(self.encoder, self.sampler(*inputs).numpy())


def seal_augmenter(estimator: Any) -> Sealed:
    """Build the graph, check it against torch, and generate golden rows. Raises ParityError, ConfigError."""
    constraints = _constraints(estimator)
    reference = _Reference(estimator)
    encoder = reference.encoder
    check_names(encoder.columns(), RESERVED)
    warn_of_rare(encoder, "generator", stacklevel=4)
    builder = GraphBuilder([c.input for c in encoder.schema.columns])
    inputs = add_latent(builder, reference.latent_dim, reference.conditions)
    classes = max(2, len(reference.conditions))
    examples = [torch.zeros(classes, reference.latent_dim), torch.arange(classes)][: len(inputs)]
    if len(reference.conditions) == 1:
        examples[1:] = [torch.zeros(classes, dtype=torch.int64)]
    network = export_network(reference.sampler, *examples)
    weights = network.add_weights(builder, f"{builder.prefix}weights/")
    decode_columns(builder, encoder, network.add_nodes(builder, weights, f"{builder.prefix}net/", *inputs))
    model = builder.model("augmenter")
    session = open_session(model.SerializeToString())
    parity = check_columns(session, reference)
    metadata = {
        "features": [c.input for c in encoder.codes],
        "latent_dim": reference.latent_dim,
        "conditions": reference.conditions,
        "golden": _golden(session, reference),
        **constraints,
    }
    return Sealed("augmenter", model, network.exporter, parity, metadata)


def _constraints(estimator: Any) -> dict[str, Any]:
    """The fitted relations for the sealed file; warns about those that may not be published."""
    keeper = getattr(estimator, "_keeper", None)
    entries, left_out = keeper.sealed() if keeper is not None else ([], {})
    if left_out:
        said = "; ".join(f"{name!r}: {why}" for name, why in left_out.items())
        warnings.warn(f"constraints that rows of the sealed file will not satisfy: {said}", stacklevel=5)
    return {"constraints": entries} if entries else {}


def _golden(session: Any, reference: _Reference) -> dict[str, Any]:
    feeds, made = golden_columns(session, reference)
    return {
        "z": to_json(feeds["z"]),
        **({"condition": to_json(feeds["condition"])} if reference.conditions else {}),
        "columns": {name: to_json(values) for name, values in made.items()},
    }
