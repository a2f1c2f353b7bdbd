"""Models in a user's own file or module, trained, registered and scored by the command."""

import json
import re
import shlex
import sys
from pathlib import Path

import pandas as pd
import pytest
from pipeline_data import refused, sensor_table

from ganlib import registry as models
from pipelines.named import entry_of, is_reference
from serving.cli_support import Terminated

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
SECTION = PAGE[PAGE.index("## A detector of your own") : PAGE.index("## Checking a model")]
CODE = re.search(r"```python\n(.*?)```", SECTION, re.S)[1]
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", SECTION, re.S) for line in block.splitlines()]


@pytest.fixture(autouse=True)
def registered_here(monkeypatch):
    """What a test registers is gone afterwards."""
    models.entries()
    monkeypatch.setattr(models, "_ENTRIES", dict(models._ENTRIES))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with the page's file and a table."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr("sys.path", list(sys.path))
    (tmp_path / "my_detector.py").write_text(CODE)
    sensor_table().to_csv("sensors.csv", index=False)
    sensor_table(60, seed=3).drop(columns="fault").to_csv("new.csv", index=False)
    return tmp_path


@pytest.mark.trained
def test_the_detector_of_the_page_by_its_commands(ganlib, folder):
    assert len(CODE.splitlines()) <= 60 and len(COMMANDS) == 3
    for command in COMMANDS:
        program, *arguments = shlex.split(command)
        code, out, err = ganlib(*arguments)
        assert program == "ganlib" and code == 0, (command, err)
    scores = pd.read_parquet(folder / "scores")
    assert len(scores) == 60 and scores["p_value"].between(0, 1).all()
    shown = json.loads(ganlib("show", "pump", "--json")[1])
    assert "my_autoencoder" in shown["card"] and shown["aliases"] == ["challenger", "champion"]


def test_a_step_alone_in_a_process_finds_the_code(folder, run_python):
    """As a task of a schedule does: the job's folder and the model as the settings name it are all that it gets."""
    (folder / "job.yaml").write_text(
        "data: {path: sensors.csv, label: fault}\nmodel: {name: 'my_detector.py:MyDetector'}\ntraining: {steps: 20}\n"
    )
    first = (
        "from pathlib import Path\nfrom pipelines import steps\nfrom pipelines.job import Job\n"
        "from pipelines.registry import Registry\n"
        "settings = steps.settings_of(None, config='job.yaml')\nPath('job').mkdir()\n"
        "job = Job.create('job', 'pump', settings, Registry(settings=settings.registry))\nsteps.prepare('job')\n"
    )
    second = (
        "from pipelines import steps\nfrom pipelines.job import Job\n"
        "print(steps.train_candidate('job', Job.open('job').settings.model.name).model)\n"
    )
    assert (done := run_python(first, folder)).returncode == 0, done.stderr
    done = run_python(second, folder)
    assert done.returncode == 0 and done.stdout.strip() == "my_autoencoder", done.stderr


def test_files_modules_classes_and_registered_names(folder):
    (folder / "package").mkdir()
    (folder / "package/__init__.py").write_text("")
    (folder / "package/inner.py").write_text(CODE.replace("my_autoencoder", "inner_autoencoder"))
    (folder / "helper.py").write_text("WIDTH = 3\n")
    (folder / "other.py").write_text("from helper import WIDTH\n" + CODE.replace("my_autoencoder", "other"))
    for reference, name in {
        "my_detector.py:MyDetector": "my_autoencoder", "my_detector.py:my_autoencoder": "my_autoencoder",
        f"{folder}/my_detector.py:MyDetector": "my_autoencoder", "package.inner:MyDetector": "inner_autoencoder",
        "other.py:other": "other", "vae": "vae", "ganlib.models.vae.vae:VAE": "vae",
    }.items():  # fmt: skip
        assert entry_of(reference).name == name
    assert is_reference("a:b") and not is_reference("vae") and not is_reference("models:/a@b")


FAULTS = {
    "none.py:A": "there is no file none.py",
    "my_detectr.py:MyDetector": "did you mean 'my_detector.py'?",
    "my_detector.py": "name the class in the file",
    "my_detector.py:MyDetecter": "did you mean 'MyDetector'?",
    "my_detector.py:Error": "Error is not registered; put @register",
    "my_detector.py:dataclass": "no class but function",
    "no_such_module:A": "no module is called 'no_such_module'",
    "package.none:A": "no module is called 'package.none'",
    "..a:B": "is not the name of a module",
    "broken.py:A": "broken.py, line 2: ZeroDivisionError: division by zero",
    "syntax.py:A": "syntax.py, line 1: ",
    "lacks.py:A": "lacks.py, line 1: ModuleNotFoundError: No module named 'not_installed'",
    "lacks:A": "lacks.py, line 1: ModuleNotFoundError: No module named 'not_installed'",
    "leaves.py:A": "leaves.py, line 1: SystemExit: 3",
    "twice.py:MyDetector": "two models are registered as 'vae'",
    "mute.py:MyDetector": "does not detect",
}


@pytest.mark.parametrize(("reference", "words"), FAULTS.items())
def test_faults_are_one_line_and_exit_2(ganlib, folder, reference, words):
    (folder / "package").mkdir()
    (folder / "package/__init__.py").write_text("")
    (folder / "broken.py").write_text("x = 0\n1 / x\n")
    (folder / "syntax.py").write_text("def\n")
    (folder / "lacks.py").write_text("import not_installed\n")
    (folder / "leaves.py").write_text("raise SystemExit(3)\n")
    (folder / "twice.py").write_text(CODE.replace("my_autoencoder", "vae"))
    (folder / "mute.py").write_text(CODE.replace("def scorer", "def scores").replace("my_autoencoder", "mute"))
    refused(ganlib("train", "--data", "sensors.csv", "--name", "x", "--model", reference), 2, words)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, Terminated])
@pytest.mark.parametrize("reference", ["stopped.py:Mine", "stopped:Mine"])
def test_an_interrupt_while_a_module_is_imported_is_no_fault_of_the_module(folder, reference, stop):
    code = f"from serving.cli_support import Terminated\nraise {stop.__name__}\n"
    (folder / "stopped.py").write_text(code)
    with pytest.raises(stop):
        entry_of(reference)
    assert not any(name.startswith("stopped") for name in sys.modules)
