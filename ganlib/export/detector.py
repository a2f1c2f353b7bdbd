"""Exports a fitted detector as a graph from raw columns to scores, decisions and contributions."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import onnx
import torch

from ganlib.calibrate import Calibration
from ganlib.calibrate.conformal import as_scores
from ganlib.explain.occlusion import by_residual, column_weights, contributions, score_base, unexpected_missing
from ganlib.export.builder import GraphBuilder
from ganlib.export.decision import add_decision
from ganlib.export.explain_graph import add_contributions
from ganlib.export.golden import ROWS, firm_rows, schema_feeds, to_json
from ganlib.export.network import Network, export_network
from ganlib.export.parity import check_contributions, check_detector, open_session
from ganlib.export.parts import Sealed, Single, alarm_budget, check_names, in_either_precision
from ganlib.export.preprocess import encode_columns

RESERVED = ("alpha", "explain", "anomaly_score", "p_value", "is_anomaly", "contributions")
PROPERTY = "shares of the score"
_CHECKED, _EXPLAINED, _CANDIDATES = 2056, 24, 256
_Feeds = dict[str, np.ndarray]


def seal_detector(estimator: Any) -> Sealed:
    """Build the graph, check it against torch, and generate golden rows. Raises ParityError, ConfigError.

    The network runs in float32, or in double if float32 is too coarse for the parity bound (differences of large
    numbers).
    """
    encoder = estimator.encoder_
    check_names((c for c in encoder.schema.columns if c.role in ("feature", "group")), RESERVED)
    return in_either_precision(lambda precision: _seal_in(estimator, precision))


def _seal_in(estimator: Any, precision: type[Single]) -> Sealed:
    encoder, calibration = estimator.encoder_, estimator.calibration_
    model, exporter = _graph(estimator, precision)
    session = open_session(model.SerializeToString())
    feeds = schema_feeds(encoder, _CHECKED, seed=1)
    scores = _torch_scores(estimator, feeds)
    parity = check_detector(session, feeds, scores, calibration, estimator._groups(feeds))
    _check_explanations(estimator, session, {n: v[:_EXPLAINED] for n, v in feeds.items()}, scores[:_EXPLAINED])
    metadata = {
        "features": [c.input for c in encoder.codes],
        "calibration": calibration.to_dict() | {"group_column": encoder.schema.group, "alpha": alarm_budget(estimator)},
        "contributions": {"property": PROPERTY, "base": score_base(calibration)},
        "golden": _golden(estimator, session),
    }
    if encoder.shares:
        metadata["shares"] = encoder.shares
    if encoder.profile:
        metadata["profile"] = encoder.profile
    return Sealed("detector", model, exporter, parity, metadata, calibration.alpha_min)


def _graph(estimator: Any, precision: type[Single]) -> tuple[onnx.ModelProto, str]:
    encoder, calibration = estimator.encoder_, estimator.calibration_
    group = encoder.schema.group
    group_input = None if group is None else encoder.schema.column(group).input
    builder = GraphBuilder([c.input for c in encoder.schema.columns])
    encoded = encode_columns(builder, encoder)
    network = export_network(precision(estimator.scorer_), torch.zeros(2, encoder.width))
    weights = network.add_weights(builder, f"{builder.prefix}weights/")
    raw = network.add_nodes(builder, weights, f"{builder.prefix}net/", encoded.x)
    alpha = builder.option("alpha", alarm_budget(estimator), np.float32)
    explain = builder.option("explain", False, np.bool_)
    add_decision(builder, calibration, raw, group_input, alpha)
    residual = _residual(estimator, precision)
    add_contributions(
        builder, encoder, network, weights, encoded, "anomaly_score", explain, residual,
        score_base(calibration), calibration.median_score,
    )  # fmt: skip
    return builder.model("detector"), network.exporter


def _residual(estimator: Any, precision: type[Single]) -> Network | None:
    if not by_residual(estimator.scorer_, estimator.encoder_):
        return None
    return export_network(precision(estimator.scorer_, "residual"), torch.zeros(2, estimator.encoder_.width))


def _torch_scores(estimator: Any, feeds: _Feeds) -> np.ndarray:
    return as_scores(estimator._score(estimator.encoder_.encode(feeds)))


def _check_explanations(estimator: Any, session: Any, feeds: _Feeds, scores: np.ndarray) -> None:
    encoder = estimator.encoder_
    x = torch.from_numpy(encoder.encode(feeds)).double()
    lacks = torch.from_numpy(unexpected_missing(encoder, feeds))
    exact = copy.deepcopy(estimator.scorer_).double()
    base, median = score_base(estimator.calibration_), estimator.calibration_.median_score
    expected = contributions(exact, encoder, x, lacks, base, median).numpy()
    weights = column_weights(exact, encoder, x, lacks, median).numpy()
    check_contributions(session, feeds, expected, weights, np.maximum(np.abs(scores), median))


def _golden(estimator: Any, session: Any) -> dict[str, Any]:
    """Golden rows, generated from the schema, with torch's scores; chosen to be robust to rounding."""
    calibration: Calibration = estimator.calibration_
    feeds = schema_feeds(estimator.encoder_, _CANDIDATES, seed=2)
    scores, groups = _torch_scores(estimator, feeds), estimator._groups(feeds)
    p = calibration.p_value(scores, groups)
    (got,) = session.run(["anomaly_score"], feeds)
    stable = firm_rows(calibration, got, scores, groups)
    rows = np.resize(np.flatnonzero(stable) if stable.any() else np.arange(ROWS), ROWS)
    chosen = {name: feed[rows] for name, feed in feeds.items()}
    check_detector(session, chosen, scores[rows], calibration, None if groups is None else groups[rows])
    return {
        "columns": {name: to_json(feed) for name, feed in chosen.items()},
        "anomaly_score": to_json(scores[rows]),
        "p_value": to_json(p[rows]),
    }
