"""Triton's client works unchanged; skipped without `pip install "tritonclient[http]"`."""

from types import SimpleNamespace

import numpy as np
import pytest
from service_data import Running, assembled, records
from serving_data import table

from serving.artifact import load_artifact
from serving.scorer import Scorer


@pytest.fixture(scope="module")
def triton():
    return pytest.importorskip("tritonclient.http")


@pytest.fixture(scope="module")
def at(artifact, triton):
    with Running(assembled(artifact)) as running:
        yield SimpleNamespace(client=triton.InferenceServerClient(running.url.removeprefix("http://")))


def inputs(triton, rows, ports, binary):
    """Tensors as the client makes them of NumPy arrays."""
    made = []
    for port in ports:
        values = [row[port["name"]] for row in rows]
        kind = {"FP64": np.float64, "INT64": np.int64, "BOOL": bool}.get(port["datatype"], object)
        values = np.array([np.nan if v is None and kind is np.float64 else v for v in values], dtype=kind)
        tensor = triton.InferInput(port["name"], [len(rows)], port["datatype"])
        tensor.set_data_from_numpy(values, binary_data=binary)
        made.append(tensor)
    return made


@pytest.mark.parametrize("binary", [True, False])
def test_scores_and_reasons(triton, at, artifact, binary):
    rows = [row for row in records(table(30, 5)) if binary or row["amount"] is not None]  # JSON has no NaN
    direct = Scorer(load_artifact(artifact), 0.2).score(rows, explain=True)
    assert at.client.is_server_ready() and at.client.is_model_ready("small")
    ports = at.client.get_model_metadata("small")["inputs"]
    names = ("anomaly_score", "p_value", "is_anomaly", "contributions", "top_reasons")
    outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in names]
    parameters = {"alpha": 0.2, "explain": True}
    given = inputs(triton, rows, ports, binary)
    got = at.client.infer("small", given, outputs=outputs, request_id="7", parameters=parameters)
    assert got.get_response()["id"] == "7"
    for name in names[:4]:
        values = got.as_numpy(name)
        assert values.dtype == getattr(direct, name).dtype and (values == getattr(direct, name)).all(), name
    words = [w.decode() if isinstance(w, bytes) else w for w in got.as_numpy("top_reasons")]
    assert words == [word or "" for word in direct.top_reasons.to_pylist()]


def test_errors_are_the_client_s_own(triton, at):
    with pytest.raises(triton.InferenceServerException, match="there is no model 'none'"):
        at.client.infer("none", [tensor_of(triton)])
    with pytest.raises(triton.InferenceServerException, match="missing columns"):
        at.client.infer("small", [tensor_of(triton)])


def tensor_of(triton):
    tensor = triton.InferInput("amount", [1], "FP64")
    tensor.set_data_from_numpy(np.array([1.5]))
    return tensor
