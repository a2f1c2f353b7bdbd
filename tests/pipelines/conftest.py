"""One small training run, registered once: tests copy its database instead of migrating and training again."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from pipeline_data import sensor_table  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
# A test sees no settings of the machine it runs on.
for name in [n for n in os.environ if n.startswith(("GANLIB__", "MLFLOW_TRACKING"))]:
    del os.environ[name]


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """Folder with data.csv, demo.onnx, mlflow.db and its artifacts: model ``demo`` version 1 is ``challenger``."""
    from filelock import FileLock

    base = tmp_path_factory.getbasetemp()
    # Workers of pytest-xdist share one.
    base = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    folder = base / "pipelines-template"
    with FileLock(f"{folder}.lock"):
        if not (folder / "demo.onnx").exists():
            _build(folder)
    return folder


def _build(folder):
    import torch

    from pipelines.registry import Registry
    from pipelines.steps import settings_of, train_detector

    torch.set_num_threads(1)
    folder.mkdir()
    sensor_table(canary=True).to_csv(folder / "data.csv", index=False)
    registry = Registry(f"sqlite:///{folder}/mlflow.db")
    given = {"training.steps": 150, "calibration.alpha": 0.05}
    settings = settings_of(folder / "data.csv", label="fault", model="vae", overrides=given)
    trained = train_detector(registry, settings, "demo")
    shutil.copy(trained.artifact, folder / "demo.onnx")


@pytest.fixture
def registry(template, tmp_path):
    """A registry of its own with the template's content."""
    from pipelines.registry import Registry
    from pipelines.settings import RegistrySettings

    shutil.copy(template / "mlflow.db", tmp_path / "mlflow.db")
    return Registry(f"sqlite:///{tmp_path}/mlflow.db", RegistrySettings(retries=1))


@pytest.fixture
def add_version(registry):
    """Register the template's artifact again with other tags; the new version is ``challenger``."""

    def add(**changes):
        first = registry.version("demo", "1")
        source = registry.client().get_model_version("demo", "1").source
        made = registry.client().create_model_version("demo", source, tags={**first.tags, **changes})
        registry.set_alias("demo", "challenger", str(made.version))
        return str(made.version)

    return add


@pytest.fixture(scope="session")
def run_python():
    """Run code in a fresh process of this checkout; returns the finished process."""

    def run(code, cwd, timeout=120, isolated=False, **environment):
        env = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
        env.pop("PYTHONPATH", None) if isolated else env.setdefault("PYTHONPATH", str(ROOT))
        return subprocess.run(
            [sys.executable, *(["-P"] if isolated else []), "-c", code],
            cwd=cwd, env=env, capture_output=True, text=True, timeout=timeout,
        )  # fmt: skip

    return run


@pytest.fixture
def ganlib(monkeypatch, capsys):
    """Run the command in this process: (exit code, stdout, stderr)."""
    from pipelines.cli import main

    def run(*args):
        monkeypatch.setattr(sys, "argv", ["ganlib", *map(str, args)])
        capsys.readouterr()
        code = main()
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def home(registry, tmp_path, monkeypatch):
    """A folder of one's own with a registry in it, as the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry.uri)
    return tmp_path


@pytest.fixture(scope="module")
def server(template, tmp_path_factory):
    """URI of an MLflow server on loopback with the template's content; it stores artifacts for its clients."""
    import socket
    import time
    import urllib.request

    folder = tmp_path_factory.mktemp("server")
    shutil.copy(template / "mlflow.db", folder / "mlflow.db")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination", str(folder / "artifacts"), "--host", "127.0.0.1", "--port", str(port),
        "--workers", "1",
    ]  # fmt: skip
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1)
                break
            except OSError:
                assert process.poll() is None, (folder / "log").read_text()[-2000:]
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        # Its workers are its children; asked politely, they wait for connections that clients keep open.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)
