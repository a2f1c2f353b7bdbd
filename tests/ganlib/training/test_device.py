"""What a step asks of the device: nothing is read, one batch is copied, bytes stay bytes, and flows stay float32."""

from contextlib import contextmanager

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from ganlib.data.spec import DataSpec
from ganlib.errors import DataError
from ganlib.losses.divergence import gaussian_kl
from ganlib.registry import create, entry
from ganlib.testing.law import Case
from ganlib.training import TensorBatches, Trainer, TrainerConfig
from ganlib.training.gradients import Gradients
from ganlib.training.ranks import Ranks
from ganlib.training.trainer import Run

torch.set_num_threads(1)
POINTS = torch.randn(640, 2, generator=torch.Generator().manual_seed(0))


def fit(model, **options):
    return Trainer(TrainerConfig(**{"steps": 16, "batch_size": 32, **options})).fit(model, {"x": POINTS})


# ---------------------------------------------------------------- waiting for the device
class Reads(TorchDispatchMode):
    """Counts what makes a CPU wait for a GPU: values and shapes that depend on a tensor's values."""

    waiting = ("_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "equal", "unique", "_unique2")

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        masked = name in ("index", "index_put_") and any(i is not None and i.dtype == torch.bool for i in args[1])
        if masked or name in self.waiting:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("how", [lambda x: x.sum().item(), lambda x: x[x > 0], lambda x: bool((x > 0).any())])
def test_reads_are_counted(how):
    with Reads() as mode:
        how(POINTS)
    assert len(mode.found) == 1


@pytest.fixture
def reads(monkeypatch):
    """The reads of each step."""
    steps, step = [], Run._step

    def counted(self, *args):
        with Reads() as mode:
            step(self, *args)
        steps.append(mode.found)

    monkeypatch.setattr(Run, "_step", counted)
    return steps


@pytest.mark.parametrize("name", ["gan", "wgan_gp", "mmd_gan", "vae", "ganomaly"])
def test_a_step_reads_nothing_from_the_device(reads, name):
    model = create(name, DataSpec.vector(2), hidden=(8,))
    options = {"ema": 0.9, "gradient_clip": 1.0, "gradient_norms": True, "schedule": "cosine"}
    fit(model, steps=20, **options)
    assert reads == 20 * [[]]


@pytest.mark.parametrize("options", [{"historical_averaging": 0.1}, {"replay": 64}, {"penalty": "zero_centred"}])
def test_a_step_with_the_tricks_of_the_trade_reads_nothing_either(reads, options):
    """A replay pool reads its counter until it holds something."""
    fit(create("gan", DataSpec.vector(2), hidden=(8,), **options), steps=20)
    assert reads[2:] == 18 * [[]] and ("replay" in options or reads[:2] == [[], []])


class Mirrored(Ranks):
    """Two ranks that have the same rows, so that their mean is each one's own gradient."""

    def own(self, rows):
        return rows

    def averaged(self, values):
        return values

    def start_sum(self, values):
        return lambda: 2 * values

    def texts(self, text):
        return [text, text]

    def gather(self, values):
        return [values, values]

    def share(self, module):
        pass


@pytest.mark.parametrize("name", ["gan", "wgan_gp", "vae"])
def test_a_data_parallel_step_reads_nothing_from_the_device(reads, monkeypatch, name):
    """And its weights are those of one process."""

    @contextmanager
    def two(how, device):
        yield Mirrored(0, 2)

    weights = []
    for joins in (False, True):
        if joins:
            monkeypatch.setattr("ganlib.training.trainer.joined", two)
        torch.manual_seed(0)
        model = create(name, DataSpec.vector(2), hidden=(8,))
        # Noise is drawn for the rows of all ranks; both keep all of it here, so a batch has as many rows alone.
        monkeypatch.setattr("ganlib.training.algorithm.Batch._rows", property(len))
        Trainer(TrainerConfig(steps=12, batch_size=32, gradient_clip=1.0)).fit(model, {"x": POINTS})
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert reads == 24 * [[]] and torch.equal(*weights)


@pytest.mark.parametrize("overlap", [True, False])
def test_gradients_are_sent_while_the_backward_pass_runs(overlap):
    """The last layer's first, in buckets; without overlap, after it."""
    events = []

    class Recorded(Mirrored):
        def start_sum(self, values):
            events.append(len(values))
            return super().start_sum(values)

    layers = nn.Sequential(*(nn.Linear(4, 4) for _ in range(4)))
    unused = nn.Parameter(torch.zeros(3))
    parameters = [unused, *layers.parameters()]
    gradients = Gradients(parameters, Recorded(0, 2), size=40)
    layers[0].weight.register_hook(lambda _: events.append("first layer"))
    loss = layers(torch.ones(2, 4)).square().mean()
    with gradients.during_backward(overlap):
        loss.backward(inputs=list(layers.parameters()))
    own = [p.grad.clone() for p in layers.parameters()]
    assert not gradients.average(torch.tensor(False))
    assert events == ([40, "first layer", 40, 3] if overlap else ["first layer", 40, 40, 3])
    assert all(torch.equal(p.grad, g) for p, g in zip(layers.parameters(), own, strict=True))
    assert not any(p._post_accumulate_grad_hooks for p in parameters)
    with gradients.during_backward(overlap):
        layers(torch.ones(2, 4)).sum().backward(inputs=list(layers.parameters()))
    assert gradients.average(torch.tensor(True)) and unused.grad is None


class Outputs(TorchDispatchMode):
    """The largest number of values that an operation returns."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            self.largest = max(self.largest, out.numel())
        return out


def test_an_epoch_copies_one_batch_at_a_time():
    """The order of the rows is the only thing as long as the data."""
    batches = TensorBatches({"x": torch.zeros(1000, 50)}, 10)
    with Outputs() as mode:
        assert len(list(batches.epoch(0))) == 100
    assert mode.largest == 1000


def test_images_train_as_bytes_as_they_do_as_floats():
    pixels = torch.randint(0, 256, (24, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    results = []
    for x in (pixels, pixels.float().div(127.5).sub(1)):
        torch.manual_seed(0)
        model = create("dcgan", DataSpec.image(1, 8, 8), width=4)
        history = Trainer(TrainerConfig(steps=3, batch_size=8)).fit(model, {"x": x}, {"x": x[:8]})
        results.append((torch.cat([p.detach().flatten() for p in model.parameters()]), history.curves))
    assert torch.equal(results[0][0], results[1][0]) and results[0][1] == results[1][1]


def test_images_given_as_bytes_are_kept_as_bytes(monkeypatch):
    held, epoch = [], Run._epoch

    def watched(self, *args):
        held.append(self.default.tensors["x"].dtype)
        epoch(self, *args)

    monkeypatch.setattr(Run, "_epoch", watched)
    x = torch.arange(24 * 64, dtype=torch.float32).to(torch.uint8).view(24, 1, 8, 8)
    Trainer(TrainerConfig(steps=1, batch_size=8)).fit(create("dcgan", DataSpec.image(1, 8, 8), width=4), {"x": x})
    assert held == [torch.uint8]


@pytest.mark.parametrize(
    ("spec", "x", "message"),
    [
        (DataSpec.image(1, 8, 8), torch.zeros(4, 1, 8, 8, dtype=torch.uint8), "are the same"),
        (DataSpec.image(1, 8, 8), torch.arange(4 * 128, dtype=torch.uint8).view(4, 2, 8, 8), "of shape"),
        (DataSpec.vector(3), torch.zeros(4, 3, dtype=torch.uint8), "uint8"),
    ],
)
def test_bytes_are_checked_as_other_data(spec, x, message):
    with pytest.raises(DataError, match=message):
        Trainer(TrainerConfig(steps=1)).fit(create("gan", spec), {"x": x})


TRICKS = {
    "penalty": "two_sided", "penalty_every": 2, "critic_steps": 2, "replay": 16, "instance_noise": 0.1,
    "noise_steps": 50, "historical_averaging": 0.1, "feature_matching": 0.1, "unrolled_steps": 1,
}  # fmt: skip


@pytest.mark.parametrize("name", ["gan", "coupled_pair", "stackgan", "gan_int_cls"])
def test_a_game_with_all_its_tricks_reads_nothing_from_the_device(reads, name):
    """But for the replay pool, which asks whether it is empty until it is filled, in the first two steps."""
    width = 2 if name in ("stackgan", "gan_int_cls") else 0  # attributes: one_hot reads its input, on a CPU alone
    spec = DataSpec.image(1, 8, 8, attributes=2) if name == "stackgan" else DataSpec.vector(2, attributes=width)
    data = {"x": torch.rand(64, *spec.shape), "x_b": torch.rand(64, 2), "c": torch.rand(64, 2)}
    own = ("x", "c") if width else ("x", "x_b") if name == "coupled_pair" else ("x",)
    model = create(name, spec, hidden=(8,), **TRICKS)
    Trainer(TrainerConfig(steps=6, batch_size=16, device="cpu")).fit(model, {key: data[key] for key in own})
    stages = 2 if name == "stackgan" else 1
    per_stage = len(reads) // stages
    for stage in range(stages):
        assert reads[stage * per_stage + 2 : (stage + 1) * per_stage] == (per_stage - 2) * [[]]


def test_an_equilibrium_rule_reads_the_losses_once_a_step(monkeypatch):
    """Both players ask for them; on a GPU each answer would wait for it."""
    model = create("vae_gan", DataSpec.vector(2), hidden=(8,))
    stack, taken = torch.stack, []

    def counted(tensors, *args):
        taken.append(tensors[0] is model.real_loss)
        return stack(tensors, *args)

    monkeypatch.setattr(torch, "stack", counted)
    fit(model, steps=20)
    assert sum(taken) == 20


# ---------------------------------------------------------------- half precision
def test_a_flow_and_its_likelihood_are_computed_in_float32_under_autocast():
    torch.manual_seed(0)
    model = create("glow", DataSpec.vector(2), hidden=(16,))
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    plain = model.log_prob(POINTS), model.inverse(model.flow(POINTS)[0])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = model.log_prob(POINTS.bfloat16().float()), model.inverse(model.flow(POINTS)[0])
        assert torch.equal(model.log_prob(POINTS), plain[0])
    assert half[0].dtype == torch.float32 and torch.equal(half[1], plain[1])
    assert (half[1] - POINTS).abs().max() < 1e-4


def test_divergences_of_half_precision_are_summed_in_float32():
    mean = torch.full((1, 4096), 1e-2).bfloat16()
    assert gaussian_kl(mean, torch.zeros_like(mean)).item() == pytest.approx(0.2048, rel=0.01)
    assert gaussian_kl(mean.double(), torch.zeros(1, 4096).double()).dtype == torch.float64


@pytest.mark.parametrize(
    "name", ["gan", "wgan_gp", "hinge_gan", "began", "acgan", "ganomaly", "vae", "cvae", "aa_vae", "gail", "seqgan"]
)
def test_losses_are_float32_under_autocast(name):
    case = Case(entry(name))
    model = case.make()
    for stage in model.stages(6):
        for phase in stage.phases:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                losses = phase.loss(case.batch())
            assert {n: v.dtype for n, v in losses.items()} == dict.fromkeys(losses, torch.float32)
