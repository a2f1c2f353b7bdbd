"""Tables: a schema, inferred from training rows or read from a file, says what the columns are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pipelines.files import check_output as check_file
from pipelines.readers import Contrast, JobData, Learned
from pipelines.real_rows import FORMATS
from pipelines.rows import Labels, read_labels
from pipelines.schemas import differences, schema_of, unused_columns
from pipelines.sections import DataSettings
from serving.wording import listed

if TYPE_CHECKING:
    import pandas as pd

    from ganlib.data.schema import Schema
    from pipelines.readers.table_rows import TableGeneration
    from pipelines.settings import Settings
    from serving.windows import Windows

FILE = "schema.yaml"


def opened(path: str, _: str | None) -> tuple[pd.DataFrame, str]:
    """The table and its fingerprint."""
    from ganlib.data.inference import check_frame
    from ganlib.data.read import read_table
    from ganlib.export import fingerprint

    frame = read_table(path)
    check_frame(frame)
    return frame, fingerprint(frame)


def check_output(output: Path, source: str) -> None:
    """Raise UsageError, before any work, if augmented rows cannot be written there."""
    check_file(output, tuple(FORMATS), source=source)


@dataclass(frozen=True)
class TableData:
    """A table; implements ``JobData``."""

    settings: DataSettings
    columns: pd.DataFrame
    fingerprint: str
    modality: ClassVar[str] = "table"
    noun: ClassVar[str] = "row"
    runs: ClassVar[None] = None
    levelled: ClassVar[None] = None
    windows: ClassVar[None] = None

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def _features(self) -> pd.DataFrame:
        return self.columns.drop(columns=[self.settings.label]) if self.settings.label else self.columns

    def labels(self) -> Labels:
        """Known anomalies by the label column."""
        return read_labels(self.columns, self.settings.label, self.settings.normal)

    def content(self, with_label: bool = False) -> pd.DataFrame:
        """The columns; raises DataError if none of those that are used distinguishes rows."""
        from ganlib.errors import DataError

        features = self._features
        used = features.drop(columns=[n for n in (*self.settings.drop, *self.settings.ids) if n in features])
        # Otherwise a split fails with a vaguer message.
        if not with_label and (used.shape[1] == 0 or used.nunique().max() < 2):
            names = listed(list(map(str, used.columns)), 5)
            raise DataError(f"no column distinguishes rows: each is empty or constant ({names}); give other data")
        return self.columns if with_label else features

    def part(self, rows: Sequence[int]) -> pd.DataFrame:
        """Rows without their label."""
        return self._features.iloc[rows].reset_index(drop=True)

    def learn(self, fit: Sequence[int], anomalous: np.ndarray | None, folder: Path) -> Learned:
        """Infer the schema from the training rows, or read it, and look for columns that leak the label."""
        from ganlib.data.describing import comments
        from ganlib.data.roles import find_roles

        schema = schema_of(self.settings, self.columns, fit, for_generation=anomalous is None)
        if anomalous is None:
            schema.save(folder / FILE)
            return Learned()
        found = find_roles(self.columns, schema, anomalous)
        schema.save(folder / FILE, comments(found))
        return Learned([f.to_dict() for f in found], differences(schema, self.columns, self.settings))

    def read_by(self, model: Windows | None, rows: Sequence[int], x: Any) -> Any:
        """As they are."""
        return x

    def recall(self, folder: Path) -> None:
        """What was saved is read by those who need it."""

    def facts(self) -> dict[str, Any]:
        """Nothing beside the columns."""
        return {}

    def described(self, folder: Path, findings: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The columns of the schema."""
        from ganlib.data.describing import describe_columns
        from ganlib.data.roles import Finding

        schema = _schema(folder)
        known = {c.name for c in schema.columns}
        # A generator's schema lacks the label.
        frame = self._features if self.settings.label and self.settings.label not in known else self.columns
        return describe_columns(frame, schema, [Finding(**values) for values in findings])

    def parameters(self, folder: Path) -> dict[str, Any]:
        """The schema."""
        return {"schema": _schema(folder)}

    def contrast(self, part: pd.DataFrame, folder: Path, seed: int) -> Contrast:
        """Rows, and the same rows with a third of their columns permuted."""
        import pandas as pd

        from ganlib.detect import permuted_columns

        permuted = permuted_columns(part, seed, columns=[c.name for c in _schema(folder).features])
        both = pd.concat([part, permuted], ignore_index=True)
        return Contrast(both, np.repeat([False, True], len(part)), "AUROC against permuted columns")

    def baselines(self, fit: pd.DataFrame, judged: pd.DataFrame, folder: Path, seed: int) -> dict[str, np.ndarray]:
        """PCA reconstruction and IsolationForest on the encoded rows."""
        import torch
        from sklearn.ensemble import IsolationForest

        from ganlib.data.encoder import TableEncoder
        from ganlib.metrics.detection import pca_scores

        encoder = TableEncoder(_schema(folder)).fit(fit)
        x, z = encoder.transform(fit), encoder.transform(judged)
        forest = IsolationForest(random_state=seed).fit(x)
        pca = pca_scores(torch.from_numpy(x), torch.from_numpy(z)).numpy()
        return {"PCA": pca, "IsolationForest": -forest.score_samples(z)}

    def privacy(self, file: Path, fit: Sequence[int]) -> str:
        """Rare texts and training rows in the file."""
        from pipelines.privacy import check_privacy

        return check_privacy(file, self.columns.iloc[fit])

    def _used(self, rows: Sequence[int]) -> pd.DataFrame:
        return self.columns.drop(columns=unused_columns(self.settings, self.columns)).iloc[rows].reset_index(drop=True)

    def labelled(self, rows: Sequence[int]) -> tuple[pd.DataFrame, pd.Series]:
        """The used columns, and the label."""
        import pandas as pd

        label, used = str(self.settings.label), self._used(rows)
        return used.drop(columns=[label]), pd.Series(used[label].to_numpy(), name=label)

    def generation(self, settings: Settings, output: Path) -> TableGeneration:
        """Real rows of the files, then generated ones."""
        from pipelines.readers.table_rows import TableGeneration

        return TableGeneration(settings, self.columns, output)

    def beside(self, other: JobData) -> TableData:
        """The table without the label, ``drop`` and ``ids`` of the other one's columns."""

        def own(name: str | None) -> bool:
            return name in self.columns or name not in other.columns

        data = self.settings
        kept: dict[str, Any] = {key: tuple(filter(own, getattr(data, key))) for key in ("drop", "ids")}
        return replace(self, settings=data.model_copy(update=kept | {"label": data.label if own(data.label) else None}))

    def drawn(self, augmenter: Any, folder: Path) -> None:
        """Nothing."""

    def lift(self, augmenter: Any, fit: Sequence[int], test: Sequence[int]) -> dict[str, float]:
        """Generated rows that balance the classes, and the figures of classifiers trained with them."""
        from ganlib.augment.arms import judge_split
        from ganlib.augment.counts import to_balance

        wanted = to_balance(augmenter.class_counts_)
        if len(test) == 0 or not wanted.any():
            return {}
        made = augmenter.sample(conditions={c: int(n) for c, n in zip(augmenter.classes_, wanted, strict=True) if n})
        return judge_split(self._used(fit), made, self._used(test), str(self.settings.label)).arms


def _schema(folder: Path) -> Schema:
    from ganlib.data.schema import Schema

    return Schema.load(folder / FILE)


DATA = TableData
