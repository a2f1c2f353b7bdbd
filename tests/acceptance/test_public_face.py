"""``import ganlib`` shows what users need: lazily at run time, with types to editors and type checkers."""

import ast
import importlib
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

import ganlib

ROOT = Path(__file__).resolve().parents[2]
OTHERS = ("torch", "sklearn", "scipy", "pyarrow", "imblearn", "pydantic", "onnx", "onnxruntime", "matplotlib")
SOUND = """
from typing import assert_type

import ganlib
from ganlib import DataSpec, Trainer, TrainerConfig, VAEDetector, create, list_models, seal

assert_type(list_models("detector"), list[str])
assert_type(ganlib.DataSpec.vector(2), DataSpec)
assert_type(ganlib.VAEDetector(epochs=3), VAEDetector)
Trainer(TrainerConfig(steps=1)).fit(create("gan", DataSpec.vector(2)), {})
seal(VAEDetector(), "detector.onnx")
ganlib.as_augmenter("vae").sample(2)
"""
WRONG = """
import ganlib

ganlib.list_model()
ganlib.DataSpec.vector("two")
ganlib.TrainerConfig(steps="many")
"""


def test_every_public_name_is_there_and_is_what_type_checkers_see():
    seen = {}
    for node in ast.walk(ast.parse(Path(ganlib.__file__).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ganlib"):
            seen |= {name.name: node.module for name in node.names}
    assert sorted([*seen, "__version__"]) == sorted(ganlib.__all__) == dir(ganlib)
    for name, module in seen.items():
        assert getattr(ganlib, name) is getattr(importlib.import_module(module), name)


def test_every_estimator_is_public():
    from ganlib.augment import BaseAugmenter
    from ganlib.detect import BaseDetector

    def subclasses(base):
        for one in base.__subclasses__():
            yield one
            yield from subclasses(one)

    shipped = {one for base in (BaseAugmenter, BaseDetector) for one in subclasses(base)}
    names = {
        one.__name__ for one in shipped if one.__module__ in ("ganlib.augment.estimators", "ganlib.detect.estimators")
    }
    assert names and {name for name in names if not name.startswith("_")} <= set(ganlib.__all__)


def test_an_unknown_name_is_an_attribute_error_that_lists_the_public_ones():
    with pytest.raises(AttributeError, match="no attribute 'list_model'; public names: .*list_models"):
        _ = ganlib.list_model


@pytest.mark.timeout(300)
def test_a_client_is_type_checked_against_the_installed_package(tmp_path):
    """In an environment where the packages are installed, so that ``py.typed`` is what makes mypy read them."""
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / "bin" / "python"
    packages = next((tmp_path / "env").glob("lib/python*/site-packages"))
    for name in ("ganlib", "serving"):
        (packages / name).symlink_to(ROOT / name)
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"))
    (tmp_path / "sound.py").write_text(SOUND)
    (tmp_path / "wrong.py").write_text(WRONG)
    # What others' packages hold is not the question, and takes minutes to read.
    others = "".join(f"[mypy-{name}.*]\nfollow_imports = skip\n" for name in OTHERS)
    (tmp_path / "mypy.ini").write_text(f"[mypy]\nstrict = True\n{others}")
    command = [sys.executable, "-m", "mypy", "--python-executable", str(python), "--config-file", "mypy.ini"]
    command += ["--cache-dir", str(ROOT / ".mypy_cache" / "client"), "sound.py", "wrong.py"]
    environment = {name: value for name, value in os.environ.items() if name not in ("MYPYPATH", "PYTHONPATH")}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    lines = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert [line.split(":")[0:2] for line in lines] == [["wrong.py", "4"], ["wrong.py", "5"], ["wrong.py", "6"]], (
        done.stdout
    )
    assert "list_models" in lines[0] and '"int"' in lines[1] and '"int | None"' in lines[2]
