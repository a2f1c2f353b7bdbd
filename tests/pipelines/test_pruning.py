"""Versions that no alias names and no rollback goes back to are removed; all others stay, whatever was moved."""

import json
import time

import pytest
from pipeline_data import refused

from pipelines.ledger import Ledger
from pipelines.promotion import promote, rollback
from pipelines.pruning import prune_versions
from serving.crash import crash_point
from serving.pruning import Pruning


def versions(registry):
    return sorted(int(v.version) for v in registry.client().search_model_versions("name = 'demo'"))


def pruned(registry, **options):
    return list(prune_versions(registry, Pruning(time.time() + 60, **options)))


def rolled_back_to_the_start(registry):
    """Every rollback that the ledger promises; the versions that were champion on the way."""
    way = []
    while len(Ledger(registry, "demo").line()) > 1:
        way.append(rollback(registry, "demo")[1])
    return way


def test_what_an_alias_or_a_rollback_needs_stays(registry, add_version):
    promote(registry, "demo")
    for _ in range(4):
        add_version()
    promote(registry, "demo", "3")
    promote(registry, "demo", "5")
    line = Ledger(registry, "demo").line()
    add_version()
    said = pruned(registry, dry_run=True)
    assert versions(registry) == [1, 2, 3, 4, 5, 6]
    (done,) = pruned(registry)
    assert versions(registry) == [1, 3, 5, 6] and line == ["1", "3", "5"]
    assert done.count == said[0].count == 2 and done.notes == ["version 2, 4"]
    assert pruned(registry)[0].count == 0
    assert rolled_back_to_the_start(registry) == ["3", "1"]
    assert registry.resolve("models:/demo@champion", fresh=True).version == "1"


def test_young_versions_stay(registry, add_version):
    add_version(), add_version()
    assert list(prune_versions(registry, Pruning(time.time() - 7200)))[0].count == 0 and versions(registry) == [1, 2, 3]


def test_the_run_of_a_version_stays_while_another_has_it(registry, template):
    run = registry.version("demo", "1").run_id
    client = registry.client()
    source = client.get_model_version("demo", "1").source
    client.create_model_version("demo", source, run_id=run)
    client.create_model_version("demo", source, run_id=run)
    assert pruned(registry)[0].count == 2 and versions(registry) == [1]
    assert client.get_run(run).info.lifecycle_stage == "active"
    registry.set_alias("demo", "challenger", None)
    size = (template / "demo.onnx").stat().st_size
    (said,), (done,) = pruned(registry, dry_run=True), pruned(registry)
    assert done.bytes == said.bytes >= size > 0
    assert versions(registry) == [] and client.get_run(run).info.lifecycle_stage == "deleted"


@pytest.mark.parametrize("point", ["ledger_opened", "alias_moved"])
def test_a_promotion_that_was_killed_is_settled_first(registry, add_version, monkeypatch, point):
    promote(registry, "demo")
    for _ in range(3):
        add_version()

    class Killed(BaseException):
        pass

    def crash(name):
        if name == point:
            raise Killed
        crash_point(name)

    monkeypatch.setattr("pipelines.ledger.crash_point", crash)
    with pytest.raises(Killed):
        promote(registry, "demo", "2")
    monkeypatch.undo()
    pruned(registry)
    kept = [1, 2, 4] if point == "alias_moved" else [1, 4]
    assert versions(registry) == kept and registry.aliases("demo")["champion"] == ("2" if len(kept) == 3 else "1")
    assert rolled_back_to_the_start(registry) == (["1"] if len(kept) == 3 else [])


def test_the_verb_says_what_went(ganlib, home, registry, add_version):
    add_version(), add_version()
    time.sleep(1.1)
    refused(ganlib("prune", "--older-than", "1s"), 2, "name a PATH, or give --registry")
    code, out, err = ganlib("prune", "--registry", "--older-than", "1s", "--dry-run")
    assert code == 0 and "models:/demo: 2 versions would be removed" in out, err
    code, out, err = ganlib("prune", "--registry", "--older-than", "1s", "--json")
    assert code == 0 and json.loads(out)[0]["count"] == 2 and versions(registry) == [3], err
