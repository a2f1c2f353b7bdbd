"""The MLflow adapter: what is registered, how it is found again, and what happens when it is not there."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from pipelines.connection import masked
from pipelines.errors import RegistryDown, UsageError
from pipelines.following import RegistrySource
from pipelines.policies import policy_file, registry_policy
from pipelines.registry import Registry, sha256_of
from pipelines.settings import RegistrySettings
from serving.artifact import load_artifact
from serving.errors import IntegrityError

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("uri", ["models:/demo@challenger", "models:/demo/1"])
def test_a_registered_artifact_is_found_whole(registry, template, uri):
    found = registry.resolve(uri)
    assert (found.name, found.version) == ("demo", "1")
    assert found.sha256 == sha256_of(found.path) == sha256_of(template / "demo.onnx")
    artifact = load_artifact(found.path, found.sha256)
    assert artifact.integrity == "sha256" and artifact.kind == "detector"


@pytest.mark.parametrize(
    ("uri", "named"),
    [
        ("models:/dem@champion", "registered: demo"),
        ("models:/demo@champion", r"aliases: challenger \(version 1\)"),
        ("models:/demo/7", "versions: 1"),
        ("models:/demo", "neither"),
        ("demo@champion", "neither"),
        ("models:/de mo@champion", "does not fit"),
    ],
)
def test_what_does_not_exist_is_named_with_what_does(registry, uri, named):
    with pytest.raises(UsageError, match=named) as caught:
        registry.resolve(uri)
    assert caught.value.exit_code == 2


def test_a_download_is_kept_and_a_damaged_copy_replaced(registry):
    first = registry.resolve("models:/demo/1")
    stamp = first.path.stat().st_mtime_ns
    assert registry.resolve("models:/demo/1").path.stat().st_mtime_ns == stamp
    first.path.write_bytes(b"damaged")
    again = registry.resolve("models:/demo/1")
    assert sha256_of(again.path) == again.sha256


def test_a_stored_file_that_was_changed_is_refused(registry, add_version):
    version = add_version(artifact_sha256="0" * 64)
    with pytest.raises(IntegrityError, match="register the model again") as caught:
        registry.resolve(f"models:/demo/{version}")
    assert caught.value.exit_code == 6
    assert not [p for p in registry._cache().rglob("*.onnx") if p.parent.name == "0" * 16]


def test_a_version_whose_tags_were_lost_is_known_by_its_model(registry, add_version, template):
    version = add_version(artifact_sha256="", artifact_file="")
    found = registry.resolve(f"models:/demo/{version}")
    assert found.sha256 == sha256_of(found.path) == sha256_of(template / "demo.onnx")


def test_a_hostile_file_tag_stays_inside_the_cache(registry, add_version):
    version = add_version(artifact_file="../../../outside.onnx")
    with pytest.raises(IntegrityError, match="does not hold outside.onnx"):
        registry.resolve(f"models:/demo/{version}")
    assert not list(registry.folder.parent.rglob("outside.onnx"))


def test_the_pyfunc_tells_what_it_takes_and_gives(registry):
    import mlflow

    registry.client()
    info = mlflow.models.get_model_info("models:/demo/1")
    names = [column.name for column in info.signature.inputs]
    assert names == ["flow", "pressure", "count", "valve", "active", "when", "operator"]
    types = {column.name: column.type.name for column in info.signature.inputs}
    assert {name for name, kind in types.items() if kind == "double"} == {"flow", "pressure", "count"}
    assert {kind for name, kind in types.items() if name not in ("flow", "pressure", "count")} == {"string"}
    # spark_udf makes a struct of every output and fails on one that is not there.
    outputs = {column.name: (column.type.name, column.required) for column in info.signature.outputs}
    known = {"anomaly_score": ("float", True), "p_value": ("float", True), "is_anomaly": ("boolean", True)}
    assert outputs == known
    params = {p.name: (p.dtype.name, p.default) for p in info.signature.params}
    assert params["explain"] == ("boolean", False) and params["alpha"][0] == "double"
    least = load_artifact(registry.resolve("models:/demo/1").path).calibration["alpha_min"]
    assert params["alpha"][1] >= least
    assert info.metadata["columns"]["when"] == "date"


def test_nothing_in_the_registry_is_a_pickle(template):
    files = [p for p in template.rglob("*") if p.is_file()]
    assert not [p for p in files if p.suffix in (".pkl", ".pickle", ".pt", ".joblib")]
    # Protocol 2 and later begin with 0x80 and the protocol's number.
    assert not [p for p in files if p.read_bytes()[:1] == b"\x80"]
    pins = next(p for p in files if p.name == "requirements.txt").read_text().split()
    assert {p.split("==")[0] for p in pins} == {
        "numpy", "onnx", "onnxruntime", "pandas", "pyarrow", "pydantic", "mlflow",
    }  # fmt: skip
    assert all("==" in pin for pin in pins)


def test_a_registry_that_does_not_answer_is_a_dependency_down(tmp_path):
    server = Registry("http://127.0.0.1:9", RegistrySettings(retries=2, timeout=2))
    start = time.monotonic()
    with pytest.raises(RegistryDown, match=r"did not answer 2 times|cannot be opened") as caught:
        server.names()
    assert caught.value.exit_code == 5 and time.monotonic() - start < 30
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"this is no database" * 100)
    with pytest.raises(RegistryDown, match="cannot be opened"):
        Registry(f"sqlite:///{broken}").names()


@pytest.mark.parametrize("uri", ["./mlruns", "file:///tmp/mlruns", "/tmp/mlruns"])
def test_a_folder_is_no_registry(uri):
    with pytest.raises(UsageError, match="sqlite:///FILE"):
        Registry(uri).names()


def test_passwords_are_masked():
    assert masked("postgresql://me:hunter2@host/db") == "postgresql://***@host/db"


def test_a_source_follows_its_alias_and_outlives_its_registry(registry, add_version, monkeypatch):
    source = RegistrySource(registry, "models:/demo@challenger", every=0)
    assert source.current()[3] == "1"
    path, sha256, name, version = (add_version(), source.current())[1]
    assert (name, version) == ("demo", "2") and sha256_of(path) == sha256

    def down(uri):
        raise RegistryDown("nobody answers")

    monkeypatch.setattr(registry, "resolve", down)
    assert source.current()[3] == "2"
    with pytest.raises(RegistryDown):
        RegistrySource(registry, "models:/demo@challenger").current()


def test_two_processes_may_open_a_new_database_at_once(tmp_path):
    code = f"from pipelines.registry import Registry; print(Registry('sqlite:///{tmp_path}/new/m.db').names())"
    both = [
        subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    for process in both:
        out, error = process.communicate(timeout=200)
        assert process.returncode == 0 and out.strip() == b"[]", error.decode()[-500:]


def test_a_relative_database_stays_where_it_was_named(tmp_path, monkeypatch, template):
    monkeypatch.chdir(tmp_path)
    shutil.copy(template / "mlflow.db", "m.db")
    registry = Registry("sqlite:///m.db")
    monkeypatch.chdir("/")
    assert registry.names() == ["demo"]


def test_every_entry_point_forbids_pickles(run_python, tmp_path):
    code = (
        "import os, pipelines.flows.tasks\n"
        "import mlflow.environment_variables as e, prefect.settings as s\n"
        "assert e.MLFLOW_ALLOW_PICKLE_DESERIALIZATION.get() is False\n"
        "assert s.PREFECT_RESULTS_DEFAULT_SERIALIZER.value() == 'json'\n"
        "assert s.PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS.value() >= 90\n"
        "assert os.environ['MLFLOW_DISABLE_TELEMETRY'] == 'true'"
    )
    done = run_python(code, tmp_path, MLFLOW_ALLOW_PICKLE_DESERIALIZATION="true")
    assert done.returncode == 0, done.stderr[-800:]


def test_the_policy_files_say_what_is_used():
    assert set(registry_policy()["aliases"]) == {"challenger", "champion", "previous"}
    import mlflow.cli

    known = {option.lstrip("-") for p in mlflow.cli.server.params for option in (*p.opts, *p.secondary_opts)}
    assert set(yaml.safe_load(policy_file("server.yaml").read_text())["options"]) <= known
