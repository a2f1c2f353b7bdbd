"""The house's rules that an import contract cannot say."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_import_directions():
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_contract_on_serving_names_every_room():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    barred = next(c["forbidden_modules"] for c in contracts if c["name"].startswith("of serving"))
    paths = [p for p in (ROOT / "serving").iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()]
    rooms = {p.stem for p in paths if not p.name.startswith("__")}
    assert {f"serving.{room}" for room in rooms} - set(barred) == {
        f"serving.{room}" for room in ("table", "inputs", "opening", "frame", "textfeatures", "errors", "wording")
    }


def imports_of(package):
    """The modules of a package that each of them imports, also inside functions and for types only."""
    modules = {".".join(p.relative_to(ROOT).with_suffix("").parts): p for p in (ROOT / package).rglob("*.py")}
    found = {}
    for name, path in modules.items():
        nodes = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ImportFrom) and n.module]
        named = {f"{n.module}.{a.name}" for n in nodes for a in n.names} | {n.module for n in nodes}
        found[name] = named & modules.keys()
    return found


def circles(imports):
    """Modules that import themselves by way of others."""
    reached = {name: set(named) for name, named in imports.items()}
    while True:
        more = {name: set().union(named, *(reached[one] for one in named)) for name, named in reached.items()}
        if more == reached:
            return sorted(name for name, named in reached.items() if name in named)
        reached = more


@pytest.mark.parametrize("package", ["ganlib/data", "ganlib/losses", "ganlib/training"])
def test_modules_do_not_import_each_other_in_circles(package):
    imports = imports_of(package)
    assert len(imports) > 3 and not circles(imports)
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["b", "c"]


def test_mlflow_folder_holds_no_python_and_the_real_package_wins():
    assert not list((ROOT / "mlflow").rglob("*.py"))
    code = "import mlflow.tracking, pathlib; print(pathlib.Path(mlflow.__file__).parent)"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "site-packages" in out


def test_only_the_three_packages_are_built():
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert config["tool"]["setuptools"]["packages"]["find"]["include"] == ["ganlib*", "serving*", "pipelines*"]


def test_no_pickle_on_any_path():
    forbidden = (
        "pickle.load",
        "pickle.dump",
        "cloudpickle",
        "joblib.dump",
        "joblib.load",
        "torch.save(",
        "torch.load(",
    )
    for package in ("ganlib", "serving", "pipelines"):
        for path in (ROOT / package).rglob("*.py"):
            if "testing" in path.parts:
                continue  # a law asks that models pickle
            text = path.read_text()
            assert not [word for word in forbidden if word in text], path


def test_import_is_light():
    code = "import sys, ganlib; print([m for m in ('torch', 'sklearn', 'mlflow', 'pandas') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_no_file_under_models_is_edited_centrally():
    """A new model is one file: nothing outside ganlib/models, but for the toys, names a model module."""
    for path in (ROOT / "ganlib").rglob("*.py"):
        if not {"models", "toys"} & set(path.parts):
            lines = path.read_text().splitlines()
            assert not [
                line for line in lines if line.lstrip().startswith(("from ganlib.models", "import ganlib.models"))
            ], path


@pytest.mark.timeout(300)
def test_types_hold():
    done = subprocess.run([sys.executable, "-m", "mypy"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
