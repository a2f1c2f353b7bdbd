"""FCNs in the wild: a critic confused at each position, and sizes of classes within bounds of the labelled ones."""

import pytest
import torch
from torch.nn.functional import kl_div, softplus

from ganlib.data.spec import Classes, DataSpec, Image, LabelMap
from ganlib.errors import ConfigError, DataError
from ganlib.losses.label_sizes import constrained, shares
from ganlib.models.translation.dann import with_target
from ganlib.registry import create
from ganlib.testing.toys.scenes import mean_iou, scenes
from ganlib.training import Batch, Trainer, TrainerConfig

torch.set_num_threads(1)
SPEC = DataSpec({"x": Image(1, 8, 8), "x_b": Image(1, 8, 8), "y": LabelMap(3, 8, 8)})
ALL = torch.ones(1, 3, dtype=torch.bool)


def made(**options):
    torch.manual_seed(0)
    return create("fcn_wild", SPEC, width=4, critic_hidden=(6,), **options)


def batch(n=6):
    g = torch.Generator().manual_seed(1)
    x, x_b = 2 * torch.rand(2, n, 1, 8, 8, generator=g) - 1
    return Batch({"x": x, "y": torch.randint(3, (n, 8, 8), generator=g), "x_b": x_b}, torch.Generator())


def test_features_of_both_domains_are_confused_at_each_position():
    model, given = made(sizes=0.0, adversarial=0.5), batch()
    model.stages(10)
    model.done.fill_(10)
    losses = model.classifier_loss(given)
    a, b = (model.game.critic(model.extractor(given[name])) for name in ("x", "x_b"))
    assert a.shape == (6, 1, 4, 4)
    usual = softplus(-a).mean() + softplus(b).mean()
    exchanged = softplus(a).mean() + softplus(-b).mean()
    torch.testing.assert_close(losses["confusion"], (usual + exchanged) / 2)
    torch.testing.assert_close(losses.total, losses["labels"] + 0.5 * losses["confusion"])


def test_shares_of_labels():
    labels = torch.tensor([[[0, 0], [1, 2]], [[2, 2], [2, 2]]])
    assert shares(labels, 3).tolist() == [[0.5, 0.25, 0.25], [0, 0, 1]]


def test_bounds_are_those_of_the_images_that_hold_a_class():
    model = made()
    assert all(not part.any() for part in model.bounds())
    share = torch.linspace(0.01, 0.41, 41)
    model.seen[:41, 0] = 1 - share
    model.seen[:41, 1] = share
    lower, mean, upper = model.bounds()
    torch.testing.assert_close(lower, torch.tensor([0.63, 0.05, 0.0]))
    torch.testing.assert_close(mean, torch.tensor([0.79, 0.21, 0.0]))
    torch.testing.assert_close(upper, torch.tensor([0.95, 0.37, 0.0]))


def test_sizes_within_the_bounds_change_nothing():
    logits = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    held = constrained(logits, ALL.expand(4, -1), torch.zeros(3), torch.ones(3), 2.0)
    torch.testing.assert_close(held, logits.softmax(1))


def test_sizes_beyond_the_bounds_are_moved_to_them_by_a_multiplier_of_each_class():
    logits = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    logits[:, 0] += 3
    lower, upper = torch.tensor([0.2, 0.3, 0.0]), torch.tensor([0.5, 1.0, 1.0])
    held = constrained(logits, ALL.expand(4, -1), lower, upper, 10.0)
    found = held.mean((2, 3))
    assert (found[:, 0] < 0.505).all() and (found[:, 1] > 0.295).all()
    tilt = held.log() - logits.log_softmax(1)  # the nearest distribution: constant up to a normaliser of each pixel
    torch.testing.assert_close((tilt[:, 0] - tilt[:, 2]).std((1, 2)), torch.zeros(4), rtol=0, atol=1e-4)
    slack = constrained(logits, ALL.expand(4, -1), lower, torch.ones(3), 0.5)
    tilt = (slack.log() - logits.log_softmax(1)).diff(dim=1)[:, 0].mean((1, 2))
    torch.testing.assert_close(tilt, torch.full((4,), 0.5))


def test_a_class_that_is_not_found_is_allowed_nowhere():
    logits = torch.zeros(1, 3, 8, 8)
    held = constrained(logits, torch.tensor([[True, False, True]]), torch.zeros(3), torch.ones(3), 2.0)
    assert held[:, 1].max() == 0 and torch.allclose(held[:, 0], torch.tensor(0.5))


def test_the_loss_of_sizes_is_a_divergence_and_small_classes_are_not_drowned():
    model = made(large_share=1.0)
    model.seen[:2] = torch.tensor([[0.7, 0.2, 0.1], [0.8, 0.1, 0.1]])
    logits = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    lower, mean, upper = model.bounds()
    wanted = constrained(logits, ALL.expand(5, -1), mean, upper, 2.0)
    loss = model.size_loss(logits)
    torch.testing.assert_close(loss, kl_div(logits.log_softmax(1), wanted, reduction="none").sum(1).mean())
    (whole,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(whole, (logits.softmax(1) - wanted) / (5 * 64))
    (damped,) = torch.autograd.grad(made_like(model, 0.1).size_loss(logits), logits)
    assert lower.gt(0.1).tolist() == [True, True, False]
    torch.testing.assert_close(damped, whole * torch.tensor([0.1, 0.1, 1.0]).view(1, 3, 1, 1))


def made_like(model, share):
    other = made(large_share=share)
    other.load_state_dict(model.state_dict())
    return other


def test_remembered_shares_replace_the_oldest():
    model, given = made(), batch()
    kept = len(model.seen)
    model.place.fill_(kept - 2)
    model.classifier_loss(given)
    assert int(model.place) == 4
    torch.testing.assert_close(model.seen[:4], shares(given.y, 3)[2:])
    torch.testing.assert_close(model.seen[-2:], shares(given.y, 3)[:2])


def test_images_without_any_known_class_give_a_finite_loss():
    model = made()
    model.seen[0] = torch.tensor([1.0, 0.0, 0.0])
    logits = torch.zeros(2, 3, 8, 8)
    logits[:, 2] = 9  # a class that no label map holds
    assert model.size_loss(logits).isfinite()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"x": Image(1, 8, 8), "y": Classes(3)}, "'y' of kind LabelMap"),
        ({"x": Image(1, 8, 8), "y": LabelMap(3, 4, 4)}, "bring them to one size"),
        ({"x": Image(1, 8, 8), "y": LabelMap(1, 8, 8)}, "two or more labels"),
        ({"x": Image(1, 9, 8), "y": LabelMap(3, 9, 8)}, "odd side"),
        ({"x": Image(1, 8, 8), "x_b": Image(3, 8, 8), "y": LabelMap(3, 8, 8)}, "equal channels and sides"),
    ],
)
def test_data_that_cannot_be_segmented_are_rejected(fields, words):
    with pytest.raises(ConfigError, match=words):
        create("fcn_wild", DataSpec(fields))


@pytest.mark.parametrize("trick", ["feature_matching", "historical_averaging", "unrolled_steps"])
def test_tricks_of_a_generator_would_do_nothing(trick):
    with pytest.raises(ConfigError, match=f"{trick} would do nothing"):
        made(**{trick: 1})


def test_labels_out_of_range_are_rejected_before_training():
    data = with_target(torch.rand(6, 1, 8, 8), torch.full((6, 8, 8), 3), torch.rand(4, 1, 8, 8))
    with pytest.raises(DataError, match="labels of 'y' run from 3 to 3"):
        Trainer(TrainerConfig(steps=1, batch_size=4, device="cpu")).fit(made(), data)


def test_scenes_have_all_labels_and_two_looks():
    (x, y), (other, other_y) = scenes(0, "a", rows=50), scenes(0, "b", rows=50)
    assert x.shape == other.shape == (50, 1, 24, 24) and y.unique().tolist() == other_y.unique().tolist() == [0, 1, 2]
    assert other.mean() > x.mean() + 0.2
    assert mean_iou(y, y) == 1 and mean_iou(torch.zeros_like(y), y) < 0.34
