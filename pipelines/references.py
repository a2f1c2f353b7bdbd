"""Secrets in a configuration: given by reference, read when they are used, and never shown."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from pipelines.errors import UsageError
from serving.files import is_url, is_utf8
from serving.redis import is_redis
from serving.secrets import holds_secret, remember


def _reference(value: Any) -> Any:
    """Accept only ``env:NAME`` or ``file:PATH``, so that no secret is written to a file or a log."""
    if isinstance(value, str) and not re.fullmatch(r"(env:[A-Za-z_]\w*|file:.+)", value):
        raise ValueError("a secret is given by reference only: env:NAME or file:PATH")
    return value


def _no_secret(value: str) -> str:
    if holds_secret(value):
        raise ValueError(
            "a URL with a password or token in it is a secret; take that out and give it to the storage library by its "
            "own variables, such as FSSPEC_SFTP_PASSWORD"
        )
    return value


def _stream_output(value: str) -> str:
    if is_redis(value) or value.startswith(("env:", "file:")):
        return _no_secret_uri(value)
    return _local(_no_secret(value))


def _local(value: str) -> str:
    if is_url(value):
        raise ValueError("a path on this machine, not a URL: copy the file from or to the other place")
    return value


def in_registry(model: str) -> bool:
    """Whether a model is named by the registry's URI, rather than as a file."""
    return model.startswith("models:/")


def model_place(value: str) -> str:
    """A model's location unchanged; raises ValueError unless it is in a registry or a local file."""
    if is_url(value) and not in_registry(value):
        raise ValueError("a model is models:/NAME@ALIAS, models:/NAME/VERSION or FILE.onnx; download the file first")
    return value


def _utf8(value: str) -> str:
    if not is_utf8(value):
        raise ValueError("the name is not UTF-8; rename the file or folder, or correct the option")
    return value


def _no_secret_uri(value: str) -> str:
    if holds_secret(value):
        raise ValueError("a URI with a password in it is a secret: put it in a variable or file and write env:NAME")
    return value


Reference = Annotated[str, BeforeValidator(_reference), Field(json_schema_extra={"secret": True})]
Uri = Annotated[str, AfterValidator(_utf8), AfterValidator(_no_secret_uri)]
# A file, a folder or a URL; the types below allow local paths only.
Place = Annotated[str, AfterValidator(_utf8), AfterValidator(_no_secret)]
StreamOutput = Annotated[str, AfterValidator(_utf8), AfterValidator(_stream_output)]
Local = Annotated[Place, AfterValidator(_local)]
Model = Annotated[Place, AfterValidator(model_place)]


def reveal(reference: str | None) -> SecretStr | None:
    """The secret behind a reference, never to be shown; raises UsageError if the variable or file is missing."""
    if reference is None:
        return None
    kind, _, place = reference.partition(":")
    value = _variable(place) if kind == "env" else _content(place)
    remember(value)
    return SecretStr(value)


def _variable(name: str) -> str:
    if name not in os.environ:
        raise UsageError(f"the secret env:{name} is not set; export {name}=… before running")
    return os.environ[name]


def _content(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise UsageError(
            f"the secret file {path} cannot be read ({error.strerror}); check the path and its permissions"
        ) from error
    except ValueError as error:
        raise UsageError(f"the secret file {path} is not UTF-8 text; write only the secret into it") from error


def is_sealed(model: str) -> bool:
    """Whether the model is in the registry or a sealed file, rather than one that is fitted here."""
    return in_registry(model) or model.endswith(".onnx")
