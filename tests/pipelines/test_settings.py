"""The configuration: strict, overridable, explainable, and silent about secrets."""

import json

import pytest
import yaml

from pipelines.errors import UsageError
from pipelines.references import reveal
from pipelines.settings import Settings, commented_yaml, load_settings, resolved, schema_json


def write(tmp_path, text):
    path = tmp_path / "job.yaml"
    path.write_text(text)
    return path


def test_the_commented_file_holds_every_default_and_reads_back_as_such(tmp_path):
    text = commented_yaml()
    assert load_settings(write(tmp_path, text)).to_json() == Settings().to_json()
    keys = {(section, key) for section, values in yaml.safe_load(text).items() for key in values}
    assert keys == {(s, k) for s, values in Settings().to_json().items() for k in values}
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if line.startswith("  ") and not line.strip().startswith("#"):
            assert lines[number - 1].startswith("  # ") and len(lines[number - 1]) > 8, line


def test_precedence_and_origins(tmp_path, monkeypatch):
    path = write(tmp_path, "training: {epochs: 3, batch_size: 32}\ndata: {normal: false}\n")
    monkeypatch.setenv("GANLIB__TRAINING__EPOCHS", "4")
    monkeypatch.setenv("GANLIB__MODEL__CANDIDATES", "[vae]")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///elsewhere.db")
    settings = load_settings(path, {"training.batch_size": "64", "data.label": None})
    assert (settings.training.epochs, settings.training.batch_size) == (4, 64)
    assert settings.data.normal == "false" and settings.model.candidates == ("vae",)
    assert settings.registry.uri() == "sqlite:///elsewhere.db"
    origins = {row.key: row.source for row in resolved(settings)}
    assert origins["training.epochs"] == "GANLIB__TRAINING__EPOCHS"
    assert origins["training.batch_size"] == "command line"
    assert origins["data.normal"] == str(path)
    assert origins["registry.tracking_uri"] == "MLFLOW_TRACKING_URI"
    assert origins["data.label"] == "default"
    monkeypatch.setenv("GANLIB__REGISTRY__TRACKING_URI", "sqlite:///ours.db")
    assert load_settings(path).registry.uri() == "sqlite:///ours.db"


def test_text_from_the_environment_stays_text(monkeypatch):
    monkeypatch.setenv("GANLIB__DATA__NORMAL", "0")
    monkeypatch.setenv("GANLIB__DATA__LABEL", "true")
    data = load_settings().data
    assert (data.normal, data.label) == ("0", "true")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("trainig: {epochs: 3}", "did you mean 'training'"),
        ("training: {epoch: 3}", "did you mean 'epochs'"),
        ("training: {epochs: many}", "training.epochs"),
        ("training: {epochs: 0}", "training.epochs"),
        ("calibration: {alpha: 1.5}", "calibration.alpha"),
        ("training: 3", "section 'training'"),
        ("- a\n- b", "no sections"),
        ("data: {split: time}", "data.split_column"),
        ("data: {validation_fraction: 0.6, test_fraction: 0.5}", "no rows to train on"),
        ("model: {options: {beta: 2}}", "model.name"),
        ("a: [", r"cannot be read: line 1, column 5: expected the node content"),
        ("a: 1\n\tb: 2", r"job\.yaml cannot be read: line 2, column 1: found character"),
        ("alhpa: 0.1", r"did you mean calibration\.alpha or"),
        ("epochs: 3", r"did you mean training\.epochs\?"),
        ("training: {alpha: 0.1}", r"did you mean calibration\.alpha or"),
    ],
)
def test_faults_are_named_with_their_file(tmp_path, text, named):
    with pytest.raises(UsageError, match=named) as caught:
        load_settings(write(tmp_path, text))
    assert "job.yaml" in str(caught.value) or "data" in str(caught.value) or "model" in str(caught.value)
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value)


def test_an_absent_or_unreadable_file_is_named(tmp_path):
    write(tmp_path, "{}")
    (tmp_path / "latin.yaml").write_bytes(b"data: {label: caf\xe9}")
    for name, words in (("jbo.yaml", "did you mean 'job.yaml'"), ("x.yaml", "config init FILE"), ("", "Is a directory"),
                        ("latin.yaml", "not UTF-8")):  # fmt: skip
        with pytest.raises(UsageError) as caught:
            load_settings(tmp_path / name)
        assert words in str(caught.value) and "Errno" not in str(caught.value), caught.value


def test_unknown_variables_and_options_are_refused(monkeypatch):
    with pytest.raises(UsageError, match="did you mean 'steps'"):
        load_settings(None, {"training.step": 3})
    monkeypatch.setenv("GANLIB__TRAINING__LR", "0.1")
    with pytest.raises(UsageError, match="GANLIB__TRAINING__LR"):
        load_settings()


def test_secrets_come_by_reference_only(tmp_path, monkeypatch):
    for text in ("registry: {password: hunter2}", "registry: {tracking_uri: 'postgresql://me:hunter2@host/db'}"):
        with pytest.raises(UsageError) as caught:
            load_settings(write(tmp_path, text))
        assert "hunter2" not in str(caught.value) and "env:NAME" in str(caught.value)


def test_a_secret_is_never_shown(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "hunter2")
    (tmp_path / "secret").write_text("hunter3\n")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:hunter4@host/db")
    settings = load_settings(
        write(tmp_path, f"registry: {{token: 'env:MY_TOKEN', password: 'file:{tmp_path}/secret'}}")
    )
    assert reveal(settings.registry.token).get_secret_value() == "hunter2"
    assert reveal(settings.registry.password).get_secret_value() == "hunter3"
    assert settings.registry.uri() == "postgresql://me:hunter4@host/db"
    shown = [repr(settings), json.dumps(settings.to_json()), str(resolved(settings)), repr(reveal("env:MY_TOKEN"))]
    assert not [text for text in shown if "hunter" in text]
    masked = {row.key: row.value for row in resolved(settings)}
    assert masked["registry.token"] == "env:MY_TOKEN -> **********"


def test_an_absent_secret_is_named(monkeypatch, tmp_path):
    with pytest.raises(UsageError, match="NOWHERE"):
        reveal("env:NOWHERE")
    with pytest.raises(UsageError, match="absent"):
        reveal(f"file:{tmp_path}/absent")


def test_the_json_schema_knows_sections_and_refuses_other_keys():
    schema = json.loads(schema_json())
    assert set(schema["properties"]) == set(Settings.model_fields)
    assert schema["additionalProperties"] is False
    assert schema["$defs"]["TrainingSettings"]["additionalProperties"] is False


def test_settings_survive_json():
    settings = load_settings(None, {"model.name": "vae", "model.options": {"beta": 2.0}, "training.steps": 7})
    again = Settings.model_validate(json.loads(json.dumps(settings.to_json())))
    assert again.to_json() == settings.to_json()
    assert again.detector_parameters()["beta"] == 2.0 and again.detector_parameters()["steps"] == 7


def test_the_alarm_hook_of_a_stream_keeps_its_password_out_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("HOOK", "https://me:hush@host/x")
    settings = load_settings(write(tmp_path, "stream: {on_alarm: 'env:HOOK'}\n"))
    assert settings.stream.alarm_hook() == "https://me:hush@host/x" and "hush" not in str(resolved(settings))
    assert load_settings(write(tmp_path, "stream: {on_alarm: notify -q}\n")).stream.alarm_hook() == "notify -q"
    assert Settings().stream.alarm_hook() is None
    with pytest.raises(UsageError, match="env:NAME") as refused:
        load_settings(write(tmp_path, "stream: {on_alarm: 'https://me:hush@host/x'}\n"))
    assert "hush" not in str(refused.value)


# ---------------------------------------------------------------- training
def limits(schema):
    """The range of the numbers in a JSON schema, its words and its types, None left out."""
    parts = [part for part in schema.get("anyOf", [schema]) if part.get("type") != "null"]
    keys = ("type", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "enum", "const")
    return [{key: part[key] for key in keys if key in part} for part in parts]


def test_training_holds_the_whole_configuration_with_its_ranges():
    from ganlib.training import TrainerConfig

    library = TrainerConfig.json_schema()["properties"]
    ours = json.loads(schema_json())["$defs"]["TrainingSettings"]["properties"]
    assert set(ours) - set(library) == {"learning_rate", "latent_dim"} and not set(library) - set(ours)
    narrower = {"random_state", "device"}
    assert {k: limits(ours[k]) for k in library if k not in narrower} == {
        k: limits(library[k]) for k in library if k not in narrower
    }
    assert all(ours[key]["description"] for key in ours)


def test_training_options_reach_the_trainer(tmp_path, monkeypatch):
    from ganlib.detect import as_detector
    from ganlib.recipe import DETECTION, Training
    from ganlib.registry import entry

    path = write(tmp_path, "training: {steps: 40, ema: 0, schedule: cosine, warm_up: 5, threads: 1}\n")
    monkeypatch.setenv("GANLIB__TRAINING__GRADIENT_CLIP", "2.5")
    settings = load_settings(path)
    origins = {row.key: row.source for row in resolved(settings)}
    assert origins["training.ema"] == str(path) and origins["training.warm_up"] == str(path)
    assert origins["training.gradient_clip"] == "GANLIB__TRAINING__GRADIENT_CLIP"
    assert origins["training.precision"] == "default"
    for parameters in (settings.detector_parameters(), settings.augmenter_parameters()):
        stated = {"ema": 0.0, "schedule": "cosine", "warm_up": 5, "threads": 1, "gradient_clip": 2.5}
        assert parameters["trainer"] == stated and parameters["steps"] == 40
    monkeypatch.delenv("GANLIB__TRAINING__GRADIENT_CLIP")
    assert "trainer" not in load_settings().detector_parameters()
    detector = as_detector("vae", **settings.detector_parameters())
    config = Training.of(detector, entry("vae"), DETECTION, 0).config(1000, True)
    assert (config.ema, config.gradient_clip, config.schedule, config.warm_up) == (0.0, 2.5, "cosine", 5)
    assert (config.steps, config.patience, config.batch_size) == (40, 12, 128)


@pytest.mark.parametrize(
    ("key", "value"),
    [("ema", "1"), ("ema", "true"), ("gradient_clip", "-1"), ("schedule", "cosin"), ("warm_up", "-1"), ("threads", "0"),
     ("threads", "true"), ("precision", "fp16"), ("validate_every", "0"), ("compile", "2"), ("min_delta", ".nan")],
)  # fmt: skip
def test_training_options_out_of_range_are_named(tmp_path, key, value):
    with pytest.raises(UsageError, match=rf"training\.{key}.*job\.yaml"):
        load_settings(write(tmp_path, f"training: {{{key}: {value}}}"))


def test_one_checkpoint_is_of_one_training(tmp_path):
    from pipelines.steps import plan_augmentation, plan_detector

    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    given = {"data.path": f"{tmp_path}/a.csv", "training.checkpoint": f"{tmp_path}/run.pt"}
    with pytest.raises(UsageError, match=r"training\.checkpoint .*--model"):
        plan_detector(None, load_settings(None, given | {"model.candidates": ["vae", "ganomaly"]}), "x")
    with pytest.raises(UsageError, match=r"training\.checkpoint .*--gate off"):
        plan_augmentation(load_settings(None, given | {"data.label": "y", "augment.output": f"{tmp_path}/b.csv"}))
