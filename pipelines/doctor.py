"""Checks of an installation; each finding comes with a fix."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.settings import RegistrySettings


@dataclass(frozen=True)
class Check:
    """One finding; ``state`` is ok, warn or error.

    ``mend`` says how to fix it; ``--json`` prints it under that name.
    """

    name: str
    state: str
    found: str
    mend: str = ""


def examine(registry: RegistrySettings | None = None) -> list[Check]:
    """All checks, in order; none of them raises."""
    checks = [_python(), _runtime(), *_packages(), _pins(), _gpu(), _disk()]
    if _version("mlflow"):
        checks += [_namespace(), _registry(registry)]
        if checks[-1].state == "ok":
            checks.append(_artifacts(registry))
    return checks


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _python() -> Check:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Check(
        "python",
        "ok" if sys.version_info >= (3, 11) else "error",
        found,
        "" if sys.version_info >= (3, 11) else "use 3.11+",
    )


def _runtime() -> Check:
    cpu, gpu = _version("onnxruntime"), _version("onnxruntime-gpu")
    if cpu and gpu:
        fix = "pip uninstall -y onnxruntime onnxruntime-gpu, then install the one you want"
        return Check("onnxruntime", "error", f"both {cpu} and gpu {gpu}", fix)
    found = cpu or gpu
    return Check(
        "onnxruntime", "ok" if found else "error", found or "missing", "" if found else "pip install onnxruntime"
    )


def _packages() -> list[Check]:
    extras = {"torch": "train", "scikit-learn": "train", "mlflow": "pipelines", "prefect": "pipelines"}
    out = []
    for package, extra in extras.items():
        found = _version(package)
        out.append(
            Check(
                package,
                "ok" if found else "warn",
                found or "missing",
                "" if found else f'pip install "ganlib[{extra}]"',
            )
        )
    return out


def _pins() -> Check:
    """With newer fastapi Prefect's server does not start; with SQLAlchemy 2.1 it never schedules a run."""
    fastapi, sqlalchemy = _version("fastapi"), _version("sqlalchemy")
    found = f"fastapi {fastapi}, sqlalchemy {sqlalchemy}"
    bad = (fastapi and _parts(fastapi) >= (0, 151)) or (sqlalchemy and _parts(sqlalchemy) >= (2, 1))
    if _version("prefect") and bad:
        return Check("prefect's pins", "error", found, 'pip install "fastapi<0.151" "sqlalchemy<2.1"')
    return Check("prefect's pins", "ok", found)


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(p) for p in version.split(".")[:2] if p.isdigit())


def _gpu() -> Check:
    if not _version("torch"):
        return Check("GPU", "ok", "torch not installed")
    import torch

    if torch.cuda.is_available():
        return Check("GPU", "ok", torch.cuda.get_device_name(0))
    return Check("GPU", "ok", "none; training runs on the CPU")


def _disk() -> Check:
    free = shutil.disk_usage(".").free / 2**30
    return Check(
        "disk", "ok" if free > 1 else "warn", f"{free:.1f} GiB free here", "" if free > 1 else "free some space"
    )


def _namespace() -> Check:
    """A folder named mlflow in the working directory must not hide the package."""
    try:
        found = importlib.util.find_spec("mlflow.tracking") is not None
    except ModuleNotFoundError:
        found = False
    fix = "a folder `mlflow` hides the package: run from elsewhere, or reinstall mlflow"
    return Check(
        "mlflow import",
        "ok" if found else "error",
        "the real package" if found else "an empty folder",
        "" if found else fix,
    )


def _registry(settings: RegistrySettings | None) -> Check:
    from pipelines.connection import masked
    from pipelines.registry import Registry
    from serving.wording import counted

    registry = Registry(settings=settings)
    try:
        models = len(registry.names())
    except Exception as error:
        return Check("registry", "error", f"{type(error).__name__}: {str(error)[:120]}", "check MLFLOW_TRACKING_URI")
    return Check("registry", "ok", f"{counted(models, 'model')} at {masked(registry.uri)}")


def _artifacts(settings: RegistrySettings | None) -> Check:
    """Whether the files of the versions that jobs use are where the registry says."""
    from pipelines.registry import HEAL, Registry
    from serving.wording import counted

    registry = Registry(settings=settings)
    try:
        if (found := registry.moved()) is not None:
            return Check("artifacts", "error", str(found), HEAL)
        used = {(name, v) for name in registry.names() for v in registry.aliases(name).values()}
        gone = [f"{name} version {v}" for name, v in sorted(used) if not registry.holds(name, v)]
    except Exception as error:
        return Check("artifacts", "error", f"{type(error).__name__}: {str(error)[:120]}", "see the line above")
    if gone:
        return Check("artifacts", "error", f"not found: {', '.join(gone)}", "restore them, or register them again")
    return Check("artifacts", "ok", f"{counted(len(used), 'version')} with an alias found")


def repair(settings: RegistrySettings | None = None) -> list[str]:
    """Correct the paths of artifacts in a registry that was moved; returns what was done, one line each."""
    from pipelines.registry import Registry
    from serving.wording import counted

    registry = Registry(settings=settings)
    places = registry.relocate()
    return [f"{counted(places, 'place')} of artifacts corrected: they lie in {registry.store}"] if places else []
