"""Contributions as an ``If``: nothing is computed unless ``explain`` is true; the branch reuses the outer weights."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from ganlib.data.encoder import TableEncoder
from ganlib.explain.occlusion import column_masks
from ganlib.export.builder import GraphBuilder
from ganlib.export.network import Network


def add_contributions(
    builder: GraphBuilder, encoder: TableEncoder, network: Network, weights: str, encoded: str, score: str, explain: str
) -> None:
    """Add the output ``contributions``: float32 ``(n, features)``, or ``(0, features)`` where not asked for."""
    features = len(encoder.codes)
    then = GraphBuilder("explain/")
    masks = then.constant(column_masks(encoder).numpy()[None])
    reference = then.constant(encoder.reference)
    rows = then.op("Unsqueeze", encoded, then.constant([1], np.int64))
    replaced = then.op("Where", masks, reference, rows)
    flat = then.op("Reshape", replaced, then.constant([-1, encoder.width], np.int64))
    rescored = network.add_nodes(then, weights, "explain/net/", flat)
    table = then.op("Reshape", rescored, then.constant([-1, features], np.int64))
    then.op("Sub", then.op("Unsqueeze", score, then.constant([1], np.int64)), table, output="explain/yes")
    otherwise = GraphBuilder("explain/")
    otherwise.op("Identity", otherwise.constant(np.zeros((0, features), np.float32)), output="explain/no")
    branches = []
    for part, output in ((then, "explain/yes"), (otherwise, "explain/no")):
        value = helper.make_tensor_value_info(output, TensorProto.FLOAT, ["explained", features])
        branches.append(helper.make_graph(part.nodes, output, [], [value], part.initializers))
    builder.op("If", explain, output="contributions", then_branch=branches[0], else_branch=branches[1])
    builder.output("contributions", TensorProto.FLOAT, "explained", features)
