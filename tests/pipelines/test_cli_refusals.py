"""What the command refuses: one clear line, the right exit code, nothing lost."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pipeline_data import refused, sensor_table

ROOT = Path(__file__).resolve().parents[2]


def broken_parquet(folder):
    (folder / "bad.parquet").write_bytes(b"PAR1 and then nothing of use")
    return "bad.parquet"


def latin_csv(folder):
    (folder / "bad.csv").write_bytes("flow,ort\n1,K\xf6ln\n".encode("latin-1"))
    return "bad.csv"


def empty_csv(folder):
    (folder / "bad.csv").write_text("")
    return "bad.csv"


def header_only(folder):
    (folder / "bad.csv").write_text("flow,pressure\n")
    return "bad.csv"


def twins(folder):
    (folder / "bad.csv").write_text("flow,flow\n" + "1,2\n" * 50)
    return "bad.csv"


def nothing_useful(folder):
    pd.DataFrame({"a": [np.nan] * 60, "b": [7] * 60}).to_csv(folder / "bad.csv", index=False)
    return "bad.csv"


def too_few(folder):
    sensor_table(30).drop(columns=["fault"]).head(3).to_csv(folder / "bad.csv", index=False)
    return "bad.csv"


BAD_TABLES = [
    (broken_parquet, "bad.parquet"),
    (latin_csv, "UTF-8"),
    (empty_csv, "empty"),
    (header_only, "no rows"),
    (twins, "flow"),
    (nothing_useful, "column"),
    (too_few, "rows"),
]


@pytest.mark.parametrize(("make", "word"), BAD_TABLES, ids=[make.__name__ for make, _ in BAD_TABLES])
def test_bad_tables_are_refused_by_every_verb_and_leave_nothing(ganlib, home, template, make, word):
    file = make(home)
    before = sorted(p.name for p in home.iterdir())
    refused(ganlib("train", "--data", file, "--name", "pump", "--model", "vae", "--steps", 5), 4, word)
    refused(ganlib("augment", "--data", file, "--label", "kind", "--output", "more.csv"), 4)
    scoring = ("score", "--model", template / "demo.onnx", "--input", file, "--output", "scores")
    refused(ganlib(*scoring, "--require-rows"), 4)
    left = {p.name for p in home.iterdir()} - set(before)
    assert not {name for name in left if name.startswith("more")}, left
    assert not list(home.glob("scores/*.parquet")) and not (home / "scores" / "_manifest.json").exists()
    refused(ganlib("history", "pump"), 2, "no registered model")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.drop(columns=["flow"]), ("flow",)),
        (lambda f: f.rename(columns={"flow": "Flow"}), ("flow",)),
        (lambda f: f.assign(flow="fast"), ("flow", "fast")),
        (lambda f: f.assign(when="yesterday"), ("when",)),
        (lambda f: f.assign(extra=1), None),
        (lambda f: f[sorted(f.columns, reverse=True)], None),
        (lambda f: f.assign(flow=np.nan), None),
    ],
    ids=["missing", "renamed", "text in a number", "no date", "extra", "reordered", "all missing"],
)
def test_scoring_against_the_schema(ganlib, home, template, change, words):
    change(sensor_table(20).drop(columns=["fault"]).assign(operator="ann")).to_csv("new.csv", index=False)
    result = ganlib("score", "--model", template / "demo.onnx", "--input", "new.csv", "--output", "scores")
    if words is None:
        assert result[0] == 0, result[2]
    else:
        refused(result, 4, *words)
        assert not (home / "scores" / "_manifest.json").exists()


def test_names_options_and_labels_that_do_not_exist(ganlib, home, template):
    sensor_table(60).to_csv("data.csv", index=False)
    train = ("train", "--data", "data.csv", "--name", "pump")
    refused(ganlib(*train, "--label", "falt"), 4, "did you mean 'fault'")
    refused(ganlib(*train, "--label", "fault", "--normal", "ok"), 4, "holds no value 'ok'")
    refused(ganlib(*train, "--model", "vea"), 2, "vae")
    absent = ("--data", "absent.csv")
    said = refused(ganlib("train", "--name", "pump", *absent, "--model", "gail"), 2, "'gail' does not detect")
    assert "models --task detector" in said
    refused(ganlib("train", "--name", "pump", *absent, "--model", "cvae_gan", "--task", "detector"), 2, "--task aug")
    refused(ganlib("augment", "--data", "data.csv", "--label", "fault", "--output", "more.csv", "--model", "gail"), 2,
            "'gail' does not generate tables")  # fmt: skip
    refused(ganlib(*train, "--task", "painter"), 2, "painter")
    refused(ganlib("train", "--data", "data.csv", "--name", "a/b"), 2, "a/b")
    refused(ganlib("train", "--name", "pump"), 2, "--data")
    refused(ganlib("train", "--name", "pump", "--data", "dta.csv"), 2, "did you mean 'data.csv'")
    refused(ganlib("score", "--model", template / "demo.onnx", "--input", "dta.csv", "--output", "o"), 2, "dta.csv")
    refused(ganlib("promote", "nothing"), 2, "registered: demo")
    refused(ganlib("promote", "demo", "--version", "9"), 2, "versions: 1")
    refused(ganlib("rollback", "demo"), 2)
    refused(ganlib("export", "--model", "models:/demo@gold", "--output", "x.onnx"), 2, "'gold'", "challenger")
    refused(ganlib("score", "--input", "data.csv", "--output", "o"), 2, "--model")
    refused(ganlib("score", "--model", "absent.onnx", "--input", "data.csv", "--output", "o"), 2, "absent.onnx")
    wrong = ganlib(
        "score", "--model", template / "demo.onnx", "--input", "data.csv", "--output", "o", "--alpha", "1e-9"
    )
    refused(wrong, 2, "calibration rows")
    refused(ganlib("stream", "--model", template / "demo.onnx", "--input", "x.jsonl", "--output", "x.txt"), 2, ".jsonl")
    refused(ganlib("augment", "--data", "data.csv", "--label", "fault", "--output", "more.xls"), 2, ".tsv or .parquet")
    refused(ganlib("augment", "--data", "data.csv", "--label", "fualt", "--output", "more.csv"), 4, "did you mean")
    one = sensor_table(60).assign(fault=0)
    one.to_csv("one.csv", index=False)
    refused(
        ganlib("augment", "--data", "one.csv", "--label", "fault", "--output", "more.csv", "--gate", "off"),
        4,
        "one class",
    )
    refused(ganlib("augment", "--data", "data.csv", "--label", "fault", "--class", "9", "--output", "more.csv",
                   "--gate", "off", "--steps", 3), 2, "'9'")  # fmt: skip
    assert not list(home.glob("more*"))


def test_a_damaged_artifact_is_an_integrity_error(ganlib, home, template):
    content = bytearray((template / "demo.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    Path("hurt.onnx").write_bytes(content)
    sensor_table(5).assign(operator="ann").to_csv("new.csv", index=False)
    refused(ganlib("score", "--model", "hurt.onnx", "--input", "new.csv", "--output", "o"), 6, "hurt.onnx")


def test_a_registry_that_is_down(ganlib, home, monkeypatch):
    monkeypatch.setenv("GANLIB__REGISTRY__RETRIES", "1")
    refused(ganlib("history", "demo", "--tracking", "http://127.0.0.1:9"), 5, "127.0.0.1:9")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_temporary(ganlib, home, monkeypatch):
    import errno

    sensor_table(60).to_csv("data.csv", index=False)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    given = ("--data", "data.csv", "--label", "fault", "--gate", "off", "--steps", 3)
    refused(ganlib("augment", *given, "--output", "more.csv"), 75, "more.csv")
    assert not list(home.glob("*more*"))


LONG = "x" * 250  # with a temporary file's suffix longer than a name may be


@pytest.mark.parametrize("name", [LONG, "ro"])
def test_a_place_that_cannot_be_written_is_a_wrong_option(ganlib, home, template, monkeypatch, name):
    import errno
    import tempfile

    def read_only(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), "somewhere")

    if name == "ro":
        monkeypatch.setattr(tempfile, "TemporaryFile", read_only)
    reason = "(File name too long)" if name == LONG else "(Read-only file system)"
    model = ("--model", template / "demo.onnx")
    refused(ganlib("export", *model, "--output", f"{name}.onnx"), 2, "cannot write", reason, "another --output")
    refused(ganlib("config", "init", f"{name}.yaml"), 2, "cannot write", reason, "name another file")
    sensor_table(60).to_csv("data.csv", index=False)
    given = ("--data", "data.csv", "--label", "fault", "--gate", "off", "--steps", 3)
    refused(ganlib("augment", *given, "--output", f"{name}.csv"), 2, "cannot write", reason, "another --output")
    assert not [p for p in home.iterdir() if name in p.name or "tmp" in p.name]


def test_what_is_no_folder_is_named(ganlib, home, template):
    (home / "file").write_text("")
    (home / "folder.onnx").mkdir()
    model = ("--model", template / "demo.onnx")
    refused(ganlib("export", *model, "--output", "file/b.onnx"), 2, "there is no folder file")
    refused(ganlib("export", *model, "--output", "folder.onnx"), 2, "is a folder")
    refused(ganlib("demo", "--output", "file"), 2, "cannot write", "Not a directory", "another --output")
    refused(ganlib("history", "demo", "--tracking", f"sqlite:///{home}/file/m.db"), 2, "file/m.db", "--tracking")


def test_a_full_disk_leaves_no_temporary_file(ganlib, home, template, monkeypatch):
    import errno

    def full(path, *_, **__):
        path.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    before = sorted(home.rglob("*"))
    monkeypatch.setattr(Path, "write_bytes", full)
    refused(ganlib("export", "--model", template / "demo.onnx", "--output", "b.onnx"), 75, "b.onnx;", "free some")
    monkeypatch.setattr(Path, "write_text", full)
    refused(ganlib("config", "init", "job.yaml"), 75, "job.yaml;", "free some")
    assert sorted(home.rglob("*")) == before


AFTERWARDS = [
    ("train", "starts anew"),
    ("score", "continues after the last committed part"),
    ("stream", "continues after the last committed record"),
    ("history", "run the same command again"),
]


@pytest.mark.parametrize(("verb", "words"), AFTERWARDS)
def test_an_interrupted_verb_says_what_the_next_call_does(ganlib, home, monkeypatch, verb, words):
    import pipelines.promotion
    import pipelines.steps
    import serving.stream
    from serving.cli_support import Terminated

    given = {"train": ("--name", "x", "--data", "d.csv"), "history": ("demo",)}.get(
        verb, ("--model", "m.onnx", "--input", "d.csv", "--output", "o.db")
    )
    for error, code, how in ((KeyboardInterrupt, 130, "interrupted"), (Terminated, 143, "terminated")):

        def stop(*_, error=error, **__):
            raise error

        for module, name in ((pipelines.steps, "train_detector"), (pipelines.steps, "score"),
                             (serving.stream, "run_stream"), (pipelines.promotion, "history")):  # fmt: skip
            monkeypatch.setattr(module, name, stop)
        refused(ganlib(verb, *given), code, how, words)


LATER = (
    "    threading.Timer(1.0, lambda: os.kill(os.getpid(), signal.SIGINT)).start()\n    return fit(*args, **kwargs)\n"
)
# As where the interrupt arrives while a module is imported, and the importer reports an error of its own.
AS_ANOTHER_ERROR = (
    "    try:\n"
    "        os.kill(os.getpid(), signal.SIGINT)\n"
    "    except KeyboardInterrupt as error:\n"
    "        raise RuntimeError('half imported') from error\n"
)


@pytest.mark.parametrize("during", [LATER, AS_ANOTHER_ERROR], ids=["in a step", "as another error"])
def test_ctrl_c_ends_quietly_with_130(template, tmp_path, during):
    shutil.copy(template / "data.csv", tmp_path / "data.csv")
    code = (
        "import os, signal, sys, threading\n"
        # Whoever runs the tests in the background has set them to ignore SIGINT.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "sys.argv = ['ganlib', 'train', '--data', 'data.csv', '--name', 'x', '--steps', '200000']\n"
        "import ganlib.training.trainer as trainer\n"
        "fit = trainer.Trainer.fit\n"
        "def interrupted(*args, **kwargs):\n"
        f"{during}"
        "trainer.Trainer.fit = interrupted\n"
        "from pipelines.cli import main\n"
        "sys.exit(main())"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120
    )
    assert "starts anew" in done.stderr
    assert done.returncode == 130 and "interrupted" in done.stderr and "Traceback" not in done.stderr, done.stderr


@pytest.mark.parametrize("hook", ["", "no-such-program-here --now", "ftp://host/x", "https://me:hush@host/x"])
def test_an_alarm_hook_that_cannot_be_is_refused(ganlib, home, template, hook):
    (home / "in.jsonl").write_text("{}\n")
    given = ("--model", template / "demo.onnx", "--input", "in.jsonl", "--output", "o.db", "--on-alarm", hook)
    result = ganlib("stream", *given)
    refused(result, 2, "on_alarm" if "hush" in hook else "--on-alarm")
    assert "hush" not in result[2] and not (home / "o.db").exists()
