"""Spark reads a folder of scores as it is, and scores by a registered model. Needs pyspark and a Java of its own."""

import json
import os
import subprocess
import sys

import pytest
from pipeline_data import sensor_table

from serving.batch import open_scores, score_batch

_SCRIPT = """
import json, sys
import mlflow
from pyspark.sql import SparkSession
from pyspark.sql.functions import struct

uri, rows, scores = sys.argv[1:]
mlflow.set_tracking_uri(uri)
spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
frame = spark.read.parquet(rows)
names = mlflow.models.get_model_info("models:/demo/1").signature.inputs
frame = frame.selectExpr("number", *[f"cast({c.name} as {c.type.name}) {c.name}" for c in names])
score = mlflow.pyfunc.spark_udf(spark, "models:/demo/1", env_manager="local")
made = frame.withColumn("s", score(struct(*[c.name for c in names]))).selectExpr("number", "s.*")
found = spark.read.parquet(scores)
keep = ["number", "anomaly_score", "p_value", "is_anomaly"]
print("FOUND", json.dumps([sorted(map(list, t.select(keep).collect())) for t in (made, found)]))
"""


@pytest.mark.services
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_spark_reads_the_scores_and_makes_the_same(registry, template, tmp_path):
    pytest.importorskip("pyspark")
    frame = sensor_table(90, seed=5).drop(columns=["fault"]).assign(operator="ann", number=range(90))
    frame["when"] = frame["when"].astype(str)
    frame.to_parquet(tmp_path / "rows.parquet", index=False)
    model = registry.resolve("models:/demo/1").path
    score_batch(model, tmp_path / "rows.parquet", tmp_path / "scores", keep=["number"])
    command = [sys.executable, "-c", _SCRIPT, registry.uri, tmp_path / "rows.parquet", tmp_path / "scores"]
    env = os.environ | {"PYSPARK_PYTHON": sys.executable, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=280)
    line = next((line for line in done.stdout.splitlines() if "FOUND" in line), None)
    assert line is not None, done.stderr[-3000:]
    made, found = json.loads(line.split("FOUND", 1)[1])
    assert made == found and len(made) == 90 == open_scores(tmp_path / "scores").num_rows
