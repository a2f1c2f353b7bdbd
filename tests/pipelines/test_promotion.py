"""Gates, the alias, the ledger; and that a crash or a second promoter leaves neither half-moved."""

import json
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import yaml

from pipelines import promotion
from pipelines.errors import GateRefused, TryAgain, UsageError
from pipelines.gates import CHECKS, load_gates
from pipelines.ledger import Ledger
from pipelines.promotion import history, promote, rollback

ROOT = Path(__file__).resolve().parents[2]


def states(registry):
    return [(row["action"], row["from"], row["to"], row["state"]) for row in reversed(history(registry, "demo"))]


def test_a_promotion_moves_the_alias_and_leaves_a_row(registry):
    verdict = promote(registry, "demo")
    assert verdict.passed and {gate.name for gate in verdict.gates} >= {
        "integrity",
        "lineage",
        "privacy",
        "one row, ms",
    }
    assert registry.aliases("demo") == {"challenger": "1", "champion": "1"}
    (row,) = history(registry, "demo")
    assert (row["action"], row["from"], row["to"], row["state"]) == ("promote", "", "1", "done")
    assert row["who"] and len(row["gates"]) == len(verdict.gates)
    assert registry.version("demo", "1").tags["gate_verdict"] == "passed"
    # It is champion already: no gate is asked, no row written, whatever the gates would say of it today.
    registry.tag("demo", "1", "privacy", "no")
    for again in (promote(registry, "demo"), promote(registry, "demo", version="1", dry_run=True)):
        assert again.already and again.version == "1" and not again.gates
    assert len(history(registry, "demo")) == 1


@pytest.mark.parametrize(
    ("tags", "gate"),
    [
        ({"privacy": "found 1 rare texts in the artifact"}, "privacy"),
        ({"privacy": ""}, "privacy"),
        ({"parity_ratio": "1.2"}, "parity ratio"),
        ({"parity_ratio": "nan"}, "parity ratio"),
        ({"quality": "0.3", "quality_chance": "0.29", "baseline_pca": "0.3"}, "AUPRC over chance"),
        ({"baseline_pca": "2"}, "behind PCA"),
        ({"alpha": "0.0001"}, "alpha supported"),
        ({"data_fingerprint": ""}, "lineage"),
        ({"artifact_sha256": "0" * 64}, "integrity"),
    ],
)
def test_each_gate_refuses(registry, add_version, tags, gate):
    version = add_version(**tags)
    with pytest.raises(GateRefused) as caught:
        promote(registry, "demo")
    assert caught.value.exit_code == 3
    failed = [g.name for g in caught.value.verdict.gates if not g.passed]
    assert failed == [gate] and gate in str(caught.value)
    assert "champion" not in registry.aliases("demo")
    assert states(registry) == [("promote", "", version, "refused")]
    assert registry.version("demo", version).tags["gate_verdict"] == "refused"


def test_a_challenger_is_held_against_the_champion(registry, add_version):
    promote(registry, "demo")
    quality = float(registry.version("demo", "1").tags["quality"])
    add_version(quality=str(quality - 0.1))
    with pytest.raises(GateRefused, match="behind champion"):
        promote(registry, "demo")
    # Figures of other data say nothing; the champion's figure on the challenger's rows does.
    other = add_version(quality=str(quality - 0.1), data_fingerprint="another")
    assert promote(registry, "demo", dry_run=True).version == other
    add_version(
        quality=str(quality - 0.1), data_fingerprint="another", champion_version="1", champion_quality=str(quality)
    )
    with pytest.raises(GateRefused, match="behind champion"):
        promote(registry, "demo")


def test_latency_and_calibration_are_measured_here(registry, tmp_path):
    gates = tmp_path / "gates.yaml"
    detector = {"one_row_ms_at_most": 0.0, "thousand_rows_ms_at_most": 0, "calibration_rows_at_least": 10_000}
    gates.write_text(yaml.safe_dump({"version": 1, "detector": detector}))
    with pytest.raises(GateRefused) as caught:
        promote(registry, "demo", gates=gates)
    assert [g.passed for g in caught.value.verdict.gates] == [False] * 3
    assert all(float(g.found) > 0 for g in caught.value.verdict.gates)


def test_a_dry_run_writes_nothing(registry, add_version):
    add_version(privacy="no")
    before = registry.aliases("demo"), dict(registry.version("demo", "2").tags)
    with pytest.raises(GateRefused):
        promote(registry, "demo", dry_run=True)
    assert promote(registry, "demo", version="1", dry_run=True).passed
    assert (registry.aliases("demo"), dict(registry.version("demo", "2").tags)) == before
    assert history(registry, "demo") == []


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("version: 1\ndetector: {qualty: 1}", "no gate 'qualty'"),
        ("version: 1\ndetectors: {}", "unknown keys"),
        ("version: 2", "version 1"),
        ("version: 1\ndetector: {parity_ratio_at_most: high}", "needs a number"),
        ("version: 1\ndetector: [a]", "must hold gates"),
        ("x: [", "cannot be read"),
    ],
)
def test_faults_of_a_gates_file_are_named(tmp_path, text, named):
    path = tmp_path / "gates.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=named):
        load_gates(path)


def test_the_shipped_policy_asks_every_gate():
    gates = load_gates()
    assert {task: set(asked) - {"integrity"} for task, asked in gates.items()} == {t: set(c) for t, c in CHECKS.items()}


def test_unknown_models_and_versions(registry):
    with pytest.raises(UsageError, match="registered: demo"):
        promote(registry, "demmo")
    with pytest.raises(UsageError, match="versions: 1"):
        promote(registry, "demo", version="9")
    with pytest.raises(UsageError, match="no promotion to roll back"):
        rollback(registry, "demo")


def test_rollback_reads_the_ledger_backwards(registry, add_version):
    promote(registry, "demo")
    for _ in range(2):
        add_version()
        promote(registry, "demo")
    assert registry.aliases("demo")["previous"] == "2"
    assert rollback(registry, "demo", dry_run=True) == ("3", "2") and registry.aliases("demo")["champion"] == "3"
    assert rollback(registry, "demo") == ("3", "2")
    assert registry.aliases("demo") == {"challenger": "3", "champion": "2", "previous": "1"}
    assert rollback(registry, "demo") == ("2", "1")
    assert "previous" not in registry.aliases("demo")
    with pytest.raises(UsageError, match="first champion"):
        rollback(registry, "demo")
    promote(registry, "demo", version="3")
    assert rollback(registry, "demo") == ("3", "1")
    assert [state for *_, state in states(registry)] == ["done"] * 7
    assert [row["number"] for row in history(registry, "demo")] == list(range(7, 0, -1))


def test_an_alias_moved_by_hand_is_noticed(registry, add_version):
    promote(registry, "demo")
    registry.set_alias("demo", "champion", add_version())
    with pytest.raises(UsageError, match="moved by hand"):
        rollback(registry, "demo")
    add_version()
    promote(registry, "demo")
    assert rollback(registry, "demo") == ("3", "2")


CRASH = (
    "from pipelines.registry import Registry; from pipelines.promotion import promote; "
    "promote(Registry({uri!r}), 'demo')"
)


@pytest.mark.parametrize(
    ("point", "champion", "left", "after"),
    [
        ("ledger_opened", "1", "open", "undone"),
        ("alias_moved", "2", "open", "done"),
        ("ledger_closed", "2", "done", "done"),
    ],
)
def test_a_promotion_killed_at_any_step_is_finished_or_undone(
    registry, add_version, run_python, tmp_path, point, champion, left, after
):
    promote(registry, "demo")
    add_version()
    done = run_python(CRASH.format(uri=registry.uri), tmp_path, GANLIB_CRASH_AT=point)
    assert done.returncode == -signal.SIGKILL, done.stderr[-500:]
    assert registry.aliases("demo")["champion"] == champion
    assert states(registry)[-1] == ("promote", "1", "2", left)
    # The next call of any kind settles it; here the same promotion again.
    assert promote(registry, "demo").version == "2"
    assert states(registry)[1] == ("promote", "1", "2", after)
    assert registry.aliases("demo") == {"challenger": "2", "champion": "2", "previous": "1"}
    assert "open" not in [state for *_, state in states(registry)]
    assert rollback(registry, "demo") == ("2", "1")


def test_a_rollback_killed_half_way_is_finished(registry, add_version, run_python, tmp_path):
    promote(registry, "demo")
    add_version()
    promote(registry, "demo")
    code = CRASH.replace("promote(", "rollback(").replace("import promote", "import rollback")
    done = run_python(code.format(uri=registry.uri), tmp_path, GANLIB_CRASH_AT="alias_moved")
    assert done.returncode == -signal.SIGKILL, done.stderr[-500:]
    with pytest.raises(UsageError, match="first champion"):
        rollback(registry, "demo")
    assert states(registry)[-1] == ("rollback", "2", "1", "done")
    assert "previous" not in registry.aliases("demo")


def test_of_two_promoters_the_second_sees_the_changed_alias(registry, add_version, monkeypatch):
    promote(registry, "demo")
    slow, quick = add_version(), add_version()
    judge = promotion.judge

    def overtaken(*arguments):
        verdict = judge(*arguments)
        monkeypatch.setattr(promotion, "judge", judge)
        promote(registry, "demo", version=quick)
        return verdict

    monkeypatch.setattr(promotion, "judge", overtaken)
    with pytest.raises(TryAgain, match="was version 1 when the gates began and is version 3 now") as caught:
        promote(registry, "demo", version=slow)
    assert caught.value.exit_code == 75
    assert registry.aliases("demo")["champion"] == quick


def test_two_processes_promote_at_once(registry, add_version, tmp_path):
    versions = [add_version(), add_version()]
    code = (
        "import sys\nfrom pipelines.registry import Registry\nfrom pipelines.promotion import promote\n"
        "from pipelines.errors import TryAgain\n"
        f"try: promote(Registry({registry.uri!r}), 'demo', version=sys.argv[1])\n"
        "except TryAgain: sys.exit(75)"
    )
    both = [subprocess.Popen([sys.executable, "-c", code, v], cwd=ROOT, stderr=subprocess.PIPE) for v in versions]
    errors = [process.communicate(timeout=120)[1].decode()[-400:] for process in both]
    codes = [process.returncode for process in both]
    # Whoever begins after the other has ended sees its champion, and may replace it.
    assert set(codes) <= {0, 75} and 0 in codes, errors
    done = [row for row in states(registry) if row[3] == "done"]
    assert len(done) == codes.count(0) and registry.aliases("demo")["champion"] == done[-1][2]
    assert [row[1] for row in done] == ["", *[row[2] for row in done[:-1]]]


def test_a_mover_on_another_machine_is_waited_for_until_it_counts_as_dead(registry):
    ledger = Ledger(registry, "demo")
    row = ledger._open("promote", None, "1", None, [])
    registry.client().set_tag(row, "host", "another-machine")
    with pytest.raises(TryAgain, match="another-machine"):
        promote(registry, "demo")
    assert "champion" not in registry.aliases("demo")
    registry.client().update_run(row, name="aged")
    aged = time.time() - 60 * (ledger.policy["stale_minutes"] + 1)
    import sqlite3

    with sqlite3.connect(registry.uri.removeprefix("sqlite:///")) as database:
        database.execute("update runs set start_time = ? where run_uuid = ?", (int(aged * 1000), row))
    assert promote(registry, "demo").passed
    assert [state for *_, state in states(registry)] == ["undone", "done"]


def test_promotion_works_from_an_installed_wheel_in_a_foreign_folder(registry, run_python, tmp_path):
    """What the wheel holds, unpacked; the checkout is not on the path."""
    build = tmp_path / "source"
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    for name in files.stdout.splitlines():
        if name.startswith(("ganlib/", "serving/", "pipelines/", "mlflow/")) or "/" not in name:
            target = build / name
            if (ROOT / name).is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes((ROOT / name).read_bytes())
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "-q",
        "-w",
        str(tmp_path),
        ".",
    ]
    done = subprocess.run(command, cwd=build, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-800:]
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    assert not (site / "mlflow").exists()
    code = (
        "import json, pipelines, mlflow.tracking\nfrom pipelines.registry import Registry\n"
        "from pipelines.promotion import promote, policy_file\n"
        f"verdict = promote(Registry({registry.uri!r}), 'demo')\n"
        "print(json.dumps([pipelines.__file__, str(policy_file('gates.yaml')), verdict.passed]))"
    )
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    done = run_python(code, foreign, PYTHONPATH=str(site))
    assert done.returncode == 0, done.stderr[-800:]
    package, policy, passed = json.loads(done.stdout.splitlines()[-1])
    assert package.startswith(str(site)) and policy == str(site / "pipelines/policy/gates.yaml") and passed
