"""The registry: every model by its explicit name, with all that tests, docs, exports and the command need to know."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ganlib import abilities
from ganlib.config import Config
from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError

if TYPE_CHECKING:
    from ganlib.testing.toy import Toy
    from ganlib.training.algorithm import Algorithm

TASKS = (*abilities.TASKS, "sequence")
MODALITIES = ("table", "image", "series", "tokens", "trajectory", "points")
_KINDS = {"table": "vector", "points": "vector", "trajectory": "vector"}  # other modalities are kinds of fields
# What the conformance suite checks, by name; ``known_gaps`` names what a model does not pass yet.
LAWS = (
    "config", "abilities", "gradients", "updates", "players", "bfloat16", "pickle", "drawing", "seed", "other_seed",
    "save", "resume", "scoring", "locating", "sampling", "translating", "export", "inverse", "log_determinant",
    "log_prob", "density", "level",
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One registered model."""

    name: str
    build: Callable[..., Algorithm]
    config: type[Config]
    tasks: tuple[str, ...]
    modalities: tuple[str, ...]
    paper: str
    exports: tuple[str, ...]
    abilities: tuple[type, ...]
    family: str
    known_gaps: Mapping[str, str] = field(default_factory=dict)
    trainer: Mapping[str, Any] = field(default_factory=dict)
    own_toy: Toy | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""

    @property
    def toy(self) -> Toy:
        """The small problem that the conformance suite trains the model on; raises ConfigError if there is none."""
        # Imported by name, as models are: the library does not depend on what tests it.
        return self.own_toy or importlib.import_module("ganlib.testing.toys").toy_of(self.name, self.family)

    @property
    def takes(self) -> tuple[str, ...]:
        """Conditions of the model's sampler: classes, attributes."""
        return getattr(self.build, "takes", ())

    @property
    def counts_rows(self) -> bool:
        """Whether the model counts rows as evidence, so that no row may be repeated in training."""
        return getattr(self.build, "counts_rows", False)

    @property
    def by_example(self) -> bool:
        """Whether the model generates by varying given examples."""
        return getattr(self.build, "by_example", False)

    def options(self, given: Mapping[str, Any] | None = None) -> Config:
        """The model's configuration: its defaults, changed by the ``given`` options; raises ConfigError on others."""
        return self.config.from_dict({**self.defaults, **(given or {})})

    def reads(self, spec: DataSpec) -> bool:
        """Whether the model is for data of this kind."""
        return spec.kind in {_KINDS.get(modality, modality) for modality in self.modalities}

    def create(self, spec: DataSpec, **config: Any) -> Algorithm:
        """An untrained algorithm for this data; raises ConfigError on an unknown option, and on data it cannot use."""
        if not isinstance(spec, DataSpec):
            raise ConfigError(f"a model is built for a DataSpec, such as DataSpec.image(1, 28, 28); got {spec!r}")
        if not self.reads(spec):
            raise ConfigError(
                f"model {self.name!r} reads {', '.join(self.modalities)}, not {spec.kind} data {spec.shape}"
            )
        if spec.attributes and "attributes" not in self.takes:
            able = ", ".join(e.name for e in entries("augmenter") if "attributes" in e.takes)
            raise ConfigError(f"model {self.name!r} cannot be conditioned on attributes; these can: {able}")
        if "c" in spec.fields and not spec.attributes and "attributes" in self.takes:
            raise ConfigError(f"model {self.name!r} takes attributes c, a Vector; this spec has {spec.fields['c']!r}")
        model = self.build(spec, self.options(config))
        model.registered = self.name
        return model


_ENTRIES: dict[str, Entry] = {}
# Methods that people ask for by name and that the library holds as functions only.
_LIBRARY_ONLY = {
    "anogan": "each of its scores is a search of hundreds of gradient steps: train a GAN and call "
    "ganlib.detect.search_scores(model, x) in Python, or take ganomaly, whose encoder replaces the search",
}


def register(
    name: str,
    *,
    config: type[Config],
    modalities: tuple[str, ...],
    paper: str,
    tasks: tuple[str, ...] | None = None,
    exports: tuple[str, ...] | None = None,
    known_gaps: Mapping[str, str] | None = None,
    trainer: Mapping[str, Any] | None = None,
    toy: Toy | None = None,
    defaults: Mapping[str, Any] | None = None,
    text: str | None = None,
) -> Callable[[type], type]:
    """Class decorator that adds an Algorithm to the registry; its constructor takes ``(spec, config)``.

    ``paper`` is "Authors, title, arXiv id or venue, year". ``tasks`` and ``exports``
    follow from the class's methods (``ganlib.abilities``); name them to claim fewer, or the task "sequence".
    ``known_gaps`` maps laws (``LAWS``) that the model does not pass yet to the reason. ``trainer`` holds the
    options of TrainerConfig with which estimators train the model where the caller says nothing (``ganlib.recipe``);
    ``defaults`` the options that differ from the configuration's (``sagan`` is a GAN with attention and the hinge
    objective). ``toy`` is the problem on which ``ganlib.testing``
    checks the model; those of the library's models are in ``ganlib.testing.toys``. ``text`` is the docstring from which
    the model's page is written (docs/extending.md), by default that of the class's module. Registering a class again,
    as a re-imported module does, replaces its entry. Raises ValueError if another class has the name, and on an unknown
    task, modality, law or training option: these are programming errors.
    """

    def add(build: type) -> type:
        if name in _ENTRIES and _source(_ENTRIES[name].build) != _source(build):
            raise ValueError(
                f"two models are registered as {name!r}: {_source(_ENTRIES[name].build)} and {_source(build)}; "
                "rename one of them"
            )
        able = abilities.abilities_of(build, config.from_dict(dict(defaults or {})))
        _check_words(name, tasks or (), TASKS, "tasks")
        _check_words(name, exports or (), tuple(abilities.EXPORTS), "exports")
        _check_words(name, modalities, MODALITIES, "modalities")
        _check_words(name, known_gaps or (), LAWS, "laws in known_gaps")
        _check_trainer(name, trainer or {})
        package = build.__module__.removeprefix("ganlib.models.")
        family = package.split(".")[0] if package != build.__module__ else "custom"
        _ENTRIES[name] = Entry(
            name,
            build,
            config,
            _claimed(name, tasks, abilities.TASKS, able),
            modalities,
            paper,
            _claimed(name, exports, abilities.EXPORTS, able),
            able,
            family,
            dict(known_gaps or {}),
            dict(trainer or {}),
            toy,
            dict(defaults or {}),
            text or "",
        )
        return build

    return add


def _claimed(
    name: str, given: tuple[str, ...] | None, known: Mapping[str, type], able: tuple[type, ...]
) -> tuple[str, ...]:
    """What follows from the abilities, or the part of it that is claimed; raises ValueError on more."""
    if given is None:
        return tuple(word for word, ability in known.items() if ability in able)
    if false := [word for word in given if word in known and known[word] not in able]:
        lacking = ", ".join(f"{word} (ganlib.abilities.{known[word].__name__})" for word in false)
        raise ValueError(f"model {name!r} claims what its class has no method for: {lacking}")
    return given


def _source(build: Any) -> str:
    return f"{build.__module__}.{build.__qualname__}"


def _check_words(name: str, given: Iterable[str], known: tuple[str, ...], what: str) -> None:
    if bad := [word for word in given if word not in known]:
        raise ValueError(f"model {name!r} names unknown {what}: {', '.join(bad)}; choose {', '.join(known)}")


def _check_trainer(name: str, trainer: Mapping[str, Any]) -> None:
    from ganlib.training.config import TrainerConfig

    try:
        TrainerConfig.from_dict(dict(trainer))
    except ConfigError as error:
        raise ValueError(f"the training defaults of model {name!r}: {error}") from error


@functools.cache
def _load_all() -> None:
    """Import every module under ganlib.models; an import error is never swallowed."""
    package = importlib.import_module("ganlib.models")
    for module in pkgutil.walk_packages(package.__path__, "ganlib.models."):
        importlib.import_module(module.name)


def entries(task: str | None = None, modality: str | None = None) -> list[Entry]:
    """All entries, sorted by family and name, optionally of one task and one modality; raises ConfigError on others."""
    _load_all()
    for value, known, what in ((task, TASKS, "task"), (modality, MODALITIES, "kind of data")):
        if value is not None and value not in known:
            raise ConfigError(f"there is no {what} {value!r}; choose {', '.join(known)}")
    chosen = [
        e
        for e in _ENTRIES.values()
        if (task is None or task in e.tasks) and (modality is None or modality in e.modalities)
    ]
    return sorted(chosen, key=lambda e: (e.family, e.name))


def entry(name: str) -> Entry:
    """The entry of this name; raises ConfigError naming the closest ones."""
    import difflib

    _load_all()
    if name not in _ENTRIES:
        plain = str(name).lower().replace("-", "_").replace(" ", "_")
        if plain in _LIBRARY_ONLY:
            raise ConfigError(f"{name!r} is neither registered nor sealed, because {_LIBRARY_ONLY[plain]}")
        short = [known for known in _ENTRIES if _shorthand(known) == plain]  # lsgan is two
        close = list(dict.fromkeys(short + difflib.get_close_matches(plain, _ENTRIES, n=3))) or sorted(_ENTRIES)
        raise ConfigError(f"no model is called {name!r}; did you mean {', '.join(close)}? `ganlib models` lists all")
    return _ENTRIES[name]


def _shorthand(name: str) -> str:
    """least_squares_gan: lsgan."""
    *first, last = name.split("_")
    return "".join(word[0] for word in first) + last


def resolve(model: str | Entry | Algorithm | type) -> Entry:
    """The entry of a name, of a registered class, of an untrained model, or the entry itself.

    Raises ConfigError on a name or a class that is not registered. A class with several entries, or a model
    that no entry created, gives the entry without options of its own.
    """
    if isinstance(model, Entry):
        return model
    if isinstance(model, str):
        return entry(model)
    build = model if isinstance(model, type) else type(model)
    found = [e for e in entries() if e.build is build]
    if not found:
        raise ConfigError(f"{model!r} is neither a model's name nor a registered class; `ganlib models` lists all")
    # Entries that only set other options come after the model itself.
    plain = min(found, key=lambda e: len(e.defaults))
    if isinstance(model, type):
        return plain
    return next((e for e in found if e.name == model.registered), plain)


def options_of(model: str | Entry | Algorithm | type) -> dict[str, Any]:
    """The configuration of an untrained model where it differs from the defaults; empty for anything else."""
    config = getattr(model, "config", None)
    if not isinstance(config, Config) or isinstance(model, Entry | type):
        return {}
    usual = resolve(model).options().to_dict()
    return {name: value for name, value in config.to_dict().items() if value != usual[name]}


def list_models(task: str | None = None, modality: str | None = None) -> list[str]:
    """Names of the registered models, optionally of one task and one modality."""
    return [e.name for e in entries(task, modality)]


def create(name: str, spec: DataSpec, **config: Any) -> Algorithm:
    """An untrained algorithm by name for this data; raises ConfigError on an unknown name or option."""
    return entry(name).create(spec, **config)
