"""The OpenAPI document and the page at /docs; both work offline."""

from __future__ import annotations

import html
import json
from typing import Any

ROUTES: tuple[tuple[str, str, str], ...] = (
    ("get", "/", "The models"),
    ("get", "/v2", "Name, version and extensions of the server"),
    ("get", "/v2/health/live", "200 while the process answers; needs no token"),
    ("get", "/v2/health/ready", "200 once every model is warm, 503 before and while draining; needs no token"),
    ("get", "/ping", "The same as /v2/health/ready, as MLflow names it; also /health"),
    ("get", "/v2/models/{model}", "Inputs and outputs of a model; also with /versions/{version}"),
    ("get", "/v2/models/{model}/ready", "200 once the model is warm; also with /versions/{version}"),
    ("post", "/v2/models/{model}/infer", "Score by the v2 inference protocol; also with /versions/{version}"),
    ("post", "/invocations", "Score in MLflow's conventions, if one model is served"),
    ("post", "/invocations/{model}", "Score in MLflow's conventions"),
    ("get", "/metrics", "Metrics for Prometheus"),
    ("get", "/openapi.json", "This interface as OpenAPI 3.1"),
    ("get", "/docs", "This page"),
)
_ERRORS = {
    "400": "The request is invalid, or a row does not fit the model", "401": "The token is missing or wrong",
    "404": "There is no such model or path", "408": "The body came too slowly", "413": "Too many bytes or rows",
    "415": "Wrong content type or coding", "503": "Overloaded, starting or draining; see Retry-After",
}  # fmt: skip
_TENSOR = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "datatype": {"type": "string"},
        "data": {"type": "array"},
        "parameters": {"type": "object"},
    },
}
_PARAMETERS = {
    "type": "object",
    "properties": {"alpha": {"type": "number"}, "explain": {"type": "boolean"}},
}
_INFER = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string"},
        "parameters": _PARAMETERS,
        "inputs": {"type": "array", "items": _TENSOR},
        "outputs": {"type": "array", "items": {"type": "object"}},
    },
}
_INVOCATIONS = {
    "type": "object",
    "properties": {
        "dataframe_split": {"type": "object"},
        "dataframe_records": {"type": "array", "items": {"type": "object"}},
        "instances": {"type": "array"},
        "inputs": {},
        "params": _PARAMETERS,
    },
}


def openapi(version: str) -> dict[str, Any]:
    """The OpenAPI document."""
    paths: dict[str, Any] = {}
    for method, path, summary in ROUTES:
        paths.setdefault(path, {})[method] = _operation(method, path, summary)
    bearer = {"bearer": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "ganlib serve", "version": version},
        "paths": paths,
        "components": {"securitySchemes": bearer},
        "security": [{}, {"bearer": []}],
    }


def _operation(method: str, path: str, summary: str) -> dict[str, Any]:
    made: dict[str, Any] = {"summary": summary, "responses": {"200": {"description": "The answer"}}}
    if "{model}" in path:
        made["parameters"] = [{"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}]
    if method == "post":
        schema = _INFER if path.endswith("infer") else _INVOCATIONS
        made["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    for code in _ERRORS if method == "post" else ("401",):
        made["responses"][code] = {"description": _ERRORS[code]}
    return made


_STYLE = (
    "body{font:16px sans-serif;max-width:60em;margin:2em auto;padding:0 1em}td,th{text-align:left;padding:.2em 1em \
.2em 0;vertical-align:top}pre{background:#f4f4f4;padding:1em;overflow:auto}"
)


def docs(models: list[tuple[dict[str, Any], dict[str, Any] | None]]) -> str:
    """The page at /docs, of the metadata of each model and a record that it takes."""
    routes = "".join(
        f"<tr><td>{method.upper()}</td><td><code>{path}</code></td><td>{summary}</td></tr>"
        for method, path, summary in ROUTES
    )
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>ganlib serve</title><style>{_STYLE}</style>"
        f"<h1>ganlib serve</h1><table>{routes}</table>{''.join(_model(*model) for model in models)}</html>"
    )


def _model(model: dict[str, Any], sample: dict[str, Any] | None) -> str:
    name, versions = html.escape(model["name"]), html.escape(", ".join(model["versions"]))
    inputs = "".join(
        f"<tr><td>{html.escape(port['name'])}</td><td>{port['datatype']}</td><td>{port['shape']}</td></tr>"
        for port in model["inputs"]
    )
    example = html.escape(json.dumps({"dataframe_records": [sample]}, indent=1))
    said = f"<pre>POST /invocations/{name}\n{example}</pre>" if sample else ""
    return (
        f"<h2>{name}{f' version {versions}' if versions else ''}</h2>"
        f"<table><tr><th>input</th><th>datatype</th><th>shape</th></tr>{inputs}</table>{said}"
    )
