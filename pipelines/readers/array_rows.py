"""Augmenting images and series: an .npz file, or a folder of PNG files, whose generated examples are marked."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.classes import check_learnable
from pipelines.errors import UsageError
from pipelines.files import placing, written
from pipelines.readers.generation import (
    Build,
    Made,
    Report,
    class_counts,
    held_out_by,
    needs_label,
    needs_rows,
    wanted_counts,
    wanted_of,
)

if TYPE_CHECKING:
    from ganlib.augment.lift import Lift
    from pipelines.readers.arrays import ExampleData
    from pipelines.settings import Settings
    from serving.artifact import Artifact


class ExampleGeneration:
    """Implements ``Generation`` for the examples of a reader."""

    def __init__(self, settings: Settings, reader: ExampleData, output: Path) -> None:
        self.settings, self.chosen, self.reader, self.output = settings, settings.augment, reader, output
        self.label, self.seed = settings.data.label, settings.training.random_state
        self.budget = self.chosen.budget or "5min"

    def check(self, sealed: bool) -> None:
        """Raise UsageError if a folder of PNG files cannot hold the data, DataError if it cannot be learned from."""
        from ganlib.data.read import need_column

        for name, given in (("--where", self.chosen.where), ("--target numeric", self.chosen.target == "numeric")):
            if given:
                raise UsageError(f"{name} is for tables, but {self.reader.modality} data are no columns; leave it out")
        x = self.reader.x
        if self.output.suffix.lower() != ".npz" and (self.reader.modality != "image" or x.dtype != np.uint8):
            raise UsageError(
                f"the output {self.output} would be a folder of PNG files, which hold images of bytes, not "
                f"{self.reader.modality} data of type {x.dtype}; end it in .npz"
            )
        if not sealed:
            check_learnable(self.reader.columns, self.label, self.chosen)
        elif self.label is not None:
            need_column(self.reader.columns, self.label)

    @property
    def _classes(self) -> np.ndarray | None:
        """Each example's class as text, empty if missing."""
        from ganlib.data.values import as_strings

        return None if self.label is None else as_strings(self.reader.columns[self.label]).astype(str)

    def classes(self) -> dict[str, int]:
        """Real examples by class."""
        return class_counts(self._classes)

    def wanted(self) -> dict[str, int]:
        """Examples that would be generated of each class."""
        return wanted_of(self.chosen, self.classes()) if self.label is not None else {}

    def notes(self) -> list[str]:
        """Nothing."""
        return []

    def lift(self, build: Build, report: Callable[[int, int], None]) -> Lift:
        """The lift by a convolutional network; classes of fewer than four examples are left out."""
        import pandas as pd

        from ganlib.augment.arms import EXAMPLES, Judged
        from ganlib.augment.example_arms import measure_of_examples
        from ganlib.augment.lift import MOST_SPLITS, Shown, judgeable, lift_over
        from ganlib.augment.splitting import HELD_OUT, held_out_splits
        from ganlib.recipe import seconds_of

        classes: Any = self._classes
        kept = judgeable(pd.Series(classes).where(classes != ""), str(self.label))
        size, shown = max(HELD_OUT, len(np.unique(classes[kept])) / len(kept)), list[Shown]()

        def split(number: int, fit: np.ndarray, test: np.ndarray) -> Judged:
            one = build(modality=self.reader.modality, verbose=False, random_state=(self.seed + number) % 2**32)
            augmenter = one.quick(self.reader.modality).fit(*self.reader.labelled(kept[fit]))
            made = augmenter.sample(conditions=self._wanted(augmenter, 1 - size))
            if not shown:
                parts = [(self.reader.pictures(x), y) for x, y in (self.reader.labelled(kept[fit]), made)]
                shown.append(Shown(self.reader.modality, *parts))
            return self.reader.judged(kept[fit], made, kept[test], self.seed + number)

        repeats, chosen = self.chosen.repeats, held_out_by(self.settings.data, self.reader.columns)
        beside = {name: values[kept] for name, values in chosen.items()}
        splits = held_out_splits(classes[kept], repeats or MOST_SPLITS, self.seed, share=size, **beside)
        lift = lift_over(
            splits, split, measure_of_examples(self.reader.modality), repeats=repeats,
            seconds=seconds_of(self.budget), report=report, kind=EXAMPLES,
        )  # fmt: skip
        return replace(lift, shown=shown[0])

    def _wanted(self, augmenter: Any, share: float = 1.0) -> dict[Any, int]:
        """The examples to generate of each class; ``share`` scales the number requested."""
        chosen, names = self.chosen, augmenter.classes_.astype(str)
        if chosen.rows is not None:
            chosen = chosen.model_copy(update={"rows": max(1, round(chosen.rows * share))})
        counts = wanted_counts(chosen, names, augmenter.class_counts_)
        return {name: int(count) for name, count in zip(augmenter.classes_, counts, strict=True) if count}

    def fitted(self, build: Build) -> Made:
        """All examples, and generated ones; those without a class are not learned from."""
        augmenter, classes = build(modality=self.reader.modality, verbose=True), self._classes
        if classes is None:
            made = augmenter.fit(self.reader.x).sample(self.chosen.rows)
            return self._made(made, None)
        augmenter.fit(*self.reader.labelled(np.flatnonzero(classes != "").tolist()))
        return self._made(*augmenter.sample(conditions=self._wanted(augmenter)))

    def sealed(self, artifact: Artifact) -> Made:
        """All examples, and those of a sealed augmenter, labelled by its classes."""
        chosen, names = self.chosen, list(artifact.metadata["conditions"] or [])
        if not names:
            return self._made(self.reader.generated(artifact, needs_rows(chosen.model, chosen), None, self.seed), None)
        needs_label(chosen.model, self.label, names)
        held = np.array([int((self._classes == name).sum()) for name in names])
        classes = np.repeat(names, wanted_counts(chosen, np.array(names), held)).tolist()
        return self._made(self.reader.generated(artifact, len(classes), classes, self.seed), np.array(classes))

    def _made(self, made: np.ndarray, labels: np.ndarray | None) -> Made:
        from ganlib.data.frames import MARK

        real = 0 if self.chosen.only_synthetic else len(self.reader)
        rows = {"x": np.concatenate([self.reader.x[:real], made])}
        for name, values in self.reader.columns.items():
            filled = labels if name == self.label and labels is not None else _nothing(values, len(made))
            rows[str(name)] = joined(values.to_numpy()[:real], filled)
        rows[MARK] = np.arange(real + len(made)) >= real
        names, counts = np.unique([] if labels is None else labels, return_counts=True)
        return Made(rows, real, dict(zip(map(str, names), counts.tolist(), strict=True)), len(made))

    def write(self, made: Made, report: Report) -> None:
        """Write the file or the folder; raises DataError if the data has changed meanwhile."""
        from ganlib.data.frames import MARK
        from ganlib.errors import DataError
        from pipelines.readers import read_data

        if read_data(self.settings.data).fingerprint != self.reader.fingerprint:
            raise DataError(f"{self.settings.data.path} changed while the job ran; run it again")
        if self.output.suffix.lower() == ".npz":
            with written(self.output) as temporary, temporary.open("wb") as file:
                np.savez(file, **made.rows)
        else:
            images = self.reader.pictures(made.rows["x"])
            marks = made.rows[MARK]
            write_folder(images, marks, _names(marks, made.rows.get(self.label or "")), self.output)


def _nothing(values: Any, rows: int) -> np.ndarray:
    """Missing values for generated examples: NaN among numbers, otherwise empty text."""
    return np.full(rows, np.nan) if values.dtype.kind in "iufb" else np.full(rows, "", dtype=object)


def joined(real: np.ndarray, made: np.ndarray) -> np.ndarray:
    """Both, as numbers if they are numbers, else as text: an .npz file holds no objects."""
    if real.dtype.kind in "iufb":
        numbers = np.array([float(value) if value not in ("", None) else np.nan for value in made.tolist()])
        whole = real.dtype.kind in "iub" and not np.isnan(numbers).any()
        return np.concatenate([real, numbers.astype(real.dtype)]) if whole else np.concatenate([real, numbers])
    texts = ["" if value is None or value != value else str(value) for value in [*real.tolist(), *made.tolist()]]
    return np.array(texts, dtype=str)


def _names(marks: np.ndarray, classes: np.ndarray | None) -> list[str]:
    """The names of files, in a folder for each class."""
    folders = [""] * len(marks) if classes is None else [f"{_folder_name(str(name))}/" for name in classes]
    return [
        f"{folder}{'synthetic' if synthetic else 'real'}-{number:06d}.png"
        for number, (folder, synthetic) in enumerate(zip(folders, marks, strict=True))
    ]


def write_folder(images: np.ndarray, marks: np.ndarray, names: Sequence[str], output: Path) -> None:
    """One PNG file an image; generated ones say so in their metadata."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Synthetic", "true")
    info.add_text("Software", "ganlib")
    temporary = output.with_name(f".{output.name}.tmp-{os.getpid()}")
    with placing(output):
        try:
            for image, synthetic, name in zip(images, marks, names, strict=True):
                file = temporary / name
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(file, pnginfo=info if synthetic else None)
            temporary.rename(output)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _folder_name(text: str) -> str:
    """A class as the name of a folder."""
    return "".join("_" if letter in "/\\\0" else letter for letter in text).strip(".") or "unlabelled"
