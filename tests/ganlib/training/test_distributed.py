"""Data-parallel training: two processes by torchrun give what one gives, or say why they cannot."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file

from ganlib.errors import ConfigError
from ganlib.training import Batch, TensorBatches, Trainer, TrainerConfig
from ganlib.training.ranks import Ranks, joined

WORKER = Path(__file__).with_name("distributed_worker.py")
CPU = torch.device("cpu")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def launch(folder):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--master-addr", "127.0.0.1", "--master-port", str(free_port()), str(WORKER), str(folder)]
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    log = folder / "log.txt"
    with log.open("w") as out, subprocess.Popen(command, env=environment, cwd=folder, stdout=out, stderr=out) as run:
        try:
            code = run.wait(timeout=180)
        except subprocess.TimeoutExpired:
            run.terminate()  # unlike a kill, torchrun passes it on to its processes
            code = run.wait(timeout=60)
    assert code == 0, log.read_text()[-4000:]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What each rank saw (``ranks``) and one process gave (``alone``); weights of rank 0 and of one (``single``)."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = shared / "distributed"
    with FileLock(f"{folder}.lock"):
        if not (folder / "rank-1.json").exists():
            folder.mkdir(exist_ok=True)
            launch(folder)
    return {
        "ranks": [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in (0, 1)],
        "alone": json.loads((folder / "alone.json").read_text()),
        "weights": load_file(folder / "rank-0.safetensors"),
        "single": load_file(folder / "alone.safetensors"),
    }


# ---------------------------------------------------------------- equal to one process
@pytest.mark.parametrize(
    "case", ["gan", "gan_clipped", "wgan_gp", "matching", "cgan", "spread", "gail", "stopping", "whole"]
)
def test_two_processes_give_the_curves_and_weights_of_one(results, case):
    (first, second), alone = (one[case] for one in results["ranks"]), results["alone"][case]
    assert first == second, "ranks report different histories or weights"
    assert (first["steps"], first["stopped"], first["best_epoch"]) == tuple(
        alone[name] for name in ("steps", "stopped", "best_epoch")
    )
    assert first["curves"].keys() == alone["curves"].keys()
    for name, curve in alone["curves"].items():
        assert first["curves"][name] == pytest.approx(curve, rel=1e-5), name
    for name, value in results["single"].items():
        if name.startswith(f"{case}/"):
            assert torch.allclose(results["weights"][name], value, rtol=1e-4, atol=1e-5), name


def test_the_cases_last_as_long_as_they_say(results):
    alone = results["alone"]
    assert all(alone[case]["steps"] == 50 for case in ("gan", "wgan_gp", "matching", "cgan", "spread"))
    assert all(len(alone[case]["curves"]["critic"]) == 50 for case in ("gan", "matching", "cgan"))
    assert {"penalty", "critic", "generator"} == alone["wgan_gp"]["curves"].keys()
    assert alone["stopping"]["stopped"] == "patience"


def test_a_group_of_the_callers_own_is_used_and_left(results):
    for one in results["ranks"]:
        assert one["own_group"].pop("left")
        assert one["own_group"] == one["gan"]


# ---------------------------------------------------------------- checkpoints
def test_a_run_cut_short_resumes_bit_equal(results):
    for one in results["ranks"]:
        assert "error" in one["cut"]
        assert one["resumed"] == one["whole"]
        assert one["dropped_resumed"] == one["dropped"], "dropout's own draws were not resumed"
    assert results["ranks"][0]["cut"]["error"] == "KeyboardInterrupt"


def test_one_process_goes_on_with_what_two_began(results):
    whole, longer = results["alone"]["whole"], results["alone"]["resumed"]
    assert longer["epochs"] == 5
    assert longer["curves"]["critic"][:4] == pytest.approx(whole["curves"]["critic"], rel=1e-5)


# ---------------------------------------------------------------- refused
@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("discrimination", "minibatch discrimination"),
        ("importance", "normalised over the batch"),
        ("batch_norm", "batch norm"),
        ("permuting", "mixes the batch's examples"),
        ("remembering", "depend on each process's rows (last)"),
        ("inner", "a gradient through Batch.mean"),
        ("routine", "routine 'inwards'"),
        ("sampling", "noise that would be the same in every process"),
        ("odd", "batch_size 33 cannot be split evenly over 2 processes: choose batch_size 32 or 34"),
        ("few", "choose batch_size 32"),
        ("other_rows", "training rows 'x'"),
        ("other_options", "option steps"),
    ],
)
def test_what_cannot_be_split_is_refused_by_all_with_the_reason(results, case, reason):
    first, second = (one[case] for one in results["ranks"])
    assert first == second and first["error"] == "ConfigError"
    assert reason in first["message"]
    if case not in ("odd", "few", "other_rows", "other_options"):
        assert "cannot be trained data-parallel: " in first["message"]


def test_nan_on_one_rank_stops_all_with_one_message(results):
    first, second = (one["poisoned"] for one in results["ranks"])
    assert first == second and first["error"] == "DivergenceError"
    assert "loss 'bad' exploded or became non-finite at step 5" in first["message"] and first["finite"]


def test_weights_that_came_apart_are_not_handed_out(results):
    first, second = (one["drifting"] for one in results["ranks"])
    assert first == second and first["error"] == "GanlibError"
    assert "net.weight" in first["message"]


# ---------------------------------------------------------------- pieces
def test_slices_of_rows_and_noise_make_up_the_global_batch():
    tensors, ranks = {"x": torch.arange(24.0)}, [Ranks(i, 3) for i in range(3)]
    whole = list(TensorBatches(tensors, 6, seed=1).epoch(2))
    parts = [list(TensorBatches(tensors, 6, seed=1, ranks=r).epoch(2)) for r in ranks]
    for step, rows in enumerate(whole):
        assert torch.equal(torch.cat([part[step]["x"] for part in parts]), rows["x"])
    one = Batch(whole[0], torch.Generator().manual_seed(4))
    own = [Batch(p[0], torch.Generator().manual_seed(4), r) for p, r in zip(parts, ranks, strict=True)]
    for draw in (lambda b: b.randn(5), lambda b: b.rand(), lambda b: b.randn(2, 3)):
        assert torch.equal(torch.cat([draw(b) for b in own]), draw(one))
    with pytest.raises(ConfigError, match="mixes the batch's examples"):
        own[0].permutation()


def test_a_last_batch_that_cannot_be_split_is_refused():
    with pytest.raises(ConfigError, match="the last 3 of 11 rows"):
        TensorBatches({"x": torch.zeros(11)}, 4, shuffle=False, ranks=Ranks(0, 2))


def test_off_and_half_set_environments(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="MASTER_ADDR and MASTER_PORT are not set"), joined("auto", CPU):
        pass
    with joined("off", CPU) as ranks:
        assert ranks.alone
    monkeypatch.setenv("WORLD_SIZE", "1")
    with joined("auto", CPU) as ranks:
        assert ranks.alone
    with pytest.raises(ConfigError, match="'auto', 'off'"):
        Trainer(TrainerConfig(distributed="always"))
