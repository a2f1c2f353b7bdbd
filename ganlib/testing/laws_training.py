"""Laws of options, training and state."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganlib.testing.law import Case, differing, expect, law, weights
from ganlib.training import Batch, Losses, Phase, Routine
from ganlib.training.algorithm import Algorithm, Item, Stage


@law("config")
def config(case: Case) -> None:
    """The options are equal after a round trip through a dictionary."""
    options = case.entry.options(case.toy.config)
    expect(case.entry.options(options.to_dict()) == options, f"{options} is not restored")


def _items(algorithm: Algorithm) -> list[Phase | Routine]:
    """Every phase and routine of all stages, with tuples unpacked."""
    found: list[Phase | Routine] = []
    for stage in algorithm.stages(6):
        for item in stage.phases:
            found += item if isinstance(item, tuple) else (item,)
    return found


def _phases(algorithm: Algorithm) -> list[Phase]:
    return [item for item in _items(algorithm) if isinstance(item, Phase)]


@law("gradients")
def gradients(case: Case) -> None:
    """Each phase gives finite gradients to all parameters of its players."""
    algorithm = case.make()
    algorithm.prepare(case.batch())
    algorithm.train()
    for item in _items(algorithm):
        if not isinstance(item, Phase):
            expect(isinstance(item, Routine), f"{item!r} is neither a Phase nor a Routine")
            continue
        algorithm.zero_grad()
        own = algorithm.parameters_of(*item.players)
        item.loss(case.batch()).total.backward(inputs=own)
        names = {id(parameter): name for name, parameter in algorithm.named_parameters()}
        for parameter in own:
            given = parameter.grad is not None and bool(parameter.grad.isfinite().all())
            expect(given, f"phase of {item.players}: no finite gradient for {names[id(parameter)]}")


@law("updates")
def updates(case: Case) -> None:
    """An update changes parameters of its players, and of no other."""
    for index in range(len(_phases(case.make()))):
        algorithm, before = case.make(), dict[str, Tensor]()
        phase = _phases(algorithm)[index]

        def loss(
            batch: Batch, phase: Phase = phase, before: dict[str, Tensor] = before, algorithm: Algorithm = algorithm
        ) -> Losses:
            before |= {name: p.detach().clone() for name, p in algorithm.named_parameters()}
            return phase.loss(batch)

        alone = Stage("alone", (replace(phase, loss=loss, every=1, repeat=1),), 1)
        _stage(algorithm, lambda budget, alone=alone: (alone,))
        case.short(steps=1, ema=0.0).fit(algorithm, case.data())
        own = {id(p) for p in algorithm.parameters_of(*phase.players)}
        now = dict(algorithm.named_parameters())
        expect(before.keys() == now.keys(), "the update changes the names of the parameters")
        moved = [name for name, p in now.items() if not torch.equal(p, before[name])]
        expect(bool(moved), f"the update of {phase.players} changes nothing")
        foreign = [name for name in moved if id(now[name]) not in own]
        expect(not foreign, f"the update of {phase.players} changes {foreign}")


def _stage(algorithm: Algorithm, stages: Callable[..., Sequence[Stage]]) -> None:
    """Give one model other stages."""
    algorithm.stages = stages  # type: ignore[method-assign]


@law("players")
def players(case: Case) -> None:
    """Players are disjoint and together have every trainable parameter."""
    algorithm = case.make()
    ids = [id(p) for player in algorithm.players() for p in algorithm.parameters_of(player)]
    expect(len(ids) == len(set(ids)), "two players share a parameter")
    left = [name for name, p in algorithm.named_parameters() if p.requires_grad and id(p) not in ids]
    expect(not left, f"no player has {left}")
    expect(len(ids) == sum(p.requires_grad for p in algorithm.parameters()), "a player has parameters of no module")


@law("bfloat16")
def bfloat16(case: Case) -> None:
    """Losses, hooks and buffers work with the mixed types of half precision, the default on a GPU."""
    algorithm = case.make()
    stages = algorithm.stages
    _stage(algorithm, lambda budget: [replace(s, phases=[_halved(item) for item in s.phases]) for s in stages(budget)])
    case.short(steps=2).fit(algorithm, case.data())
    broken = [name for name, value in algorithm.state_dict().items() if not value.isfinite().all()]
    expect(not broken, f"{broken} are no longer finite")


def _halved(item: Item) -> Item:
    """A phase whose loss and hooks run in half precision; routines choose their precision."""
    if isinstance(item, tuple):
        return tuple(_half_phase(phase) for phase in item)
    return _half_phase(item) if isinstance(item, Phase) else item


def _half_phase(phase: Phase) -> Phase:
    def half(function: Callable[[Batch], Any]) -> Callable[[Batch], Any]:
        return torch.autocast("cpu", dtype=torch.bfloat16)(function)

    return replace(phase, loss=half(phase.loss), after=tuple(half(hook) for hook in phase.after))


@law("pickle")
def pickles(case: Case) -> None:
    """A trained model pickles to an equal one."""
    algorithm = case.trained(steps=1)
    other = pickle.loads(pickle.dumps(algorithm))
    expect(type(other) is type(algorithm), f"it is restored as {type(other)}")
    expect(other.config == algorithm.config, "its options changed")
    expect(other.training == algorithm.training, "its training mode changed")
    changed = differing(weights(algorithm), weights(other))
    expect(not changed, f"{changed} changed")


@law("seed")
def seed(case: Case) -> None:
    """Equal seeds give equal weights, bit by bit."""
    changed = differing(*(weights(case.trained()) for _ in range(2)))
    expect(not changed, f"{changed} differ between two trainings of one seed")


@law("other_seed")
def other_seed(case: Case) -> None:
    """Another seed gives other weights from the same initial ones."""
    expect(bool(differing(*(weights(case.trained(random_state=s)) for s in range(2)))), "two seeds gave equal weights")


@law("save")
def save(case: Case) -> None:
    """Saved weights load bit-equal into another model."""
    from safetensors.torch import load, save

    algorithm, other = case.trained(), case.make(seed=1)
    other.load_state_dict(load(save({name: v.contiguous() for name, v in algorithm.state_dict().items()})))
    changed = differing(weights(algorithm), weights(other))
    expect(not changed, f"{changed} changed")


class _Interrupt:
    """Interrupts a training in the step after its middle."""

    seen = False

    def on_step(self, step: int, budget: int, losses: Any) -> None:
        """Called by the Trainer; with losses at the end of an epoch."""
        if losses is not None and step >= budget // 2:
            self.seen = True
        elif self.seen:
            raise KeyboardInterrupt

    def on_end(self) -> None:
        """Nothing."""


@law("resume")
def resume(case: Case) -> None:
    """An interrupted and resumed training ends bit-equal to an uninterrupted one."""
    data, whole, cut, resumed = case.data(rows=96), case.make(), case.make(), case.make(seed=7)
    options = {"steps": None, "epochs": 4, "checkpoint_every": 1, "schedule": "cosine", "warm_up": 2}
    case.short(**options).fit(whole, data)
    with tempfile.TemporaryDirectory() as folder:
        options["checkpoint"] = str(Path(folder) / "run.safetensors")
        first = case.short(**options)
        first.callbacks = (_Interrupt(),)
        try:
            first.fit(cut, data)
        except KeyboardInterrupt:
            pass
        else:
            raise AssertionError("the training was not interrupted")
        history = case.short(**options).fit(resumed, data)
    expect(history.epochs >= 4, f"the resumed training ended after {history.epochs} epochs of 4")
    changed = differing(weights(whole), weights(resumed))
    expect(not changed, f"{changed} differ from the uninterrupted training")
