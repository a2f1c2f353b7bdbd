"""Verify finds every change of a finished folder and names the file; what its message says puts the folder right."""

import hashlib
import json
import os
import re
import shutil

import pandas as pd
import pytest
from serving_data import table

from serving.batch import open_scores, score_batch
from serving.errors import DataError, IntegrityError, UsageError
from serving.files import read_checked, write_checked
from serving.verify import verify

RUNS = {"plain": {}, "fdr": {"fdr": 0.4}}


@pytest.fixture(scope="module")
def finished(artifact, tmp_path_factory):
    """(input, finished folders by kind): three units, one with a dead letter, two of the same length."""
    place = tmp_path_factory.mktemp("finished")
    source = place / "input"
    source.mkdir()
    frame = table(40, 1)
    frame["flag"] = frame["flag"].map(str)
    frame.loc[7, "flag"] = "perhaps"
    frame.to_csv(source / "a.csv", index=False)
    for number, name in enumerate("bc"):
        table(30, number).to_parquet(source / f"{name}.parquet")
    for kind, options in RUNS.items():
        score_batch(artifact, source, place / kind, **options)
        verify(place / kind)
    return source, place


@pytest.fixture
def copied(finished, tmp_path):
    """Copies a finished folder anew."""

    def copy(kind):
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        return shutil.copytree(finished[1] / kind, tmp_path / "out")

    return copy


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def refused(folder):
    """The message of ``verify``."""
    with pytest.raises(IntegrityError) as caught:
        verify(folder)
    assert caught.value.exit_code == 6
    return str(caught.value)


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def turn_into_a_folder(path):
    path.unlink()
    path.mkdir()


FILE = {
    "deleted": lambda path: path.unlink(),
    "emptied": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "a bit flipped": flip,
    "renamed": lambda path: path.rename(path.with_name(f"x{path.name}")),
    "renamed to the next number": lambda path: path.rename(
        path.with_name(re.sub(r"\d{6}", "000009", path.name, count=1))
    ),
    "duplicated": lambda path: shutil.copy(path, path.with_name(f"{path.stem} (copy){path.suffix}")),
    "a folder": turn_into_a_folder,
}


def renames(path, change):
    return change != "renamed to the next number" or path.name.startswith("part-")


@pytest.mark.parametrize("kind", RUNS)
@pytest.mark.parametrize("change", FILE)
def test_every_change_of_every_file_is_found_and_named(copied, kind, change):
    names = [path.relative_to(folder) for folder in [copied(kind)] for path in files(folder) if renames(path, change)]
    for name in names:
        folder = copied(kind)
        FILE[change](folder / name)
        if name.name == "_plan.json" and change in ("deleted", "renamed"):
            with pytest.raises(UsageError, match=r"holds no _plan.json"):
                verify(folder)
        else:
            assert name.stem in refused(folder), name


@pytest.mark.parametrize("kind", RUNS)
def test_files_that_changed_places_are_found(copied, kind):
    for pattern in ("part-*.parquet", "_commits/*.json", "_selected/*.json"):
        folder = copied(kind)
        first, second = [*sorted(folder.glob(pattern))[-2:], None][:2] if list(folder.glob(pattern)) else (None, None)
        if first is None:
            assert (kind, pattern) == ("plain", "_selected/*.json")
            continue
        first.rename(folder / "aside")
        second.rename(first)
        (folder / "aside").rename(second)
        said = refused(folder)
        assert first.stem in said or second.stem in said


@pytest.mark.parametrize(
    "name", ["notes.txt", "more.parquet", "part-000007-x.parquet", "_other.json", ".tmp-part-1", "_commits/_x.json",
             "_commits/notes", "_dead/_dead-x.jsonl", "_scored/part-000000-x.parquet", "folder/file", "plan.json"],
)  # fmt: skip
def test_what_does_not_belong_there_is_found(copied, name):
    folder = copied("plain")
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("{}")
    assert name.split("/")[0] in refused(folder)


@pytest.mark.parametrize("name", ["lost+found", ".gitignore", ".DS_Store", "_lease.json"])
def test_what_any_folder_may_hold_is_passed_over(copied, name):
    folder = copied("plain")
    (folder / name).write_text("{}")
    assert verify(folder)["rows"] == 99


def leaves(value, path=()):
    """The places in a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from leaves(inner, (*path, key))


def other(value):
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return f"{value}x"
    return type(value)()


def edit(path, place, how):
    value = inner = json.loads(path.read_text())
    for key in place[:-1]:
        inner = inner[key]
    if how == "removed":
        del inner[place[-1]]
    elif inner[place[-1]] == other(inner[place[-1]]):
        return False
    else:
        inner[place[-1]] = other(inner[place[-1]])
    path.write_text(json.dumps(value))
    return True


@pytest.mark.parametrize("kind", RUNS)
@pytest.mark.parametrize("how", ["changed", "removed"])
def test_every_value_of_every_json_file_counts(copied, kind, how):
    folder = copied(kind)
    edited = 0
    for path in [path for path in files(folder) if path.suffix == ".json"]:
        content = path.read_text()
        for place in list(leaves(json.loads(content)))[1:]:
            if edit(path, place, how):
                assert re.search(r"_plan|_manifest|_threshold|[0-9a-f]{20}", refused(folder)), (path, place)
                edited += 1
            path.write_text(content)
    verify(folder)
    assert edited > 150


@pytest.mark.parametrize("kind", RUNS)
def test_edits_of_commit_and_manifest_together_are_found(copied, kind):
    folder = copied(kind)
    manifest = folder / "_manifest.json"
    place = "_selected" if kind == "fdr" else "_commits"
    for number, entry in enumerate(json.loads(manifest.read_text())["parts"]):
        note = folder / place / f"_{entry['unit']}.json"
        kept = note.read_text(), manifest.read_text()
        for key in list(leaves(entry))[1:]:
            if edit(note, key, "changed") and edit(manifest, ("parts", number, *key), "changed"):
                refused(folder)
            note.write_text(kept[0])
            manifest.write_text(kept[1])
    verify(folder)


def test_a_part_that_was_replaced_with_its_hash_in_commit_and_manifest_is_found(copied):
    """Also where someone removes the checksums, and the layout that asks for them."""
    folder = copied("plain")
    part = sorted(folder.glob("part-*"))[-1]
    frame = pd.read_parquet(part)
    frame["is_anomaly"] = ~frame["is_anomaly"]
    frame.to_parquet(part, index=False)
    new = {"sha256": hashlib.sha256(part.read_bytes()).hexdigest(), "bytes": part.stat().st_size}
    for path in files(folder):
        if path.suffix == ".json":
            value = json.loads(path.read_text())
            value.pop("checksum")
            for entry in [value, *value.get("parts", [])]:
                entry |= {"version": 2} | (new if entry.get("part") == part.name else {})
            path.write_text(json.dumps(value))
    assert "anomalies, its commit says" in refused(folder)


def follow(message):
    """Do what a message of ``verify`` asks for before the next run; returns the options of that run."""
    for path in re.findall(r"/[^\s;]+", message) if "delete" in message else ():
        shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)
    return {"new_run": True} if "--new-run" in message else {}


@pytest.mark.parametrize("kind", RUNS)
@pytest.mark.parametrize("change", ["deleted", "emptied", "a bit flipped", "renamed"])
def test_what_the_message_says_puts_the_folder_right(artifact, finished, copied, kind, change, capsys):
    """At most three messages, and the scores are those of before; a run never says that it is complete before that."""
    source, place = finished
    before = open_scores(place / kind).drop_columns(["scored_at"])
    first = {}
    for path in files(place / kind):
        first.setdefault((path.parent.name, path.name[:5] if path.name[0] == "p" else path.suffix), path)
    for path in first.values():
        folder = copied(kind)
        FILE[change](folder / path.relative_to(place / kind))
        for _ in range(4):
            try:
                verify(folder)
                break
            except IntegrityError as error:
                options, stray = follow(str(error)), "no part of this run" in str(error)
            except UsageError:  # without its plan, nothing says whose the folder is
                options, stray = {"new_run": True}, False
            score_batch(artifact, source, folder, **RUNS[kind], **options)
            assert ("already complete" in capsys.readouterr().err) == stray, path
        assert verify(folder)["rows"] == 99, path
        assert open_scores(folder).drop_columns(["scored_at"]).equals(before)


@pytest.mark.parametrize("kind", RUNS)
@pytest.mark.parametrize(
    "lost", ["part-*.parquet", "_commits/*.json", "_dead/*", "_selected/*.json", "_threshold.json"]
)
def test_a_run_with_lost_files_is_not_complete(artifact, finished, copied, kind, lost, capsys):
    folder = copied(kind)
    for path in folder.glob(lost):
        path.unlink()
        again = score_batch(artifact, finished[0], folder, **RUNS[kind])
        said = capsys.readouterr().err
        assert "already complete" not in said and verify(folder)["rows"] == 99
        assert again.units >= 1 or lost in ("_selected/*.json", "_threshold.json")
        if lost != "_threshold.json" and again.units < 3:
            assert f"gone or changed, and written anew: '{path.name}'" in said or path.suffix == ".json"
    score_batch(artifact, finished[0], folder, **RUNS[kind])
    assert "already complete" in capsys.readouterr().err


@pytest.mark.parametrize("pattern", ["part-*.parquet", "_commits/*.json", "_dead/*"])
def test_a_folder_in_the_place_of_a_file_is_refused_by_name(artifact, finished, copied, pattern):
    folder = copied("plain")
    path = next(folder.glob(pattern))
    turn_into_a_folder(path)
    with pytest.raises(UsageError, match=f"{path.name} is a folder"):
        score_batch(artifact, finished[0], folder)
    path.rmdir()
    assert score_batch(artifact, finished[0], folder).units == 1 and verify(folder)["rows"] == 99


def test_a_finished_folder_stays_as_it_is(artifact, finished, copied):
    for kind, options in RUNS.items():
        folder = copied(kind)
        before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files(folder)}
        score_batch(artifact, finished[0], folder, **options)
        assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files(folder)} == before


def test_another_name_of_the_model_is_asked_about(artifact, finished, copied):
    """Each row bears name and version, so that one folder has one of them."""
    folder = copied("plain")
    with pytest.raises(DataError, match=r"under another name or version \(small, not pump 3\).*--new-run"):
        score_batch(artifact, finished[0], folder, model_name="pump", model_version="3")
    score_batch(artifact, finished[0], folder, model_name="pump", model_version="3", new_run=True)
    assert verify(folder)["rows"] == 99


def test_a_folder_of_a_later_release_is_left_alone(artifact, finished, copied):
    folder = copied("plain")
    write_checked(folder / "_plan.json", read_checked(folder / "_plan.json", ValueError) | {"version": 9})
    assert "layout version 9" in refused(folder)
    with pytest.raises(UsageError, match=r"layout version 9.*update ganlib"):
        score_batch(artifact, finished[0], folder, new_run=True)
