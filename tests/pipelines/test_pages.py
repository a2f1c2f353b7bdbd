"""docs/models.md and the pages of the models: current, complete, and their code runs."""

import ast
import functools
import inspect
import re
import sys
from pathlib import Path

import pytest
import torch

from ganlib.adversarial import game, rules
from ganlib.losses import adversarial, f_divergence, kernels, objective, penalties
from ganlib.nn import architecture, conditional, layers, patch
from ganlib.registry import entries
from pipelines.pages import pages, write_pages
from pipelines.pages.code import blocks_of, kind_of
from pipelines.pages.options import meaning_of, range_of
from pipelines.pages.words import words_of

DOCS = Path(__file__).resolve().parents[2] / "docs"
LIMIT = 30_000
ALL = entries()
SHARED = (
    game,
    rules,
    adversarial,
    f_divergence,
    kernels,
    objective,
    penalties,
    architecture,
    layers,
    conditional,
    patch,
)


@pytest.fixture(scope="module")
def texts():
    return pages(ALL)


def test_pages_are_current(texts):
    stale = [name for name, text in texts.items() if not (DOCS / name).is_file() or (DOCS / name).read_text() != text]
    old = {f"models/{path.name}" for path in (DOCS / "models").glob("*.md")} - texts.keys()
    assert not stale and not old, "run `ganlib models --pages docs`"


def test_links_and_pictures_exist(texts):
    for name, text in texts.items():
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
            place = ((DOCS / name).parent / target).resolve()
            assert place.exists() or place.relative_to(DOCS).as_posix() in texts, f"{name}: no {target}"


def test_pictures_are_small_and_of_models_that_exist():
    pictures = list((DOCS / "models" / "img").glob("*.png"))
    assert {path.stem for path in pictures} <= {entry.name for entry in ALL}
    assert all(1000 < path.stat().st_size <= LIMIT for path in pictures)


@pytest.mark.parametrize("entry", ALL, ids=lambda entry: entry.name)
def test_every_model_says_what_it_is_for_and_what_not(entry):
    words = words_of(entry)
    assert words.title and words.idea and len(words.use) > 40 and len(words.avoid) > 40
    assert "`" in words.avoid or "fit " in words.avoid, "name what to use instead"
    others = set(re.findall(r"`([a-z]\w+)`", words.avoid)) & {other.name for other in ALL}
    assert entry.name not in others


@pytest.mark.parametrize("entry", ALL, ids=lambda entry: entry.name)
def test_symbols_name_code_that_exists(entry):
    symbols = words_of(entry).symbols
    assert 1 <= len(symbols) <= 10 and all(symbol and code for symbol, code in symbols)
    known = names_of(entry)
    for symbol, code in symbols:
        names = named(code)
        assert names, f"{symbol}: {code!r} names no code"
        assert not (lost := [name for name in names if name.split(".")[-1] not in known]), f"{symbol}: no {lost}"


def named(code):
    """Dotted names, names with underscores or in CamelCase, single words between commas, and terms and options."""
    names = re.findall(r"(?:\w+\.)+\w+|\w*_\w+|[A-Z]\w*[a-z]\w*|(?<=`)\w+(?=`)", code)
    names += re.findall(r"\b(?:terms?|options?) (\w+)", code)
    return names + [part for part in code.split(", ") if re.fullmatch(r"\w+", part)]


def names_of(entry):
    """Names in the modules of the model's classes and configuration, in what these import, and in the games."""
    classes = (*entry.build.__mro__, *entry.config.__mro__)
    own = {cls.__module__ for cls in classes if cls.__module__.startswith("ganlib")}
    modules = own.union(*map(imports_of, own)) | {module.__name__ for module in SHARED}
    return set().union(*map(names_in, modules))


@functools.cache
def imports_of(module):
    tree = ast.walk(ast.parse(inspect.getsource(sys.modules[module])))
    return {n.module for n in tree if isinstance(n, ast.ImportFrom) and (n.module or "").startswith("ganlib.")}


@functools.cache
def names_in(module):
    """Names, attributes, arguments, texts and imports of a module's source."""
    found = set()
    for node in ast.walk(ast.parse(inspect.getsource(sys.modules[module]))):
        values = (getattr(node, key, None) for key in ("id", "attr", "name", "arg", "value"))
        found |= {value for value in values if isinstance(value, str)}
    return found


@pytest.mark.parametrize("entry", ALL, ids=lambda entry: entry.name)
def test_every_option_has_a_meaning(entry):
    lacking = [name for name in vars(entry.options()) if name[0] != "_" and not meaning_of(entry.config, name)]
    assert not lacking, f"explain {lacking} in the docstring of {entry.config.__name__}: ``name``: meaning"


def test_ranges_are_in_words():
    from typing import Literal

    from ganlib.config import Count, Rate, Share

    assert range_of(Count | None) == "≥ 1, whole or None" and range_of(tuple[Rate, ...]) == "list: > 0"
    assert range_of(Share) == "≥ 0 and < 1" and range_of(Literal["a", "b"]) == "`a`, `b`"


def test_writing_changes_only_what_differs(tmp_path):
    few = ALL[:2]
    assert write_pages(few, tmp_path) == 5 and write_pages(few, tmp_path) == 0
    (tmp_path / "models" / "gone.md").write_text("of a model that no longer exists")
    assert write_pages(few, tmp_path) == 1 and not (tmp_path / "models" / "gone.md").exists()


# ------------------------------------------------------------------------------------------------ code
QUICK = {"autoencoder", "rbm", "cvae", "dcgan", "pix2pix"}  # of their task and kind


def combination(entry, block):
    """Task and kind of data; points are tables to estimators."""
    return block.form.split(", ")[0], kind_of(entry).replace("points", "table")


def blocks():
    """One block of each task and kind of data in the fast lane, of a quick model; the others in the full lane."""
    found = [(entry, block) for entry in ALL for block in blocks_of(entry)]
    chosen = {}
    for entry, block in sorted(found, key=lambda pair: pair[0].name in QUICK):
        chosen[combination(entry, block)] = entry.name
    for entry, block in found:
        task = block.form.split(", ")[0]
        heavy = entry.name == "glow_images"  # alone in its kind of density
        slow = () if chosen[combination(entry, block)] == entry.name and not heavy else (pytest.mark.slow,)
        yield pytest.param(block, id=f"{entry.name}-{task}", marks=slow)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("block", blocks())
def test_code_runs(block, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    brief, times = re.subn(r"steps=\d+", "steps=6", block.code)
    assert times == 1
    exec(compile(brief, "page", "exec"), {})
    assert capsys.readouterr().out
