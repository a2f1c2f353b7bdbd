"""Makes the files of a format version, once, when the version is new: `python tests/golden/make.py tests/golden/vN`.

Never again for a version that is out: every later release must read these very files.
"""

import json
import shutil
import sqlite3
import sys
from pathlib import Path

import numpy as np
import pandas as pd


def table(rows, seed):
    """A made-up table of every column kind."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "amount": rng.lognormal(size=rows).round(4),
            "count": rng.integers(0, 50, rows),
            "flag": rng.random(rows) < 0.3,
            "kind": rng.choice(["a", "b", "c"], rows),
            "when": pd.date_range("2026-01-01", periods=rows, freq="7h", tz="UTC"),
        }
    )
    frame.loc[::9, "amount"] = np.nan
    return frame


def arrays(rows, seed):
    """Made-up grey images of bytes and series of two channels."""
    rng = np.random.default_rng(seed)
    images = (rng.random((rows, 1, 8)) * np.linspace(60, 250, 8)[:, None]).astype(np.uint8)
    phase, time = rng.uniform(0, 6, (rows, 1, 1)), np.linspace(0, 9, 24)
    return images, np.concatenate([300 + 20 * np.sin(time + phase), -1 + 0.1 * np.cos(time + phase)], 1)


def array_files(folder):
    """Detectors of images and series, which version 3 added, and their maps, which version 4 added."""
    import torch

    from ganlib.detect import as_detector
    from ganlib.export import seal
    from serving.artifact import load_artifact
    from serving.scorer import Scorer

    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    expected, new = {}, dict(zip(("image", "series"), arrays(20, 2), strict=True))
    for (name, fresh), data, model in zip(new.items(), arrays(300, 0), ("began", "reconstruction_vae"), strict=True):
        options = {"width": 2} if model == "began" else {"hidden": (8,)}
        seal(as_detector(model, steps=50, latent_dim=2, alpha=0.05, **options).fit(data), folder / f"{name}.onnx")
        scores = Scorer(load_artifact(folder / f"{name}.onnx")).score(fresh, explain=True)
        keys = ("anomaly_score", "p_value", "is_anomaly", "map")
        expected[name] = {key: getattr(scores, key).tolist() for key in keys}
    np.savez_compressed(folder / "rows.npz", **new)
    (folder / "expected.json").write_text(json.dumps(expected, indent=1))


def level_files(folder):
    """A detector of windows relative to the levels of two machines, which version 5 added, and readings of three."""
    import torch

    from ganlib.detect import as_detector
    from ganlib.export import seal
    from serving.batch import open_scores, score_batch

    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    data = arrays(300, 0)[1][:, :, :8]
    centre, scale = data.mean((0, 2)), data.std((0, 2))
    levels = {
        "keys": ["m0", "m1"], "centres": [centre.tolist(), (centre + [40, 3]).tolist()],
        "scales": [scale.tolist(), (2 * scale).tolist()], "centre": centre.tolist(), "scale": scale.tolist(),
    }  # fmt: skip
    windows = {
        "time": "at", "key": "machine", "channels": ["heat", "load"], "length": 8, "step": 1.0, "clock": "number",
        "levels": levels,
    }  # fmt: skip
    relative = (data - centre[:, None]) / scale[:, None]
    detector = as_detector("reconstruction_vae", steps=50, latent_dim=2, alpha=0.05, hidden=(8,)).fit(relative)
    seal(detector, folder / "windows.onnx", windows=windows)
    machine, new = np.repeat(["m0", "m1", "m2"], 24), np.concatenate(arrays(3, 2)[1], axis=1).T
    new[machine == "m1"] = (new[machine == "m1"] - centre) * 2 + centre + [40, 3]
    frame = pd.DataFrame({"machine": machine, "at": np.tile(np.arange(24.0), 3), "heat": new[:, 0], "load": new[:, 1]})
    frame.to_csv(folder / "rows.csv", index=False)
    score_batch(folder / "windows.onnx", folder / "rows.csv", folder / "out")
    scores = open_scores(folder / "out")
    expected = {name: scores[name].to_pylist() for name in ("source_row", "anomaly_score", "p_value", "is_anomaly")}
    shutil.rmtree(folder / "out")
    (folder / "expected.json").write_text(json.dumps(expected, indent=1))


def main(folder):
    if int(folder.name.removeprefix("v")) >= 5:
        return level_files(folder)
    if int(folder.name.removeprefix("v")) >= 3:  # tables are still written in version 2
        return array_files(folder)
    import torch

    from ganlib.augment import CVAEAugmenter
    from ganlib.detect import VAEDetector
    from ganlib.export import seal
    from pipelines.settings import commented_yaml
    from serving.artifact import load_artifact
    from serving.generator import Generator
    from serving.scorer import Scorer
    from serving.stream import run_stream

    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    detector = VAEDetector(steps=100, hidden=(8,), latent_dim=2, alpha=0.05).fit(table(400, 0))
    seal(detector, folder / "detector.onnx")
    detector.schema_.save(folder / "schema.yaml")
    frame = table(300, 1)
    augmenter = CVAEAugmenter(steps=50, hidden=(8,), latent_dim=2).fit(frame.drop(columns="kind"), frame["kind"])
    seal(augmenter, folder / "augmenter.onnx")
    (folder / "config.yaml").write_text(commented_yaml())
    new = table(20, 2)
    new.to_csv(folder / "rows.csv", index=False)
    scores = Scorer(load_artifact(folder / "detector.onnx")).score(new, explain=True)
    made = Generator(load_artifact(folder / "augmenter.onnx")).frame(6, list("abcabc"), seed=3)
    expected = {
        "anomaly_score": scores.anomaly_score.tolist(),
        "p_value": scores.p_value.tolist(),
        "is_anomaly": scores.is_anomaly.tolist(),
        "contributions": scores.contributions.tolist(),
        "made": json.loads(made.to_json(orient="records", date_format="iso")),
    }
    (folder / "expected.json").write_text(json.dumps(expected, indent=1))
    records = new.to_json(orient="records", lines=True, date_format="iso").splitlines()
    with sqlite3.connect(folder / "queue.db") as connection:
        connection.execute(
            "CREATE TABLE queue(id INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL, enqueued_at TEXT)"
        )
        connection.executemany(
            "INSERT INTO queue(body) VALUES (?)", [(r,) for r in [*records[:10], "{broken", *records[10:]]]
        )
    connection.close()
    # A stream's state half-way: the first eleven records are done.
    half = folder / "half.db"
    with sqlite3.connect(half) as connection:
        connection.execute(
            "CREATE TABLE queue(id INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL, enqueued_at TEXT)"
        )
        connection.executemany("INSERT INTO queue(body) VALUES (?)", [(r,) for r in [*records[:10], "{broken"]])
    connection.close()
    run_stream(folder / "detector.onnx", f"sqlite:{half}", folder / "state.db")
    connection = sqlite3.connect(folder / "state.db", isolation_level=None)
    connection.execute("UPDATE cursor SET consumer = 'queue:/data/queue.db'")
    connection.execute("VACUUM")
    connection.close()
    for leftover in (*folder.glob("half.db*"), *folder.glob("*-wal"), *folder.glob("*-shm")):
        leftover.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
