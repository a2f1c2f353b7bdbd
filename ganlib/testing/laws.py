"""All laws, the laws of a model, and the check of one model."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from ganlib.errors import ConfigError
from ganlib.registry import Entry, resolve
from ganlib.testing import laws_training, laws_use
from ganlib.testing.law import Law

if TYPE_CHECKING:
    from ganlib.training.algorithm import Algorithm

ALL = tuple(value for module in (laws_training, laws_use) for value in vars(module).values() if isinstance(value, Law))


def laws_of(entry: Entry) -> Iterator[Law]:
    """The laws for a model's abilities, including those in its ``known_gaps``.

    Raises ConfigError if ``known_gaps`` names another law, because nothing would check such a gap.
    """
    found = [law for law in ALL if law.applies(entry)]
    if idle := entry.known_gaps.keys() - {law.name for law in found}:
        raise ConfigError(
            f"known_gaps of model {entry.name!r} name laws that do not apply to it: {', '.join(sorted(idle))}"
        )
    yield from found


def check_model(model: str | type | Entry | Algorithm, laws: Collection[str] | None = None) -> None:
    """Check a registered model against all its laws, or against those named in ``laws``.

    Raises AssertionError, naming the law, for the first law that is broken, and for a law in ``known_gaps`` that holds,
    so that closed gaps are removed. Raises ConfigError if the model is not registered or has no toy, or if ``laws``
    names a law that does not apply.
    """
    entry = resolve(model)
    own = {law.name: law for law in laws_of(entry)}
    if unknown := set(laws or ()) - own.keys():
        raise ConfigError(f"model {entry.name!r} has no laws {sorted(unknown)}; choose {', '.join(own)}")
    for name in own if laws is None else laws:
        if name not in entry.known_gaps:
            own[name](entry)
        elif _holds(own[name], entry):
            raise AssertionError(f"model {entry.name!r} obeys law {name!r}; remove it from known_gaps")


def _holds(law: Law, entry: Entry) -> bool:
    try:
        law(entry)
    except AssertionError:
        return False
    return True
