"""``ganlib serve``: scores by HTTP, with the v2 inference protocol and MLflow's conventions (docs/serving.md).

settings     options of a service, checked; bearer token
rejected     what a client gets instead of an answer: a status code and JSON
query          a request as columns, alpha and explain, whatever its format
tensors      tensors of the v2 protocol, JSON and binary, to columns
v2           requests and answers of the v2 protocol
invocations  requests and answers in MLflow's conventions
inputs       columns to the feeds of a model
served       a model that is loaded, warmed and swapped while requests arrive
batching     requests that wait together become one call of the session
body         request bodies within their limits
gate         token, time limits, metrics and errors of every request
metrics      counts for Prometheus
pages        openapi.json and /docs
app          routes
listen       sockets, signals and draining
command      what the commands call
"""
