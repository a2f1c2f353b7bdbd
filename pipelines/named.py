"""Models by name: registry names, and classes in a user's own code, ``module:NAME`` or ``FILE.py:NAME``.

Naming a model in a module or file runs its code, with the rights of the job: name only code that you trust.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import os
import re
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pipelines.errors import UsageError
from pipelines.files import close_files
from pipelines.references import in_registry

if TYPE_CHECKING:
    from ganlib.registry import Entry

_REFERENCE = re.compile(r"(?P<place>.+):(?P<name>[^:/\\]+)")


def is_reference(model: str) -> bool:
    """Whether a model is named as ``module:NAME`` or ``FILE.py:NAME``, rather than by its name in the registry."""
    return not in_registry(model) and _REFERENCE.fullmatch(model) is not None


def entry_of(model: str) -> Entry:
    """The entry of a registry name, or of ``module:NAME`` or ``FILE.py:NAME``, whose code is run.

    NAME is a class or the name under which the module registers one. Modules are found on Python's path and in the
    working folder; a file's folder is added to that path, so that it may import the files beside it.
    Raises ConfigError on an unknown registry name; UsageError if there is no such file, module or NAME, if the class is
    not registered, and if the code raises an error (named with file and line).
    """
    from ganlib.registry import entry

    if not is_reference(model):
        if model.endswith(".py"):
            raise UsageError(f"model {model}: name the class in the file, as {model}:NAME")
        return entry(model)
    parts = _REFERENCE.fullmatch(model)
    assert parts is not None
    place, name = parts["place"], parts["name"]
    module = _file(model, Path(place)) if place.endswith(".py") else _module(model, place)
    return _found(model, module, name)


def _file(model: str, path: Path) -> ModuleType:
    """A file as a module, run once in a process."""
    if not path.is_file():
        hint = f"; {near}" if (near := close_files(path)) else ""
        raise UsageError(f"model {model}: there is no file {path}{hint}")
    whole = path.resolve()
    # Files of one name in several folders are different modules, and none replaces an installed package.
    name = f"{whole.stem}_{hashlib.sha256(str(whole).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, whole)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    _add_to_path(whole.parent)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, Exception | SystemExit):
            raise _failed(model, error) from error
        raise  # an interrupt or a termination
    return module


def _module(model: str, name: str) -> ModuleType:
    _add_to_path(Path.cwd())
    importlib.invalidate_caches()  # the file may be newer than Python's list of its folder
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        missing = getattr(error, "name", None) or ""
        if isinstance(error, ModuleNotFoundError) and (name == missing or name.startswith(missing + ".")):
            raise UsageError(
                f"model {model}: no module is called {missing!r} on Python's path or in {Path.cwd()}; start in the "
                "folder that holds it, set PYTHONPATH, or name a file: FILE.py:NAME"
            ) from error
        if isinstance(error, ValueError | TypeError) and not _frames(error):  # such as '.pump' or 'a..b'
            raise UsageError(
                f"model {model}: {name!r} is not the name of a module; write package.module:NAME"
            ) from error
        raise _failed(model, error) from error


def _add_to_path(folder: Path) -> None:
    """Add a folder behind all others: its files cannot replace an installed package."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def _failed(model: str, error: BaseException) -> UsageError:
    """An error in a user's code, with the file and line of its innermost frame there."""
    if isinstance(error, SyntaxError):
        return UsageError(f"model {model}: {error.filename}, line {error.lineno}: {error.msg}")
    frames = _frames(error)
    where = f"{frames[-1].filename}, line {frames[-1].lineno}: " if frames else ""
    text = " ".join(str(error).split())
    return UsageError(f"model {model}: {where}{type(error).__name__}{': ' + text if text else ''}")


def _frames(error: BaseException) -> list[traceback.FrameSummary]:
    """Frames of code that is neither Python's import system nor installed or ours."""
    ours = {str(Path(__file__).resolve().parents[1] / package) for package in ("ganlib", "pipelines", "serving")}
    outside = (*ours, f"{os.sep}site-packages{os.sep}", "<frozen", importlib.__file__)
    return [f for f in traceback.extract_tb(error.__traceback__) if not any(part in f.filename for part in outside)]


def _found(model: str, module: ModuleType, name: str) -> Entry:
    """The entry of the module's class or registered model of this name."""
    from ganlib.registry import entries, resolve
    from ganlib.training.algorithm import Algorithm

    registered = {e.name: e for e in entries() if e.build.__module__ == module.__name__}
    if name in registered:
        return registered[name]
    value: Any = getattr(module, name, None)
    if value is None:
        known = {*registered, *(k for k, v in vars(module).items() if isinstance(v, type) and issubclass(v, Algorithm))}
        close = difflib.get_close_matches(name, known, n=1)
        there = f"did you mean {close[0]!r}?" if close else f"it holds {', '.join(sorted(known)) or 'no model'}"
        raise UsageError(f"model {model}: {module.__file__} holds no {name!r}; {there}")
    if not isinstance(value, type) or value not in {e.build for e in entries()}:
        what = "is not registered" if isinstance(value, type) else f"is no class but {type(value).__name__}"
        raise UsageError(f"model {model}: {name} {what}; put @register(…) above the class (docs/extending.md)")
    return resolve(value)
