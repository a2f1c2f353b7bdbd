"""Laws that every registered model obeys, whatever it is (docs/architecture.md, "Tests").

A gap that an entry declares becomes a strict xfail: when it is closed, the declaration must go.
"""

import pickle
from dataclasses import replace

import pytest
import torch

from ganlib.registry import entries
from ganlib.training import Batch, Phase, Routine, Trainer, TrainerConfig
from ganlib.training.algorithm import Stage
from ganlib.training.runtime import Runtime

torch.set_num_threads(1)
NAMES = [e.name for e in entries()]
BY_NAME = {e.name: e for e in entries()}
# A family's representative is its namesake, else its first.
REPRESENTATIVES = sorted({e.family: e.family if e.family in BY_NAME else e.name for e in reversed(entries())}.values())
SHORT = {"steps": 6, "batch_size": 32}


def models(law, names=NAMES):
    """The names as parameters, gaps as strict xfails, laws over representatives marked slow for the others."""
    params = []
    for name in names:
        gaps = BY_NAME[name].known_gaps
        marks = [pytest.mark.xfail(reason=gaps[law], strict=True)] if law in gaps else []
        params.append(pytest.param(name, marks=marks))
    return pytest.mark.parametrize("name", params)


def make(name, seed=0):
    entry = BY_NAME[name]
    torch.manual_seed(seed)
    return entry, entry.create(entry.toy.spec, **entry.toy.config)


def short(entry, **changes):
    keep = {k: v for k, v in entry.toy.trainer.items() if k == "ema"}
    return Trainer(TrainerConfig(**{**SHORT, **keep, **changes}))


def first_batch(entry, rows=32):
    data = {k: v[:rows] for k, v in entry.toy.data(0).items()}
    return Batch(data, torch.Generator().manual_seed(0))


def weights(algorithm):
    return {n: v.clone() for n, v in algorithm.state_dict().items()}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


@models("config")
def test_config_round_trip(name):
    entry = BY_NAME[name]
    config = entry.config.from_dict(dict(entry.toy.config))
    assert entry.config.from_dict(config.to_dict()) == config


@models("phases")
def test_each_phase_moves_its_own_player_and_all_of_it(name):
    entry, algorithm = make(name)
    algorithm.prepare(first_batch(entry))
    algorithm.train()
    for stage in algorithm.stages(6):
        for item in stage.phases:
            for phase in item if isinstance(item, tuple) else (item,):
                if isinstance(phase, Phase):
                    check_phase(algorithm, phase, first_batch(entry))
                else:
                    assert isinstance(phase, Routine)


def check_phase(algorithm, phase, batch):
    own = {id(p) for p in algorithm.parameters_of(*phase.players)}
    algorithm.zero_grad()
    phase.loss(batch).total.backward(inputs=algorithm.parameters_of(*phase.players))
    for parameter_name, parameter in algorithm.named_parameters():
        if id(parameter) in own:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), parameter_name


@models("phases")
def test_an_update_moves_no_other_player(name):
    entry, algorithm = make(name)
    for index in range(len(single_phases(algorithm))):
        entry, algorithm = make(name)
        phase, before = single_phases(algorithm)[index], {}

        def loss(batch, phase=phase, before=before, algorithm=algorithm):
            before |= {n: p.detach().clone() for n, p in algorithm.named_parameters()}
            return phase.loss(batch)

        alone = Stage("alone", (replace(phase, loss=loss, every=1, repeat=1),), 1)
        algorithm.stages = lambda budget, alone=alone: (alone,)
        short(entry, steps=1, ema=0.0).fit(algorithm, entry.toy.data(0))
        own = {id(p) for p in algorithm.parameters_of(*phase.players)}
        now = dict(algorithm.named_parameters())
        assert before.keys() == now.keys()
        moved = [n for n, p in now.items() if not torch.equal(p, before[n])]
        assert moved and all(id(now[n]) in own for n in moved), (phase.players, moved)


def single_phases(algorithm):
    items = [item for stage in algorithm.stages(6) for item in stage.phases]
    return [p for item in items for p in (item if isinstance(item, tuple) else (item,)) if isinstance(p, Phase)]


@models("bfloat16")
def test_trains_under_half_precision(name, monkeypatch):
    """What a GPU does by default: losses, hooks and buffers must bear mixed types."""
    entry, algorithm = make(name)
    monkeypatch.setattr(Runtime, "autocast", lambda self: torch.autocast("cpu", dtype=torch.bfloat16))
    short(entry, steps=2).fit(algorithm, entry.toy.data(0))
    assert all(value.isfinite().all() for value in algorithm.state_dict().values())


@models("pickle")
def test_pickles_to_an_equal(name):
    entry, algorithm = make(name)
    short(entry, steps=1).fit(algorithm, entry.toy.data(0))
    other = pickle.loads(pickle.dumps(algorithm))
    assert type(other) is type(algorithm) and other.config == algorithm.config and other.training == algorithm.training
    assert equal(weights(algorithm), weights(other))


@models("sampler")
def test_drawing_leaves_training_as_it_was(name):
    entry, algorithm = make(name)
    if "augmenter" not in entry.tasks:
        pytest.skip("draws nothing")
    algorithm.train()
    own = {id(p) for p in algorithm.parameters()}
    sampler = algorithm.sampler()
    assert not sampler.training and all(module.training for module in algorithm.modules())
    assert not own & {id(p) for p in sampler.parameters()}


@models("players")
def test_players_are_disjoint_and_complete(name):
    _, algorithm = make(name)
    groups = {player: algorithm.parameters_of(player) for player in algorithm.players()}
    ids = [id(p) for group in groups.values() for p in group]
    assert len(ids) == len(set(ids))
    assert set(ids) == {id(p) for p in algorithm.parameters() if p.requires_grad}


@models("seed")
def test_same_seed_same_weights(name):
    results = []
    for _ in range(2):
        entry, algorithm = make(name)
        short(entry).fit(algorithm, entry.toy.data(0))
        results.append(weights(algorithm))
    assert equal(*results)


@models("seed")
def test_another_seed_gives_other_weights(name):
    results = []
    for seed in range(2):
        entry, algorithm = make(name)
        short(entry, random_state=seed).fit(algorithm, entry.toy.data(0))
        results.append(weights(algorithm))
    assert not equal(*results)


@models("save")
def test_save_and_load_are_bit_equal(name, tmp_path):
    from safetensors.torch import load_file, save_file

    entry, algorithm = make(name)
    short(entry).fit(algorithm, entry.toy.data(0))
    save_file({n: v.contiguous() for n, v in algorithm.state_dict().items()}, tmp_path / "weights.safetensors")
    _, other = make(name, seed=1)
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert equal(weights(algorithm), weights(other))


@pytest.mark.exact
@models("resume")
def test_resume_equals_uninterrupted(name, tmp_path):
    entry = BY_NAME[name]
    data = {k: v[:96] for k, v in entry.toy.data(0).items()}
    _, whole = make(name)
    options = {"steps": None, "epochs": 4, "checkpoint_every": 1, "schedule": "cosine", "warm_up": 2}
    short(entry, **options).fit(whole, data)

    class Stop:
        def on_step(self, step, budget, losses):
            if losses is not None and step >= budget // 2:
                self.seen = True
            elif getattr(self, "seen", False):
                raise KeyboardInterrupt

        def on_end(self):
            pass

    _, cut = make(name)
    path = str(tmp_path / "run.safetensors")
    first = short(entry, **options, checkpoint=path)
    first.callbacks = (Stop(),)
    with pytest.raises(KeyboardInterrupt):
        first.fit(cut, data)
    _, resumed = make(name, seed=7)
    history = short(entry, **options, checkpoint=path).fit(resumed, data)
    assert history.epochs >= 4
    assert equal(weights(whole), weights(resumed))


@models("purity")
def test_scoring_is_pure_and_independent_of_the_batch(name):
    entry, algorithm = make(name)
    if "scorer" not in entry.exports:
        pytest.skip("not a detector")
    data = entry.toy.data(0)
    short(entry).fit(algorithm, data)
    scorer, x = algorithm.scorer(), data["x"][:40]
    with torch.no_grad():
        whole, again = scorer(x), scorer(x)
        pieces = torch.cat([scorer(x[:1]), scorer(x[1:8]), scorer(x[8:])])
    assert whole.shape == (40,) and torch.equal(whole, again)
    assert torch.allclose(whole, pieces, rtol=1e-5, atol=1e-5)


@models("sampler")
def test_sampling_is_pure(name):
    entry, algorithm = make(name)
    if "sampler" not in entry.exports:
        pytest.skip("has no sealed sampler")
    short(entry).fit(algorithm, entry.toy.data(0))
    sampler = algorithm.sampler()
    z = torch.randn(9, sampler.latent_dim, generator=torch.Generator().manual_seed(0))
    spec = entry.toy.spec
    extra = (torch.arange(9) % spec.classes,) if algorithm.by_class else ()
    extra = (torch.rand(9, spec.attributes),) if spec.attributes else extra
    extra = (entry.toy.data(0)["x"][:9],) if sampler.by_example else extra
    with torch.no_grad():
        first, second = sampler(z, *extra), sampler(z, *extra)
    assert first.shape == (9, *spec.shape)
    assert torch.equal(first, second) and first.isfinite().all()


# A training that settles in one of several states is judged by two seeds of at most five: which state depends on the
# seed and on rounding. Of nine trainings of coupled_pair (seeds 0 to 4; 0 and 1 without AVX; 0 and 1 nudged) eight
# reached 1.0 and seed 4 stayed at 0.6; the trivial answer has 0.2.
TWO_OF_FIVE = {"coupled_pair"}


def check_level(name):
    """The worst of three seeds reaches the level, or two seeds of five; the trivial answer is below it."""
    entry = BY_NAME[name]
    levels, baselines = [], []
    for seed in range(5 if name in TWO_OF_FIVE else 3):
        _, algorithm = make(name, seed)
        Trainer(TrainerConfig(random_state=seed, **entry.toy.trainer)).fit(algorithm, entry.toy.data(seed))
        levels.append(entry.toy.level(algorithm, seed))
        baselines.append(entry.toy.baseline(seed))
        if name in TWO_OF_FIVE and sum(level >= entry.toy.at_least for level in levels) == 2:
            break
    print(f"{name}: {entry.toy.measure}: {levels} (needs {entry.toy.at_least}; baseline {baselines})")
    judged = sorted(levels)[-2] if name in TWO_OF_FIVE else min(levels)
    assert judged >= entry.toy.at_least, levels
    assert max(baselines) < entry.toy.at_least, "the toy's level must be above the trivial answer"


@pytest.mark.timeout(600)
@models("level", REPRESENTATIVES)
@pytest.mark.trained
def test_toy_level_over_seeds(name):
    check_level(name)


@pytest.mark.slow
@pytest.mark.timeout(600)
@models("level", [name for name in NAMES if name not in REPRESENTATIVES])
@pytest.mark.trained
def test_toy_level_of_the_others(name):
    check_level(name)


def test_known_gaps_are_few_and_never_about_safety():
    for entry in entries():
        assert not {"parity", "purity", "resume", "save"} & entry.known_gaps.keys(), entry.name
        assert all(len(reason) > 20 for reason in entry.known_gaps.values())
