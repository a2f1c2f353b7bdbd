"""stdout carries results alone: with ``--json`` every verb prints one JSON value, whatever kind of registry it uses."""

import json
import shutil

import pytest
import typer
from pipeline_data import sensor_table

from ganlib import as_translator, seal
from pipelines.cli import app

# One call of each verb that takes --json, in an order in which each finds what it needs.
CALLS = {
    "models": (),
    "data describe": ("data.csv", "--label", "fault"),
    "config show": (),
    "doctor": (),
    "train": ("--name", "other", "--data", "data.csv", "--label", "fault", "--model", "vae", "--steps", 5,
              "--alpha", 0.2),
    "augment": ("--data", "data.csv", "--label", "valve", "--gate", "off", "--steps", 3, "--output", "more.csv"),
    "audit": ("--real", "data.csv", "--synthetic", "more.csv", "--holdout", "other.csv", "--label", "valve"),
    "register": ("demo.onnx", "--name", "file"),
    "list": (),
    "show": ("demo",),
    "promote": ("demo",),
    "history": ("demo",),
    "export": ("--model", "models:/demo@champion", "--output", "out.onnx"),
    "translate": ("--model", "turned.onnx", "--data", "new.csv", "--output", "turned.csv"),
    "score": ("--model", "models:/demo@champion", "--input", "new.csv", "--output", "scores"),
    "explain": ("--model", "models:/demo@champion", "--input", "new.csv", "--row", 3),
    "verify": ("scores",),
    "stream": ("--model", "models:/demo@champion", "--input", "new.jsonl", "--output", "s.db"),
    "status": ("s.db",),
    "dlq list": ("s.db",),
    "dlq show": ("s.db",),
    "dlq replay": ("s.db", "--model", "models:/demo@champion"),
    "dlq drop": ("s.db", "--yes"),
    "prune": ("scores", "--older-than", "30d"),
    "rollback": ("demo",),
}  # fmt: skip


def json_verbs(group, before=()):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from json_verbs(command, (*before, name))
        elif any("--json" in parameter.opts for parameter in command.params):
            yield " ".join((*before, name))


def test_every_verb_with_json_is_called():
    assert set(CALLS) == set(json_verbs(typer.main.get_command(app)))


@pytest.mark.parametrize("kind", ["database", "server"])
def test_stdout_is_one_json_value(ganlib, home, template, kind, request, monkeypatch):
    shutil.copy(template / "demo.onnx", "demo.onnx")
    sensor_table(120).to_csv("data.csv", index=False)
    sensor_table(60, seed=1).to_csv("other.csv", index=False)
    rows = sensor_table(20).drop(columns=["fault"]).assign(operator="ann")
    rows.to_csv("new.csv", index=False)
    plain = rows.drop(columns=["operator"])
    seal(as_translator("discogan", steps=2).fit(plain, plain), "turned.onnx")
    (home / "new.jsonl").write_text(rows.to_json(orient="records", lines=True, date_format="iso"))
    if kind == "server":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", request.getfixturevalue("server"))
    # They speak to no registry, or as register does.
    local = {"models", "data describe", "config show", "augment", "audit", "train", "translate"}
    for verb, arguments in CALLS.items():
        if kind == "server" and verb in local:
            continue
        code, out, err = ganlib(*verb.split(), *arguments, "--json")
        if verb == "rollback":  # the first champion: a refusal prints nothing at all
            assert (code, out) == (2, ""), (verb, out, err)
            continue
        assert code == 0, (verb, out, err)
        json.loads(out)
        assert out.count("\n") == 1, (verb, out)
