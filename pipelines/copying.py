"""Copying versions: registering those trained elsewhere (from a file or another registry), and exporting."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.card import PICTURES, card
from pipelines.connection import masked
from pipelines.errors import UsageError
from pipelines.files import written
from pipelines.following import check_direction, located
from pipelines.registry import ModelVersion, Registry, check_name
from pipelines.sections import RegistrySettings
from serving.artifact import load_artifact
from serving.errors import IntegrityError

if TYPE_CHECKING:
    from serving.artifact import Artifact

# Tags that hold in the registry of origin only.
HELD = ("table", "image", "series")
_THERE = ("champion_version", "champion_quality", "last_scored")


def artifact_tags(artifact: Artifact) -> dict[str, Any]:
    """Tags that follow from the artifact alone; privacy is not checked and no gate has judged it yet."""
    metadata, parity = artifact.metadata, artifact.metadata["parity"]
    tags = {
        "model": metadata["model"]["name"],
        # Images and series have no schema: the hash of the metadata, which holds their shape, stands for it.
        "schema_sha256": metadata["hashes"].get("schema") or metadata["hashes"]["metadata"],
        "data_fingerprint": metadata["training"]["fingerprint"],
        "data": metadata["training"]["data"],
        "ganlib_version": metadata["versions"]["ganlib"],
        "exporter": metadata["exporter"],
        "parity_max_abs": float(parity["max_abs"]),
        "parity_ratio": float(parity["max_abs"]) / max(float(parity["bound"]), 1e-30),
        "privacy": "not checked",
        "gate_verdict": "not judged",
    }
    if artifact.kind == "detector":
        calibration = artifact.calibration
        tags |= {key: calibration[key] for key in ("alpha", "alpha_min") if key in calibration}
    if artifact.kind == "translator":
        tags["to"] = metadata["to"]
    return tags


def texts(tags: dict[str, Any]) -> dict[str, str]:
    """Tags as text, which MLflow stores; unknown values (None) are left out."""
    known = {key: value for key, value in tags.items() if value is not None}
    return {key: f"{value:.9g}" if isinstance(value, float) else str(value) for key, value in known.items()}


def checked(file: Path) -> Artifact:
    """Open an artifact that is to be registered.

    Raises UsageError (2) if it is no detector, augmenter or translator of tables, images or series, IntegrityError (6)
    if it is damaged or its results differ from torch's by more than the parity gate allows.
    """
    if file.suffix != ".onnx":
        raise UsageError(f"{file} is no sealed artifact: its name must end in .onnx")
    artifact = load_artifact(file)
    needs = [word for word in ("attributes", "examples") if artifact.metadata.get(word)]
    if artifact.kind not in ("detector", "augmenter", "translator") or artifact.modality not in HELD or needs:
        what = f"{artifact.kind} of modality {artifact.modality}" + (f" that needs {needs[0]}" if needs else "")
        raise UsageError(
            f"{file} is a sealed {what}; the registry holds detectors, translators and augmenters by class, of tables, "
            "images and series"
        )
    ratio = artifact_tags(artifact)["parity_ratio"]
    if not ratio <= 1:
        raise IntegrityError(f"{file}: its results differ from torch's by {ratio:.3g} of the bound; seal it again")
    return artifact


@dataclass(frozen=True)
class Exported:
    """A copy of an artifact; ``version`` is empty if it was copied from a file."""

    output: str
    name: str
    version: str
    sha256: str


def export(
    registry: Registry | None, settings: RegistrySettings, model: str, output: Path, to: str | None = None
) -> Exported:
    """Copy a registered artifact or a sealed file, verified, to ``output``, with its sha-256 beside it.

    ``to`` is the domain to which a translator leads. Raises UsageError, IntegrityError, RegistryDown; TryAgain if the
    disk is full. No file is written then.
    """
    found = located(registry, settings, model, to)
    artifact = load_artifact(found.path, found.sha256 or None)
    check_direction(artifact, to, model)
    content = found.path.read_bytes()
    with written(output) as file:
        file.write_bytes(content)
        with written(output.with_name(output.name + ".sha256")) as beside:
            beside.write_text(f"{artifact.sha256}  {output.name}\n", encoding="utf-8")
    return Exported(str(output), found.name, found.version, artifact.sha256)


def register_file(registry: Registry, file: Path, name: str) -> ModelVersion:
    """Register a sealed file as ``challenger``; raises what ``checked`` raises, RegistryDown."""
    check_name(name)
    artifact = checked(file)
    return _add(registry, name, file, texts(artifact_tags(artifact)), f"register {name}", [])


def copy_version(source: Registry, target: Registry, name: str, version: str | None) -> ModelVersion:
    """Copy a version of another registry (default: its champion) as ``challenger``, with its tags.

    A version with the same sha-256 is not copied again, but becomes ``challenger``.
    Raises UsageError, IntegrityError, RegistryDown.
    """
    found = chosen(source, name, version)
    resolved = source.resolve(f"models:/{name}/{found.version}", fresh=True)
    artifact = checked(resolved.path)
    if name in target.names():
        for other in target.versions(name):
            if other.tags.get("artifact_sha256") == resolved.sha256:
                target.set_alias(name, "challenger", other.version)
                return other
    tags = texts(artifact_tags(artifact)) | {k: v for k, v in found.tags.items() if k not in _THERE}
    tags |= {"gate_verdict": "not judged", "copied_from": f"{masked(source.uri)} version {found.version}"}
    with tempfile.TemporaryDirectory() as folder:
        pictures = source.fetch(found.run_id, list(PICTURES), Path(folder))
        back = None
        if "back_sha256" in found.tags:
            way = "a" if found.tags["to"] == "b" else "b"
            back = source.resolve(f"models:/{name}/{found.version}", fresh=True, to=way).path
        return _add(target, name, resolved.path, tags, f"copy {name}", pictures, back)


def chosen(source: Registry, name: str, version: str | None) -> ModelVersion:
    """The named version of another registry, else its champion."""
    return source.version(name, version) if version else source.by_alias(name, "champion")


def _add(
    registry: Registry,
    name: str,
    file: Path,
    tags: dict[str, str],
    title: str,
    pictures: list[Path],
    back: Path | None = None,
) -> ModelVersion:
    with registry.run(registry.settings.experiment, title) as run, tempfile.TemporaryDirectory() as folder:
        registry.log_files(run.info.run_id, pictures)
        logged = registry.log_model(Path(shutil.copy(file, Path(folder) / f"{name}.onnx")), back)
        text = card(load_artifact(file), name, tags, run.info.run_id, [p.name for p in pictures])
        registry.describe(logged, text)
        return registry.register(name, logged, tags, text)
