"""`ganlib serve` follows an alias in the registry, and outlives it."""

import os
import shutil
import signal
import time

import httpx
import pytest
from servers import environment, free_port, service, start, until, wait_for


def versions(address):
    return httpx.get(f"{address}/v2/models/demo").json()["versions"]


def test_promotion_and_rollback_take_effect_without_a_restart(registry, add_version, tmp_path):
    registry.set_alias("demo", "champion", "1")
    with service(tmp_path, registry.uri) as (process, address, log):
        assert versions(address) == ["1"]
        registry.set_alias("demo", "champion", add_version())
        until(lambda: versions(address) == ["2"])
        registry.set_alias("demo", "champion", "1")
        until(lambda: versions(address) == ["1"])
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert "now scoring with demo version 2" in log() and "Traceback" not in log()


@pytest.mark.services
def test_the_service_keeps_scoring_while_the_registry_is_down(registry, tmp_path):
    registry.set_alias("demo", "champion", "1")
    port, where = free_port(), tmp_path / "server"
    where.mkdir()
    shutil.copy(registry.uri.removeprefix("sqlite:///"), where / "mlflow.db")
    command = (
        f"mlflow server --backend-store-uri sqlite:///{where}/mlflow.db --host 127.0.0.1 --port {port} --workers 1"
    )
    server = start(command, where, environment())
    try:
        wait_for(f"http://127.0.0.1:{port}/health", 60)
        with service(tmp_path, f"http://127.0.0.1:{port}") as (process, address, log):
            os.killpg(server.pid, signal.SIGKILL)
            until(lambda: "continuing with demo version 1" in log(), 90)
            assert versions(address) == ["1"] and httpx.get(f"{address}/v2/health/ready").status_code == 200
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0 and time.monotonic() - began < 10
            assert "Traceback" not in log()
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def test_an_unknown_model_and_none_are_one_line(home, ganlib):
    code, _, said = ganlib("serve", "--model", "models:/none@champion", "--port", 0)
    assert code == 2 and "none" in said
    code, _, said = ganlib("serve", "--port", 0)
    assert code == 2 and "no model is given" in said
