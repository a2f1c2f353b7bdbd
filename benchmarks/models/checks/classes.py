"""Checks on classes, attributes and captions of 8x8 digits."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.models.checks.check import Check, Figures, fit
from ganlib.data.captions import CaptionEncoder
from ganlib.data.spec import Block, DataSpec
from ganlib.metrics.classes import class_consistency, class_diversity, rare_class_recall, train_on_synthetic
from ganlib.testing.problems import digit_caption, digit_captions, digits, stroke

_FAMILY: dict[str, dict[str, Any]] = {
    "cvae": {"latent_dim": 8, "hidden": (256, 128)},
    "cvae_gan": {"latent_dim": 8, "hidden": (256, 128), "kl": 1.0, "reconstruction": "likelihood", "features": "mean"},
    "cgan": {"latent_dim": 16, "hidden": (256, 128), "instance_noise": 0.1},
    "acgan": {"latent_dim": 16, "hidden": (256, 128), "learning_rate": 5e-4, "betas": (0.0, 0.99)},
}


def _by_class(name: str, seed: int) -> tuple[Any, Tensor, Tensor]:
    """A model of 8x8 digits as vectors, 150 generated a class, and their classes."""
    x, y = digits(seed)
    data = {"x": x.flatten(1), "y": y}
    model, _ = fit(name, DataSpec.vector(64, 10), data, seed, 4000, 64, **_FAMILY[name])
    if hasattr(model, "fit_prior"):
        model.fit_prior(data["x"], y)
    sampler, labels = model.sampler(), torch.arange(10).repeat(150)
    z = torch.randn(len(labels), sampler.latent_dim, generator=torch.Generator().manual_seed(seed + 1))
    with torch.no_grad():
        return model, sampler(z, labels), labels


def _judge(seed: int) -> Any:
    """A classifier of real digits, which evaluates the classes of generated ones."""
    from sklearn.linear_model import LogisticRegression

    x, y = digits(seed)
    return LogisticRegression(max_iter=2000).fit(x.flatten(1).numpy(), y.numpy())


def _transfer(name: str, seed: int) -> Any:
    x, y = digits(seed)
    test, test_y = digits(seed, "test")
    _, made, labels = _by_class(name, seed)
    return train_on_synthetic(made, labels, x.flatten(1), y, test.flatten(1), test_y, random_state=seed)


def _teaches(name: str) -> Callable[[int], Figures]:
    def run(seed: int) -> Figures:
        report = _transfer(name, seed)
        return report.tstr, report.gaussians

    return run


def _teaches_best(seed: int) -> Figures:
    tstr = {name: _transfer(name, seed).tstr for name in ("cvae_gan", "cvae", "cgan")}
    return tstr.pop("cvae_gan"), max(tstr.values())


def _consistent(name: str) -> Callable[[int], Figures]:
    def run(seed: int) -> Figures:
        _, made, labels = _by_class(name, seed)
        x, y = digits(seed)
        spread = class_diversity(x.flatten(1), y, made, labels)
        return class_consistency(_judge(seed), made, labels), statistics.mean(spread.values())

    return run


def _swaps(seed: int) -> Figures:
    """Real digits decoded under another class with their own latents: share that the classifier assigns to it."""
    model, _, _ = _by_class("cvae_gan", seed)
    test, test_y = digits(seed, "test")
    other = (test_y + 1 + torch.arange(len(test_y)) % 9) % 10
    with torch.no_grad():
        mean, _ = model.posterior(test.flatten(1), test_y)
        swapped = model.generator(mean, other)
        kept = model.generator(mean, test_y)
    judge = _judge(seed)
    return class_consistency(judge, swapped, other), class_consistency(judge, kept, other)


def _few_labels(each: int, self_training: bool = False) -> Callable[[int], Figures]:
    """Accuracy with ``each`` labels per class; baseline: logistic regression on them alone, or self-trained."""

    def run(seed: int) -> Figures:
        from sklearn.linear_model import LogisticRegression
        from sklearn.semi_supervised import SelfTrainingClassifier

        from ganlib.models.gan.semi_supervised import with_labels

        x, y = (v.flatten(1) if v.ndim > 1 else v for v in digits(seed))
        test, test_y = digits(seed, "test")
        rows = torch.cat([torch.where(y == c)[0][:each] for c in range(10)])
        options = {"latent_dim": 32, "hidden": (256, 128, 64), "generator_hidden": (128, 128), "learning_rate": 1e-3}
        data = with_labels(x, x[rows], y[rows], seed)
        model, _ = fit("semi_supervised_gan", DataSpec.vector(64, 10), data, seed, 2000, 100, 0.99, **options)
        with torch.no_grad():
            figure = float((model.classify(test.flatten(1)) == test_y).float().mean())
        plain: Any = LogisticRegression(max_iter=500)
        if self_training:
            known = torch.full_like(y, -1)
            known[rows] = y[rows]
            plain = SelfTrainingClassifier(plain, threshold=0.95, max_iter=None).fit(x.numpy(), known.numpy())
        else:
            plain.fit(x[rows].numpy(), y[rows].numpy())
        return figure, float(plain.score(test.flatten(1).numpy(), test_y.numpy()))

    return run


def _rare(name: str) -> Callable[[int], Figures]:
    """Recall of a class cut to ten rows (the seed's digit) with generated rows added; baseline: the best of leaving it,
    copies and interpolation."""

    def run(seed: int) -> Figures:
        x, y = digits(seed)
        test, test_y = digits(seed, "test")

        def synthesise(cut: Any, cut_y: Any, count: int, _: int) -> Tensor:
            data = {"x": torch.as_tensor(cut).float(), "y": torch.as_tensor(cut_y).long()}
            model, _ = fit(name, DataSpec.vector(64, 10), data, seed, 4000, 64, **_FAMILY[name])
            if hasattr(model, "fit_prior"):
                model.fit_prior(data["x"], data["y"])
            sampler = model.sampler()
            z = torch.randn(count, sampler.latent_dim, generator=torch.Generator().manual_seed(seed + 1))
            with torch.no_grad():
                return sampler(z, torch.full((count,), seed % 10))

        flat = x.flatten(1), y, test.flatten(1), test_y
        report = rare_class_recall(*flat, synthesise, seed % 10, seeds=(seed,))
        recall = {treatment: values[0] for treatment, values in report.recall.items()}
        return recall.pop("synthetic"), max(recall.values())

    return run


def _bound(seed: int) -> Figures:
    """Bound of held-out black and white digits, in nats; baseline: a VAE without the class as condition."""
    from ganlib.training import Batch

    spec = tuple(Block(f"x{i}", "binary", i) for i in range(64))
    (x, y), (test, test_y) = digits(seed), digits(seed, "test")
    rows, held = {"x": (x.flatten(1) > 0).float(), "y": y}, {"x": (test.flatten(1) > 0).float(), "y": test_y}
    bounds = []
    for name, classes in (("cvae", 10), ("vae", 0)):
        data = rows if classes else {"x": rows["x"]}
        model, _ = fit(name, DataSpec.table(spec, classes), data, seed, 1500, 64, latent_dim=8, hidden=(128, 64))
        model.eval()
        with torch.no_grad():
            losses = [float(model.validation_loss(Batch(held, torch.Generator().manual_seed(i)))) for i in range(20)]
        bounds.append(-statistics.mean(losses))
    return bounds[0], bounds[1]


# ---------------------------------------------------------------- attributes and captions
def _attributes(seed: int) -> Figures:
    """R² of thickness and slant of generated digits against the requested ones, mean of both; baseline: against those
    of other digits."""
    x, _ = digits(seed)
    test, _ = digits(seed, "test")
    strokes = stroke(x)
    mean, deviation = strokes.mean(0), strokes.std(0)
    spec = DataSpec.image(1, 8, 8, attributes=2)
    data = {"x": x, "c": (strokes - mean) / deviation}
    model, _ = fit("cgan", spec, data, seed, 3000, 64, latent_dim=16, width=32)
    asked = (stroke(test) - mean) / deviation
    sampler = model.sampler()
    z = torch.randn(len(asked), sampler.latent_dim, generator=torch.Generator().manual_seed(seed + 1))
    with torch.no_grad():
        found = (stroke(sampler(z, asked)) - mean) / deviation

    def explained(wanted: Tensor) -> float:
        return float((1 - (found - wanted).square().sum(0) / (wanted - wanted.mean(0)).square().sum(0)).mean())

    return explained(asked), explained(asked.roll(1, 0))


_CAPTIONED: dict[str, Any] = {"latent_dim": 16, "text_dim": 32, "width": 32, "learning_rate": 5e-4}


def _captioned(seed: int, steps: int = 4000, **options: Any) -> tuple[Any, CaptionEncoder]:
    """A model of captioned digits."""
    x, y = digits(seed)
    captions = digit_captions(x, y, seed)
    encoder = CaptionEncoder(32).fit(captions)
    spec = DataSpec.image(1, 8, 8, attributes=encoder.width)
    data = {"x": x, "c": encoder.transform(captions)}
    return fit("gan_int_cls", spec, data, seed, steps, 64, **{**_CAPTIONED, **options})[0], encoder


def _says(seed: int) -> Figures:
    """Share of generated digits that a judge takes for the numeral of their caption; baseline: trained without the
    wrong captions."""
    y = torch.arange(10).repeat(90)
    captions = [digit_caption(int(c), ("thin", "plain", "thick")[i % 3], i // 3) for i, c in enumerate(y)]
    shares = []
    for mismatch in (0.5, 0.0):
        model, encoder = _captioned(seed, mismatch=mismatch)
        sampler = model.sampler()
        z = torch.randn(len(y), sampler.latent_dim, generator=torch.Generator().manual_seed(seed + 1))
        with torch.no_grad():
            made = sampler(z, encoder.transform(captions)).flatten(1)
        shares.append(class_consistency(_judge(seed), made, y))
    return shares[0], shares[1]


def _between(seed: int) -> Figures:
    """Rank correlation of thickness with the way from a thin to a thick digit's caption, same latents, mean over
    numerals; baseline: mean step of thickness from thin to thick, in deviations of the data's."""
    from scipy.stats import spearmanr

    model, encoder = _captioned(seed)
    sampler, ways = model.sampler(), torch.linspace(0, 1, 5)
    ranks, steps = [], []
    deviation = float(stroke(digits(seed)[0])[:, 0].std())
    for digit in range(10):
        thin, thick = encoder.transform([digit_caption(digit, "thin"), digit_caption(digit, "thick")])
        z = torch.randn(20, sampler.latent_dim, generator=torch.Generator().manual_seed(seed + digit))
        with torch.no_grad():
            found = [stroke(sampler(z, (thin + way * (thick - thin)).expand(20, -1)))[:, 0] for way in ways]
        ranks.append(float(spearmanr(ways.repeat_interleave(20), torch.cat(found)).statistic))
        steps.append(float((found[-1] - found[0]).mean()) / deviation)
    return statistics.mean(ranks), statistics.mean(steps)


ROWS = (
    Check("B2", "cgan", "8x8 digits: class consistency", "diversity within classes", 0.9, _consistent("cgan")),
    Check("B4", "cvae", "8x8 digits: train synthetic, test real", "class Gaussians", 0.94, _teaches("cvae")),
    Check("B2 transfer", "cgan", "8x8 digits: train synthetic, test real", "class Gaussians", 0.9, _teaches("cgan")),
    Check(
        "B5",
        "cvae_gan",
        "8x8 digits: train synthetic, test real",
        "better of CVAE and CGAN",
        0.0,
        _teaches_best,
        gain=True,
    ),
    Check("B5 swap", "cvae_gan", "8x8 digits: class swapped, latent kept", "not swapped", 0.9, _swaps),
    Check("B8", "acgan", "8x8 digits: class consistency", "diversity within classes", 0.9, _consistent("acgan")),
    Check("B8 transfer", "acgan", "8x8 digits: train synthetic, test real", "class Gaussians", 0.9, _teaches("acgan")),
    Check(
        "B2 rare",
        "cgan",
        "8x8 digits, a class of ten: recall",
        "best of none, copies, SMOTE",
        0.0,
        _rare("cgan"),
        gain=True,
        finding=True,
        seeds=5,
    ),
    Check(
        "B8 rare",
        "acgan",
        "8x8 digits, a class of ten: recall",
        "best of none, copies, SMOTE",
        0.0,
        _rare("acgan"),
        gain=True,
        finding=True,
        seeds=5,
    ),
    Check(
        "B4 rare",
        "cvae",
        "8x8 digits, a class of ten: recall",
        "best of none, copies, SMOTE",
        0.0,
        _rare("cvae"),
        gain=True,
        finding=True,
        seeds=5,
    ),
    Check("B4 classes", "cvae", "8x8 digits: class consistency", "diversity within classes", 0.95, _consistent("cvae")),
    Check("B4 bound", "cvae", "8x8 black and white digits: held-out bound, nats", "VAE", 0.0, _bound, gain=True),
    Check(
        "B12",
        "semi_supervised_gan",
        "8x8 digits, 50 labels",
        "supervised only",
        0.02,
        _few_labels(5),
        gain=True,
        seeds=10,
        level=0.05,
    ),
    Check(
        "B12 self",
        "semi_supervised_gan",
        "8x8 digits, 50 labels",
        "self-training",
        0.0,
        _few_labels(5, True),
        gain=True,
        seeds=10,
        level=0.05,
    ),
    Check("B12 100", "semi_supervised_gan", "8x8 digits, 100 labels", "supervised only", 0.913, _few_labels(10)),
    Check("B3", "cgan", "8x8 digits: R² of thickness and slant", "asked of other digits", 0.5, _attributes),
    Check("B10", "gan_int_cls", "8x8 digits: numeral as in the caption", "without wrong captions", 0.85, _says),
    Check(
        "B10 between", "gan_int_cls", "thickness along interpolated captions: rank correlation", "step", 0.5, _between
    ),
)
