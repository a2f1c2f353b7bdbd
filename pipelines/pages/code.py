"""Code for the pages: how to train, seal and use a model, by its task and the kind of its data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ganlib.abilities import HasDensity, Translates, TranslatesBack
from ganlib.data.fields import Image
from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError
from pipelines.pages.options import shown

if TYPE_CHECKING:
    from ganlib.registry import Entry


@dataclass(frozen=True)
class Example:
    """Data of one kind: ``imports`` and ``setup``, then expressions for what the blocks need."""

    imports: tuple[str, ...]
    setup: str
    normal: str
    anomalous: str
    examples: str
    classes: str
    domains: tuple[str, str]


EXAMPLES = {
    "table": Example(
        ("from sklearn.datasets import load_breast_cancer",),
        "X, y = load_breast_cancer(return_X_y=True, as_frame=True)\nX = X.iloc[:, :6]",
        "X[y == 1]", "X[y == 0]", "X", "y", ("X.iloc[:, :2]", "X.iloc[:, 2:4]"),
    ),
    "points": Example(
        ("import pandas as pd", "from sklearn.datasets import make_moons"),
        "points, y = make_moons(2000, noise=0.1, random_state=0)\n"
        'X = pd.DataFrame(points, columns=["first", "second"])',
        "X", "X + [0, 1]", "X", "y", ("X[y == 0]", "X[y == 1]"),
    ),
    "image": Example(
        ("from sklearn.datasets import load_digits",),
        "X, y = load_digits(return_X_y=True)\n"
        'X = (X.reshape(-1, 8, 8) * 255 / 16).astype("uint8")',
        "X[y != 4]", "X[y == 4]", "X", "y", ("X[:900]", "255 - X[:900]"),
    ),
    "series": Example(
        ("import numpy as np",),
        "rng = np.random.default_rng(0)\n"
        "X = np.sin(np.linspace(0, 9, 48) + rng.uniform(0, 6, (400, 1, 1)))  # (n, channels, length)\n"
        "y = np.arange(400) % 2",
        "X", "X + rng.normal(size=X.shape)", "X", "y", ("X[:200]", "-X[:200]"),
    ),
}  # fmt: skip
_DIGITS = Image(1, 8, 8)  # of the example of images
_WIDTH = 120
_SEALED = "  # one file, which needs neither torch nor ganlib"


@dataclass(frozen=True)
class Block:
    """``code`` runs on its own; blocks of one ``form`` differ in the model's name and options only."""

    form: str
    title: str
    code: str


def blocks_of(entry: Entry) -> list[Block]:
    """A block for each task of the model."""
    kind = kind_of(entry)
    if kind not in EXAMPLES:
        return [_on_toy(entry)]
    makers = {
        "detector": _detector, "augmenter": _augmenter, "translator": _translator, "classifier": _classifier,
        "segmenter": _segmenter,
    }  # fmt: skip
    blocks = [make(entry, kind) for task, make in makers.items() if task in entry.tasks]
    return blocks + ([_density(entry)] if HasDensity in entry.abilities else [])


def kind_of(entry: Entry) -> str:
    """The kind of the example's data: the toy's; images for captions and for neighbours, if the model reads them."""
    spec = entry.toy.spec
    if (entry.takes == ("attributes",) or entry.by_example) and "image" in entry.modalities:
        return "image"
    kinds = {"vector": ("table", "points", "trajectory")}.get(spec.kind, (spec.kind,))
    return next(kind for kind in entry.modalities if kind in kinds)


def condition_of(entry: Entry) -> str:
    """What the example is conditioned on: attributes, classes, or nothing."""
    if entry.takes == ("attributes",):
        return "attributes"
    return "classes" if entry.takes and entry.toy.spec.classes else ""


def _written(foreign: Sequence[str], own: Sequence[str], *lines: str) -> str:
    """A script: imports, then lines."""
    groups = (sorted(group, key=lambda line: (line.startswith("from "), line)) for group in (foreign, own))
    return "\n\n".join("\n".join(group) for group in (*groups, lines) if group) + "\n"


def _detector(entry: Entry, kind: str) -> Block:
    example, name = EXAMPLES[kind], entry.name
    own, sealed = ["import ganlib"], "scorer" in entry.exports
    lines = [
        example.setup,
        f"normal, anomalous = {example.normal}, {example.anomalous}",
        f'detector = ganlib.as_detector("{name}", steps=3000, alpha=0.05).fit(normal)',
        "print((detector.predict(anomalous) == -1).mean())  # share of the anomalies that are flagged",
    ]
    if sealed:
        own += ["from serving.artifact import load_artifact", "from serving.scorer import Scorer"]
        lines += [
            f'ganlib.seal(detector, "{name}.onnx"){_SEALED}',
            f'print(Scorer(load_artifact("{name}.onnx")).score(anomalous[:5]).p_value)',
        ]
    command = f"ganlib train --name pump --data sensors.csv --model {name}"
    title = f"As a detector: train, seal, score. By the command: `{command}`."
    return Block(f"detector, {kind}, {sealed}", title, _written(example.imports, own, *lines))


def _augmenter(entry: Entry, kind: str) -> Block:
    example, name, condition = EXAMPLES[kind], entry.name, condition_of(entry)
    rows, by_example = kind in ("table", "points"), entry.by_example
    sealed = "sampler" in entry.exports and condition != "attributes" and not by_example
    given = {"classes": f", {example.classes}", "attributes": ", captions"}.get(condition, "")
    captions = ['captions = [f"a {numeral}" for numeral in y]'] if condition == "attributes" else []
    made = "made" if rows or not condition else "made, conditions"
    own = ["import ganlib"]
    lines = [
        example.setup, *captions,
        f'augmenter = ganlib.as_augmenter("{name}", steps=3000).fit({example.examples}{given})',
        f"{made} = augmenter.sample(100)",
        "print(made[:5])" if rows else "print(made.shape)",
    ]  # fmt: skip
    if sealed:
        own += ["from serving.artifact import load_artifact", "from serving.generator import Generator"]
        named = ", [generator.conditions[0]] * 5" if condition else ""
        made = f"generator.frame(5{named}, seed=1)" if rows else f"generator.sample(5{named}, seed=1).shape"
        lines += [
            f'ganlib.seal(augmenter, "{name}-sampler.onnx"){_SEALED}',
            f'generator = Generator(load_artifact("{name}-sampler.onnx"))',
            f"print({made})",
        ]
    title = f"As an augmenter: train, {'seal, ' if sealed else ''}sample."
    if rows and condition:
        title += f" By the command: `ganlib augment --data scarce.csv --label class --output more.csv --model {name}`."
    form = f"augmenter, {kind}, {condition or 'no condition'}, {sealed}, {by_example}"
    return Block(form, title, _written(example.imports, own, *lines))


def _translator(entry: Entry, kind: str) -> Block:
    if not _readable(entry, kind):
        return _on_toy(entry)
    name, paired = entry.name, entry.build.paired  # type: ignore[attr-defined]
    imports, setup = _domains(entry, kind, paired)
    small = dict(entry.toy.config) if kind == "image" else {}  # the paper's networks are too deep for small images
    options = "".join(f", {option}={shown(value)}" for option, value in small.items())
    made = f'translator = ganlib.as_translator("{name}", steps=1000{options}).fit(a, b)'
    own = ["import ganlib"]
    lines = [
        *setup,
        made if len(made) <= _WIDTH else made.replace('("', '(\n    "', 1).replace(").fit", "\n).fit"),
        'print(translator.translate(a[:5], to="b").shape)',
    ]
    if TranslatesBack in entry.abilities:
        lines.append('print(translator.translate(b[:5], to="a").shape)')
    own += ["from serving.artifact import load_artifact", "from serving.translator import Translator"]
    lines += [
        f'ganlib.seal(translator, "{name}.onnx"){_SEALED}',
        f'print(Translator(load_artifact("{name}.onnx")).translate(a[:5]).shape)',
    ]
    form = f"translator, {kind}, {paired}, {TranslatesBack in entry.abilities}"
    if entry.toy.domains:
        form += f", {name}"
    foreign = [line for line in imports if not line.startswith("from ganlib")]
    own += [line for line in imports if line not in foreign]
    return Block(form, "As a translator: train, translate, seal.", _written(foreign, own, *lines))


def _domains(entry: Entry, kind: str, paired: bool) -> tuple[list[str], list[str]]:
    """Imports and lines that set domains ``a`` and ``b``: the toy's, or the example's."""
    if own := entry.toy.domains:
        lines = own.splitlines()
        imports = [line for line in lines if line.startswith(("from ", "import "))]
        return imports, [line for line in lines if line not in imports]
    example = EXAMPLES[kind]
    order = f"# two domains, in {'one' if paired else 'any'} order"
    return [*example.imports], [example.setup, f"a, b = {example.domains[0]}, {example.domains[1]}  {order}"]


def _readable(entry: Entry, kind: str) -> bool:
    """Whether the toy has domains for the page, or the model accepts the kind's example: pose_warp, which needs maps of
    joints, does not."""
    if entry.toy.domains or kind != "image":
        return True
    try:
        entry.create(DataSpec({"x": _DIGITS, "x_b": _DIGITS}), **entry.toy.config)
    except ConfigError:
        return False
    return True


_TRAINING = "from ganlib.training import Trainer, TrainerConfig"
_SPEC = "from ganlib.data.spec import DataSpec"


def _classifier(entry: Entry, kind: str) -> Block:
    if "x_b" in entry.toy.data(0):
        return _adapted(entry)
    code = _written(
        ("import torch", "from sklearn.datasets import load_digits"),
        ("import ganlib", _SPEC, "from ganlib.models.gan.semi_supervised import with_labels", _TRAINING),
        "digits = load_digits()",
        "x, y = torch.as_tensor(digits.images / 8 - 1, dtype=torch.float32)[:, None], torch.as_tensor(digits.target)",
        "torch.manual_seed(0)",
        f'model = ganlib.create("{entry.name}", DataSpec.image(1, 8, 8, classes=10))',
        "data = with_labels(x, x[:100], y[:100])  # all images, and the labels of a hundred",
        "Trainer(TrainerConfig(steps=3000, batch_size=100, ema=0.99)).fit(model, data)",
        "print((model.classify(x[100:]) == y[100:]).float().mean())  # accuracy",
    )
    return Block("classifier", "As a classifier: train from few labels, classify.", code)


def _adapted(entry: Entry) -> Block:
    code = _written(
        ("import numpy as np", "import torch", "from sklearn.datasets import make_moons"),
        ("import ganlib", _SPEC, f"from {entry.build.__module__} import with_target", _TRAINING),
        "x, y = make_moons(1000, noise=0.1, random_state=0)",
        "cosine, sine = np.cos(0.6), np.sin(0.6)",
        "turned, hidden = x[500:] @ [[cosine, sine], [-sine, cosine]], torch.as_tensor(y[500:])  # 35 degrees",
        "x, x_b = (torch.as_tensor(v, dtype=torch.float32) for v in (x[:500], turned))",
        "torch.manual_seed(0)",
        f'model = ganlib.create("{entry.name}", DataSpec.vector(2, classes=2))',
        "data = with_target(x, torch.as_tensor(y[:500]), x_b)  # labels of the first domain alone",
        "Trainer(TrainerConfig(steps=1000, batch_size=64)).fit(model, data)",
        "print((model.eval().classify(x_b) == hidden).float().mean())  # accuracy in the second domain",
    )
    return Block("classifier", "As a classifier of a domain without labels: train, classify.", code)


def _segmenter(entry: Entry, kind: str) -> Block:
    code = _written(
        ("import torch",),
        ("import ganlib", "from ganlib.data.spec import DataSpec, Image, LabelMap",
         "from ganlib.models.translation.dann import with_target",
         "from ganlib.testing.toys.scenes import mean_iou, scenes", _TRAINING),
        'x, y = scenes(0, "a")  # images (n, 1, 24, 24) in [-1, 1], and the class of each pixel (n, 24, 24), 0 to 2',
        'x_b, hidden = scenes(1, "b")  # scenes of another look, whose labels only judge',
        "torch.manual_seed(0)",
        'spec = DataSpec({"x": Image(1, 24, 24), "x_b": Image(1, 24, 24), "y": LabelMap(3, 24, 24)})',
        f'model = ganlib.create("{entry.name}", spec)',
        "Trainer(TrainerConfig(steps=1000, batch_size=32, ema=0.98)).fit(model, with_target(x, y, x_b))",
        "print(mean_iou(model.eval().segment(x_b), hidden))  # mean intersection over union",
    )  # fmt: skip
    return Block("segmenter", "As a segmenter of a domain without labels: train, segment.", code)


def _density(entry: Entry) -> Block:
    flat = entry.toy.spec.kind == "vector"
    data = "make_moons(2000, noise=0.1, random_state=0)[0]" if flat else "load_digits().images / 8 - 1"
    spec = "DataSpec.vector(2)" if flat else "DataSpec.image(1, 8, 8)"
    code = _written(
        ("import torch", f"from sklearn.datasets import {'make_moons' if flat else 'load_digits'}"),
        ("import ganlib", _SPEC, _TRAINING),
        f"x = torch.as_tensor({data}, dtype=torch.float32){'' if flat else '[:, None]'}",
        "torch.manual_seed(0)",
        f'model = ganlib.create("{entry.name}", {spec})',
        'Trainer(TrainerConfig(steps=1000, batch_size=256)).fit(model, {"x": x})',
        "print(model.log_prob(x[:5]))  # nats",
    )
    form = f"density, {'points' if flat else 'image'}"
    return Block(form, "As a density: log-probabilities of examples.", code)


def _on_toy(entry: Entry) -> Block:
    """For data that no estimator reads: the model's toy problem."""
    task, used = entry.tasks[0], ["print(toy.measure, toy.level(model, 0))"]
    if "behaviour" in entry.tasks:
        task = "behaviour"
        used = [
            'states = data["x"][:5, : -model.actions]  # an example is a state and a one-hot action',
            "print(model.act(states))",
        ]
    elif Translates in entry.abilities:
        used = ['print(model.eval().translate(data["x"][:5]).shape)']
    code = _written(
        ("import torch",),
        ("import ganlib", "from ganlib.registry import entry", _TRAINING),
        f'toy = entry("{entry.name}").toy  # a small problem with data, options and a level',
        "data = toy.data(0)",
        "torch.manual_seed(0)",
        f'model = ganlib.create("{entry.name}", toy.spec, **toy.config)',
        "Trainer(TrainerConfig(steps=1000, batch_size=64)).fit(model, data)",
        *used,
    )
    return Block(task, "Train on the toy problem, and use.", code)
