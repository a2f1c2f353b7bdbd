"""`ganlib serve` follows an alias in the registry."""

import os
import re
import signal
import subprocess
import sys
import time

import httpx


def versions(address):
    return httpx.get(f"{address}/v2/models/demo").json()["versions"]


def becomes(address, version):
    end = time.monotonic() + 30
    while versions(address) != [version]:
        assert time.monotonic() < end, versions(address)
        time.sleep(0.2)


def test_promotion_and_rollback_take_effect_without_a_restart(registry, add_version, home):
    registry.set_alias("demo", "champion", "1")
    parts = [sys.executable, "-m", "pipelines.cli", "serve", "--model", "models:/demo@champion", "--port", "0"]
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(parts, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            said = []
            for line in process.stderr:
                said.append(line)
                if found := re.search(r"start: demo version 1 at (\S+)", line):
                    break
            else:
                raise AssertionError(said)
            address = found.group(1)
            assert versions(address) == ["1"]
            registry.set_alias("demo", "champion", add_version())
            becomes(address, "2")
            registry.set_alias("demo", "champion", "1")
            becomes(address, "1")
            os.rename(home / "mlflow.db", home / "away.db")  # the registry is down
            time.sleep(6)
            assert versions(address) == ["1"] and httpx.get(f"{address}/v2/health/ready").status_code == 200
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
            rest = process.stderr.read()
            assert "now scoring with demo version 2" in rest and "Traceback" not in rest
        finally:
            process.kill()


def test_a_registry_that_is_down_and_an_unknown_model_are_one_line(home, ganlib):
    code, _, said = ganlib("serve", "--model", "models:/none@champion", "--port", 0)
    assert code == 2 and "none" in said
    code, _, said = ganlib("serve", "--port", 0)
    assert code == 2 and "no model is given" in said
