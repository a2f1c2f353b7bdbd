"""What a client can send wrongly has a status code and a JSON error each, and never a 500."""

import json
import socket
import string
import struct
import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from service_data import Running, assembled, records
from serving_data import table

INFER = "/v2/models/small/infer"


@pytest.fixture(scope="module")
def running(artifact):
    limits = {"max_body": 200_000, "max_rows": 50, "head_seconds": 1.0, "body_seconds": 1.0}
    with Running(assembled(artifact, **limits)) as running:
        yield running


@pytest.fixture(scope="module")
def client(running):
    return running.client


def tensors(rows):
    kinds = {"amount": "FP64", "count": "INT64", "flag": "BOOL", "kind": "BYTES", "when": "BYTES"}
    return [
        {"name": name, "datatype": kind, "shape": [len(rows)], "data": [row[name] for row in rows]}
        for name, kind in kinds.items()
    ]


ROWS = records(table(4, 6))


def error_of(answer, status):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    said = answer.json()
    assert said["error"] and "\n" not in said["error"]
    return said


def changed(place=0, **entries):
    """A valid request with one tensor changed; None removes an entry."""
    made = tensors(ROWS)
    made[place] = {k: v for k, v in (made[place] | entries).items() if v is not None}
    return {"inputs": made}


WRONG = {
    "no inputs": ({}, "inputs must be a list, not null"),
    "empty inputs": ({"inputs": []}, "inputs is empty"),
    "input of another type": ({"inputs": [3]}, "inputs[0] must be an object with a name"),
    "a column is missing": ({"inputs": tensors(ROWS)[1:]}, "missing column: 'amount'"),
    "a column comes twice": ({"inputs": tensors(ROWS) * 2}, "'amount' comes twice"),
    "unknown datatype": (changed(datatype="FP128"), "datatype must be one of BOOL"),
    "datatype of another type": (changed(datatype=["FP64"]), "datatype must be one of"),
    "no shape": (changed(shape=None), "shape must be a list"),
    "negative shape": (changed(shape=[-1]), "shape must be a list"),
    "shape of booleans": (changed(shape=[True]), "shape must be a list"),
    "huge shape": (changed(shape=[4, 10**9, 10**9]), "shape must be a list"),
    "a shape of more values a row": (changed(shape=[4, 2], data=[1.0] * 8), "more than one value a row"),
    "wrong count": (changed(data=[1.0]), "1 values, where the shape [4] has 4"),
    "other rows": (changed(shape=[3], data=[1.0] * 3), "input 'count' has 4 rows, but the inputs before it have 3"),
    "text for a number": (changed(data=[1.0, "2", 3.0, 4.0]), "value 1: a string is no FP64"),
    "a boolean for a number": (changed(1, data=[1, True, 3, 4]), "value 1: a boolean is no INT64"),
    "a float for an integer": (changed(1, data=[1, 2.5, 3, 4]), "value 1: a number is no INT64"),
    "an integer that is too large": (changed(1, data=[1, 2**63, 3, 4]), "does not fit INT64"),
    "a float that is too large": (changed(datatype="FP32", data=[1e39] * 4), "too large for FP32"),
    "a huge shape of no values": (changed(shape=[0, 10**30], data=[]), "shape must be a list"),
    "half a character in a name": (changed(name="\ud800", data=[True] * 4), "\\ud800"),
    "no data": (changed(data=None), "data must be a list, not null"),
    "binary data that does not follow": (changed(data=None, parameters={"binary_data_size": 8}), "binary_data_size"),
    "binary data and data": (changed(parameters={"binary_data_size": 0}), "binary_data_size"),
    "parameters of another type": (changed(parameters=3), "parameters must be an object"),
    "shared memory": (changed(parameters={"shared_memory_region": "a"}), "shared memory is not supported"),
    "unknown output": ({"inputs": tensors(ROWS), "outputs": [{"name": "y"}]}, "no output 'y'"),
    "an output that needs explain": (
        {"inputs": tensors(ROWS), "outputs": [{"name": "contributions"}]}, "needs the parameter explain"),
    "alpha as text": ({"inputs": tensors(ROWS), "parameters": {"alpha": "0.1"}}, "alpha must be a number"),
    "alpha out of range": ({"inputs": tensors(ROWS), "parameters": {"alpha": 7}}, "alpha must be at least"),
    "a huge alpha": ({"inputs": tensors(ROWS), "parameters": {"alpha": 10**400}}, "alpha is too large"),
    "alpha below the calibration": ({"inputs": tensors(ROWS), "parameters": {"alpha": 1e-6}}, "alpha_min"),
    "explain as a number": ({"inputs": tensors(ROWS), "parameters": {"explain": 1}}, "explain must be true or false"),
    "id of another type": ({"inputs": tensors(ROWS), "id": 3}, "id must be a string"),
    "a value that does not fit": (changed(4, data=["2026-01-01", "soon", None, "2026-01-02"]), "row 1: 'soon'"),
    "half a character": (changed(3, data=["a", "\ud800", "b", "c"]), "half a character"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_v2_request_has_a_reason(client, case):
    body, words = WRONG[case]
    said = error_of(client.post(INFER, content=json.dumps(body)), 400)
    assert words in said["error"], said


INVOCATIONS = {
    "nothing": ({}, "the body must have one of"),
    "two formats": ({"instances": ROWS, "inputs": {}}, "the body must have one of"),
    "an unknown entry": ({"instances": ROWS, "alpha": 0.1}, "the body must have one of"),
    "records of another type": ({"dataframe_records": {}}, "must be a list of records"),
    "a record of another type": ({"dataframe_records": [*ROWS, 3]}, "row 4: not an object but a number"),
    "a record that lacks a column": ({"dataframe_records": [ROWS[0], {}]}, "row 1: the column 'amount' is missing"),
    "split without data": ({"dataframe_split": {"columns": ["a"]}}, "data must be a list of rows"),
    "split with a short row": ({"dataframe_split": {"columns": ["a", "b"], "data": [[1]]}}, "row 0: 1 values"),
    "split with equal names": ({"dataframe_split": {"columns": ["a", "a"], "data": []}}, "'a' comes twice"),
    "split that lacks a column": ({"dataframe_split": {"columns": ["a"], "data": [[1]]}}, "missing columns"),
    "columns of different lengths": ({"inputs": {"a": [1], "b": [1, 2]}}, "the columns have 1 and 2 rows"),
    "a column of another type": ({"inputs": {"a": 1}}, "column 'a' must be a list"),
    "params of another type": ({"instances": ROWS, "params": [1]}, "parameters must be a JSON object"),
    "a list for a number": ({"instances": [dict(ROWS[0], amount=[1])]}, "row 0: [1] is a list"),
    "a boolean for a number": ({"instances": [ROWS[0], dict(ROWS[0], count=True)]}, "row 1: true is a boolean"),
    "a number for a date": ({"instances": [dict(ROWS[0], when=20260101)]}, "is not an ISO date"),
}  # fmt: skip


@pytest.mark.parametrize("case", INVOCATIONS)
def test_a_wrong_invocation_has_a_reason(client, case):
    body, words = INVOCATIONS[case]
    said = error_of(client.post("/invocations", json=body), 400)
    assert words in said["error"], said


def test_a_row_that_does_not_fit_is_named_with_column_and_reason(client):
    rows = [*ROWS, dict(ROWS[0], count="many")]
    said = error_of(client.post("/invocations", json={"dataframe_records": rows}), 400)
    assert (said["row"], said["column"]) == (4, "count") and "'many' is not a number" in said["reason"]


BODIES = {
    "nothing": b"", "text": b"hello", "a list": b"[]", "broken UTF-8": b'{"inputs": "\xff"}', "half": b'{"inputs": [',
    "deep lists": b"[" * 100_000, "deep objects": b'{"a":' * 30_000, "NaN": b'{"inputs": [NaN]}',
    "infinity": b'{"instances": [{"amount": -Infinity}]}', "long numbers": b'{"a": ' + b"9" * 5000 + b"}",
}  # fmt: skip


@pytest.mark.parametrize("path", [INFER, "/invocations"])
@pytest.mark.parametrize("case", BODIES)
def test_what_is_not_json_is_400(client, case, path):
    error_of(client.post(path, content=BODIES[case]), 400)


def test_paths_methods_types_and_sizes_have_their_codes(client):
    assert "small" in error_of(client.post("/v2/models/none/infer", json={}), 404)["error"]
    error_of(client.get("/v2/models/small/versions/3"), 404)
    error_of(client.post("/v2/models/small/versions/3/infer", json={"inputs": tensors(ROWS)}), 404)
    error_of(client.get("/nothing"), 404)
    assert error_of(client.get(INFER), 405)["error"].endswith("use POST")
    error_of(client.post("/metrics"), 405)
    error_of(client.post("/invocations", content=b"a,b", headers={"Content-Type": "text/csv"}), 415)
    error_of(client.post(INFER, content=b"x", headers={"Content-Encoding": "gzip"}), 415)
    error_of(client.post("/invocations", json={"instances": ROWS * 20}), 413)
    error_of(client.post(INFER, json={"inputs": tensors(ROWS * 20)}), 413)
    error_of(client.post(INFER, content=b"x" * 300_000), 413)
    error_of(client.post(INFER, content=iter([b"x" * 100_000] * 3)), 413)
    assert client.get("/v2/health/live").status_code == 200


@pytest.mark.parametrize("header", ["-1", "x", "999", "1e3", "٣", ""])
def test_the_length_of_the_json_is_checked(client, header):
    headers = {"Inference-Header-Content-Length": header.encode()}
    error_of(client.post(INFER, content=json.dumps({"inputs": []}), headers=headers), 400)


def test_binary_data_is_checked(client):
    def post(datatype, data, size=None, shape=(2,)):
        parameters = {"binary_data_size": len(data) if size is None else size}
        one = {"name": "amount", "datatype": datatype, "shape": list(shape), "parameters": parameters}
        text = json.dumps({"inputs": [one]}).encode()
        headers = {"Inference-Header-Content-Length": str(len(text))}
        return error_of(client.post(INFER, content=text + data, headers=headers), 400)["error"]

    assert "7 bytes, where the shape [2] of FP64 has 16" in post("FP64", b"1234567")
    assert "belong to no input" in post("FP32", b"12345678tail", 8)
    assert "neither 0 nor 1" in post("BOOL", b"\x02\x00")
    assert "is cut off" in post("BYTES", b"\x01")
    assert "99 bytes by its length" in post("BYTES", struct.pack("<I", 99) + b"a")
    assert "does not hold 2 values" in post("BYTES", struct.pack("<I", 1) + b"a")
    assert "does not hold 2 values" in post("BYTES", (struct.pack("<I", 1) + b"a") * 3)
    assert "row 1: is not UTF-8" in post("BYTES", struct.pack("<I", 1) + b"a" + struct.pack("<I", 1) + b"\xff")
    assert "binary_data_size" in post("FP32", b"", -1)


def test_an_empty_request_has_an_empty_answer(client):
    answer = client.post("/invocations", json={"dataframe_records": []})
    assert answer.status_code == 200 and answer.json() == {"predictions": []}
    empty = client.post(INFER, json={"inputs": [t | {"shape": [0], "data": []} for t in tensors(ROWS)]})
    assert empty.status_code == 200 and empty.json()["outputs"][0]["shape"] == [0]


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(),
    st.text(string.printable, max_size=8), st.sampled_from(["\ud800", "é\0"]),
    st.lists(st.integers(0, 3), max_size=3), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip
NAMES = st.sampled_from(["amount", "count", "flag", "kind", "when", "x", ""])
TENSOR = st.fixed_dictionaries(
    {},
    optional={
        "name": NAMES | VALUES,
        "datatype": st.sampled_from(["BOOL", "INT8", "UINT64", "INT64", "FP16", "FP32", "FP64", "BYTES"]) | VALUES,
        "shape": st.lists(st.integers(-1, 4), max_size=3) | VALUES,
        "data": st.lists(VALUES, max_size=5) | st.lists(st.lists(VALUES, max_size=2), max_size=3) | VALUES,
        "parameters": st.dictionaries(st.sampled_from(["binary_data_size", "shared_memory_offset"]), VALUES) | VALUES,
    },
)
BODY = st.fixed_dictionaries(
    {},
    optional={
        "id": VALUES,
        "inputs": st.lists(TENSOR, max_size=6) | VALUES,
        "outputs": st.lists(TENSOR, max_size=3) | VALUES,
        "parameters": st.dictionaries(st.sampled_from(["alpha", "explain", "binary_data_output"]), VALUES) | VALUES,
    },
)


@settings(max_examples=200, deadline=None)
@given(body=BODY, place=st.integers(0, 4), tensor=TENSOR, tail=st.binary(max_size=40), whole=st.booleans())
def test_no_malformed_request_is_a_500(running, body, place, tensor, tail, whole):
    """Neither arbitrary bodies, nor valid ones with one tensor overlaid, with or without binary data behind."""
    if whole:
        made = tensors(ROWS)
        made[place] = made[place] | tensor
        body = body | {"inputs": made}
    text = json.dumps(body).encode()
    headers = {"Inference-Header-Content-Length": str(len(text))} if tail else {}
    answer = running.client.post(INFER, content=text + tail, headers=headers)
    assert answer.status_code in (200, 400, 413), answer.text
    if answer.status_code != 200:
        assert answer.json()["error"]


@settings(max_examples=100, deadline=None)
@given(body=st.dictionaries(
    st.sampled_from(["dataframe_split", "dataframe_records", "instances", "inputs", "params"]),
    st.lists(st.dictionaries(NAMES, VALUES, max_size=6), max_size=3) | VALUES
    | st.dictionaries(st.sampled_from(["columns", "data", "amount", "alpha", "explain"]), st.lists(VALUES) | VALUES),
))  # fmt: skip
def test_no_malformed_invocation_is_a_500(running, body):
    answer = running.client.post("/invocations", content=json.dumps(body))
    assert answer.status_code in (200, 400), answer.text


EXAMPLE = st.fixed_dictionaries({
    "name": st.just("x") | NAMES,
    "datatype": st.sampled_from(["BOOL", "UINT8", "INT64", "FP16", "FP32", "FP64", "BYTES"]),
    "shape": st.sampled_from([[1, 8, 8], [2, 8, 8], [1], [1, 64], [0, 8, 8], [8, 8], [1, 8, 8, 1], [0, 2**39, 2]]),
    "data": st.lists(st.integers(-1, 300) | VALUES, min_size=64, max_size=64)
    | st.integers(0, 255).map(lambda value: [[[value] * 8] * 8])
    | st.lists(VALUES, max_size=2),
})  # fmt: skip


def test_no_malformed_example_is_a_500(detectors):
    with Running(assembled(detectors["image"][1])) as running:

        @settings(max_examples=150, deadline=None)
        @given(tensor=EXAMPLE, binary=st.none() | st.binary(min_size=60, max_size=130))
        def law(tensor, binary):
            headers, tail = {}, binary or b""
            if binary:
                tensor = {k: v for k, v in tensor.items() if k != "data"}
                tensor["parameters"] = {"binary_data_size": len(binary)}
            text = json.dumps({"inputs": [tensor], "parameters": {"explain": True}}).encode()
            if binary:
                headers["Inference-Header-Content-Length"] = str(len(text))
            answer = running.client.post("/v2/models/image/infer", content=text + tail, headers=headers)
            assert answer.status_code in (200, 400), answer.text
            got = running.client.post("/invocations", content=json.dumps({"instances": tensor.get("data")}))
            assert got.status_code in (200, 400), got.text

        law()


def binary_request():
    """A valid binary request: (head, data)."""
    head, blobs = [], []
    for tensor in tensors(ROWS):
        values = tensor.pop("data")
        if tensor["datatype"] == "BYTES":
            blob = b"".join(struct.pack("<I", len(v or "")) + (v or "").encode() for v in values)
        else:
            codes = {"FP64": "<d", "INT64": "<q", "BOOL": "<?"}[tensor["datatype"]]
            blob = b"".join(struct.pack(codes, float("nan") if v is None else v) for v in values)
        head.append(tensor | {"parameters": {"binary_data_size": len(blob)}})
        blobs.append(blob)
    return json.dumps({"inputs": head, "parameters": {"binary_data_output": True}}).encode(), b"".join(blobs)


@settings(max_examples=200, deadline=None)
@given(place=st.floats(0, 1), byte=st.integers(0, 255), cut=st.integers(0, 30), shift=st.integers(-3, 3))
def test_no_corrupted_binary_request_is_a_500(running, place, byte, cut, shift):
    """One byte changed, the end cut off, or the length of the JSON shifted."""
    head, data = binary_request()
    body = bytearray(head + data)
    body[int(place * (len(body) - 1))] = byte
    headers = {"Inference-Header-Content-Length": str(len(head) + shift), "Content-Type": "application/octet-stream"}
    answer = running.client.post(INFER, content=bytes(body[: len(body) - cut]), headers=headers)
    assert answer.status_code in (200, 400), answer.text
    if "Inference-Header-Content-Length" in answer.headers:
        size = int(answer.headers["Inference-Header-Content-Length"])
        said = json.loads(answer.content[:size])["outputs"]
        assert len(answer.content) - size == sum(one["parameters"]["binary_data_size"] for one in said)


def raw(running, data, seconds=5):
    """What the service sends on a connection of this data, until it closes it."""
    host, port = running.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=seconds) as sock:
        parts = []
        with suppress(ConnectionError):  # closed while data was under way
            sock.sendall(data)
            while part := sock.recv(4096):
                parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("data", [b"", b"POST /v2", b"GET / HTTP/1.1\r\nHost: a\r\nX: "])
def test_half_open_connections_are_closed(running, data):
    assert raw(running, data) == b""


def test_a_slow_body_gets_408_and_is_closed(running):
    head = b"POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{"
    answer = raw(running, head)
    assert answer.startswith(b"HTTP/1.1 408") and b"did not arrive" in answer


@pytest.mark.parametrize(
    "data",
    [b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n",
     b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 200_000,
     b"POST /invocations HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"],
)  # fmt: skip
def test_what_is_not_http_is_answered_and_closed(running, data):
    answer = raw(running, data)
    if b"chunked" in data or len(data) > 1000:  # a request is under way, or more data than was read
        assert answer == b"" or answer.startswith(b"HTTP/1.1 400")
    else:
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400") and json.loads(body)["error"]
        assert f"Content-Length: {len(body)}".encode() in head
    assert running.client.get("/v2/health/ready").status_code == 200


def test_a_client_that_takes_no_answer_is_disconnected(artifact):
    body = json.dumps({"dataframe_records": ROWS * 1500, "params": {"explain": True}}).encode()
    head = f"POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with Running(assembled(artifact, answer_seconds=1.0)) as running:
        whole = len(running.client.post("/invocations", content=body).content)
        host, port = running.url.removeprefix("http://").split(":")
        running.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # accepted connections inherit it
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.settimeout(10)
            sock.connect((host, int(port)))
            sock.sendall(head + body)
            time.sleep(3)
            got = 0
            with suppress(ConnectionError):
                while part := sock.recv(1 << 16):
                    got += len(part)
        assert 0 < got < whole
