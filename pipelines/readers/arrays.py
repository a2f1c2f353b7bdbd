"""Images and series: arrays of examples, with columns beside them that may be labels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.errors import UsageError
from pipelines.files import check_output as check_file
from pipelines.readers import Contrast, JobData, Learned
from pipelines.rows import Labels, read_labels
from pipelines.sections import DataSettings

if TYPE_CHECKING:
    import pandas as pd

    from ganlib.augment.arms import Judged
    from pipelines.readers.array_rows import ExampleGeneration
    from pipelines.settings import Settings
    from serving.artifact import Artifact
    from serving.windows import Windows

MOST_FIT = 1000  # examples that the baselines learn from
MOST_NUMBERS = 1024  # numbers of an example that the baselines read
TILES = 3
SHOWN = 8
_FOR_TABLES = {
    "schema_file": "--schema", "drop": "--drop", "ids": "--id", "group": "data.group",
}  # fmt: skip


def opened(path: str, modality: str | None) -> tuple[tuple[Any, np.ndarray, pd.DataFrame], str]:
    """(library reader, examples, columns), and the fingerprint."""
    import pandas as pd

    from ganlib.data.read import read_examples
    from ganlib.data.readers import reader_for
    from ganlib.errors import DataError
    from ganlib.export import fingerprint

    found = read_examples(path, modality=modality)
    x = found.pop("x")
    try:
        reader = reader_for(x, modality).fit(x)
    except DataError as error:
        raise DataError(f"{path}: {_as_options(str(error))}") from error
    columns = pd.DataFrame({name: list(values) for name, values in found.items()}, index=range(len(x)))
    return (reader, x, columns), fingerprint(columns.assign(content=_digests(x)))


def _as_options(text: str) -> str:
    """A message of the library's, with the command's options."""
    for kind in ("image", "series"):
        text = text.replace(f"modality='{kind}'", f"--modality {kind}")
    return text


def _digests(x: np.ndarray) -> list[str]:
    return [hashlib.sha256(np.ascontiguousarray(example).tobytes()).hexdigest() for example in x]


def check_output(output: Path, source: str) -> None:
    """Raise UsageError, before any work, if augmented examples cannot be written there."""
    if output.suffix and output.suffix.lower() != ".npz":
        raise UsageError(f"the output {output} must end in .npz, or be a folder of PNG files, for images and series")
    if not output.suffix and output.exists():
        raise UsageError(f"{output} exists already; choose another --output")
    check_file(output, source=source)


class ExampleData:
    """Images or series; implements ``JobData``."""

    noun = "row"
    unused = _FOR_TABLES
    runs: np.ndarray | None = None
    levelled: np.ndarray | None = None
    windows: Windows | None = None

    def __init__(self, settings: DataSettings, content: tuple[Any, np.ndarray, pd.DataFrame], fingerprint: str) -> None:
        self.settings, self.fingerprint = settings, fingerprint
        self._format, self.x, self.columns = content
        self.modality: str = self._format.modality
        for name, option in self.unused.items():
            if getattr(settings, name):
                raise UsageError(f"{option} {self._not_for()}; leave it out")

    @property
    def _what(self) -> str:
        return {"image": "images"}.get(self.modality, "series")

    def _not_for(self) -> str:
        return f"is for tables, but {self.settings.path} holds {self._what}"

    def __len__(self) -> int:
        return len(self.x)

    def labels(self) -> Labels:
        """Known anomalies by the label column."""
        return read_labels(self.columns, self.settings.label, self.settings.normal)

    def content(self, with_label: bool = False) -> pd.DataFrame:
        """The examples' digests, or the columns that a split by group or time reads."""
        import pandas as pd

        from ganlib.errors import DataError

        digests = _digests(self.x)
        if len(set(digests)) < 2:
            raise DataError(f"all {len(self)} examples of {self.settings.path} are equal; give other data")
        return pd.DataFrame({"content": digests}) if self.settings.split == "hash" else self.columns

    def part(self, rows: Sequence[int]) -> np.ndarray:
        """Examples ``(n, ...)``."""
        return self.x[np.asarray(rows, dtype=np.int64)]

    def learn(self, fit: Sequence[int], anomalous: np.ndarray | None, folder: Path) -> Learned:
        """Arrays describe themselves."""
        return Learned()

    def read_by(self, model: Windows | None, rows: Sequence[int], x: Any) -> Any:
        """As they are."""
        return x

    def recall(self, folder: Path) -> None:
        """Nothing was saved."""

    def facts(self) -> dict[str, Any]:
        """Kind, shape and type."""
        return {"kind": self.modality, "shape": " x ".join(map(str, self.x.shape[1:])), "type": str(self.x.dtype)}

    def described(self, folder: Path, findings: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """No columns are read."""
        return ()

    def parameters(self, folder: Path) -> dict[str, Any]:
        """The modality."""
        return {"modality": self.modality}

    def contrast(self, part: np.ndarray, folder: Path, seed: int) -> Contrast:
        """Examples, and the same with a third of their parts taken from other examples."""
        both = np.concatenate([part, permuted_parts(part, self._axes, seed)])
        return Contrast(both, np.repeat([False, True], len(part)), f"AUROC against {self._what} with permuted parts")

    def pictures(self, x: np.ndarray) -> np.ndarray:
        """Images as files hold them: ``(n, h, w)`` if grey, else ``(n, h, w, 3)``; series unchanged."""
        if self.modality == "series":
            return x
        last = x.transpose(0, 2, 3, 1) if self._format.channels_first else x
        return last[..., 0] if last.ndim == 4 and last.shape[3] == 1 else last

    @property
    def _axes(self) -> tuple[int, ...]:
        """The axes of an example that are height and width, or time."""
        if self.modality == "series":
            return (2,)
        return (2, 3) if self._format.channels_first else (1, 2)

    def baselines(self, fit: np.ndarray, judged: np.ndarray, folder: Path, seed: int) -> dict[str, np.ndarray]:
        """PCA reconstruction, and the distance to the fifth nearest training example, on block means."""
        import torch
        from sklearn.neighbors import NearestNeighbors

        from ganlib.metrics.detection import pca_scores

        rows = np.random.default_rng(seed).permutation(len(fit))[:MOST_FIT]
        x, z = self._numbers(fit[rows]), self._numbers(judged)
        near = NearestNeighbors(n_neighbors=min(5, len(x))).fit(x).kneighbors(z)[0][:, -1]
        return {"PCA": pca_scores(torch.from_numpy(x), torch.from_numpy(z)).numpy(), "nearest examples": near}

    def _numbers(self, x: np.ndarray) -> np.ndarray:
        """Examples as rows of at most ``MOST_NUMBERS`` numbers: means over blocks of large ones."""
        values = x.astype(np.float32)
        while values[0].size > MOST_NUMBERS and max(values.shape[a] for a in self._axes) > 1:
            axis = max(self._axes, key=lambda a: values.shape[a])
            half = values.shape[axis] // 2
            pairs = np.split(values.take(range(2 * half), axis), half, axis)
            values = np.concatenate([pair.mean(axis, keepdims=True) for pair in pairs], axis)
        return values.reshape(len(values), -1)

    def privacy(self, file: Path, fit: Sequence[int]) -> str:
        """Training examples in the file, and generated examples that copy one."""
        from pipelines.privacy import SAMPLED, check_examples

        part = self.part(fit)

        def made(artifact: Artifact) -> np.ndarray:
            names = list(artifact.metadata["conditions"] or [])
            classes = [names[i % len(names)] for i in range(SAMPLED)] if names else None
            return self._numbers(self.generated(artifact, SAMPLED, classes, seed=0))

        return check_examples(file, part, self._numbers(part), made)

    def generated(self, artifact: Artifact, rows: int, classes: Sequence[str] | None, seed: int) -> np.ndarray:
        """Examples of a sealed augmenter, in the axes, type and range of the data; raises DataError if they differ."""
        import torch

        from ganlib.errors import DataError
        from serving.generator import Generator

        made = Generator(artifact).sample(rows, classes, seed)
        if self.modality == "image" and made.dtype == np.uint8:
            tensor = torch.from_numpy(made.transpose(0, 3, 1, 2) / np.float32(127.5) - 1)
        else:
            tensor = torch.from_numpy(made)
        found = self._format.restore(tensor)
        if artifact.modality != self.modality or found.shape[1:] != self.x.shape[1:]:
            raise DataError(
                f"the augmenter generates {artifact.modality} data of shape {artifact.shape}, and {self.settings.path} "
                f"holds {self._what} of shape {self.x.shape[1:]}; choose another model"
            )
        return found

    def labelled(self, rows: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Examples and their classes, as text."""
        from ganlib.data.values import as_strings

        return self.part(rows), as_strings(self.columns[str(self.settings.label)]).astype(str)[np.asarray(rows)]

    def generation(self, settings: Settings, output: Path) -> ExampleGeneration:
        """An .npz file, or a folder of PNG files."""
        from pipelines.readers.array_rows import ExampleGeneration

        return ExampleGeneration(settings, self, output)

    def beside(self, other: JobData) -> ExampleData:
        """The same: columns beside examples are not translated."""
        return self

    def drawn(self, augmenter: Any, folder: Path) -> None:
        """Images of up to eight classes; of a model that is conditioned on them alone, walks and swaps too."""
        from ganlib.report.pictures import sample_grid
        from ganlib.report.run import picture_run

        if self.modality != "image":
            return
        algorithm, classes = augmenter.algorithm_, augmenter.classes_[:SHOWN]
        by_class_alone = algorithm.by_class and not (algorithm.spec.attributes or algorithm.sampler().by_example)
        if by_class_alone and len(classes) == len(augmenter.classes_):
            picture_run(algorithm, augmenter.history_, folder, names=list(map(str, classes)))
            return
        given = {"conditions": dict.fromkeys(classes, SHOWN)} if len(classes) else {"n": SHOWN * SHOWN}
        made, _ = augmenter.sample(**given)
        sample_grid(self._format.read(made), folder / "samples.png", columns=SHOWN)

    def lift(self, augmenter: Any, fit: Sequence[int], test: Sequence[int]) -> dict[str, float]:
        """Generated examples that balance the classes, and the figures of networks trained on them."""
        from ganlib.augment.counts import to_balance

        wanted = to_balance(augmenter.class_counts_)
        if len(test) == 0 or not wanted.any():
            return {}
        counts = {c: int(n) for c, n in zip(augmenter.classes_, wanted, strict=True) if n}
        return self.judged(fit, augmenter.sample(conditions=counts), test, 0).arms

    def judged(self, fit: Sequence[int], made: tuple[np.ndarray, np.ndarray], test: Sequence[int], seed: int) -> Judged:
        """The figures of ``ganlib.augment.example_arms``; ``made`` are examples and classes."""
        from ganlib.augment.example_arms import judge_examples

        return judge_examples(self.labelled(fit), made, self.labelled(test), self.modality, seed)


def permuted_parts(x: np.ndarray, axes: Sequence[int], seed: int) -> np.ndarray:
    """Take a random third of each example's parts from other examples, at the same place.

    Parts are a grid of three by three over height and width, or six stretches of time. All values occur in the data;
    only their dependence is broken. Raises DataError for fewer than two examples.
    """
    from ganlib.errors import DataError

    if len(x) < 2:
        raise DataError(f"permuting parts needs at least two examples; got {len(x)}")
    rng = np.random.default_rng(seed)
    cuts = TILES if len(axes) > 1 else 2 * TILES
    edges = [np.unique(np.linspace(0, x.shape[a], min(cuts, x.shape[a]) + 1).astype(int)) for a in axes]
    places = np.indices([len(e) - 1 for e in edges]).reshape(len(axes), -1).T
    chosen = rng.random((len(x), len(places))).argsort(1) < max(1, round(len(places) / 3))
    out = x.copy()
    for number, place in enumerate(places):
        order = rng.permutation(len(x))
        source = np.empty(len(x), dtype=np.int64)
        source[order] = np.roll(order, 1)  # no example keeps its own part
        rows = np.flatnonzero(chosen[:, number])
        part: list[Any] = [slice(None)] * x.ndim
        for axis, edge, position in zip(axes, edges, place, strict=True):
            part[axis] = slice(edge[position], edge[position + 1])
        inside = tuple(part[1:])
        out[(rows, *inside)] = x[(source[rows], *inside)]
    return out


DATA = ExampleData
