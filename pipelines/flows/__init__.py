"""Prefect flows: the steps of ``pipelines`` as tasks, with retries for steps that may run twice, and artifacts.

Importing this package sets Prefect's environment, which it reads once: import it before ``prefect``.
"""

import os

for _name, _value in {
    # The embedded API needs up to 20 s on an idle machine, which is also Prefect's default limit.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "90",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    # Prefect's default is pickle.
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
    "DO_NOT_TRACK": "1",
}.items():
    os.environ.setdefault(_name, _value)
