"""The processes that train one model together (data-parallel), and their communication.

Every rank has the same weights and rows, samples the same order and noise, and works on its slice of each global batch.
Slices are equally long, so a mean over the global batch is the mean of the ranks' means.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ganlib.errors import ConfigError

_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# One store per process. Each group uses other names in it, because a store keeps the addresses of earlier groups.
_STORE: list[Any] = []
_GROUPS = 0


@dataclass(frozen=True)
class Ranks:
    """This process's place among ``size`` processes; ``device`` is where it trains."""

    index: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def alone(self) -> bool:
        """Whether there is only one process."""
        return self.size == 1

    def own(self, rows: Tensor) -> Tensor:
        """This rank's slice ``(n / size, ...)`` of a tensor ``(n, ...)`` with the rows of all ranks."""
        if self.alone:
            return rows
        each = len(rows) // self.size
        return rows[self.index * each : (self.index + 1) * each]

    # ---------------------------------------------------------------- numbers
    def averaged(self, values: Tensor) -> Tensor:
        """Mean over the ranks, bit-equal on all of them; without a gradient."""
        if self.alone or not values.numel():
            return values
        wide = torch.promote_types(values.dtype, torch.float32)
        sent = values.detach().to(self._wire, wide, copy=True).contiguous()
        dist.all_reduce(sent)
        return (sent / self.size).to(values.device, values.dtype)

    def mean(self, values: Tensor) -> Tensor:
        """Mean over the ranks, differentiable; see ``_Mean`` for the gradient."""
        return values if self.alone else _Mean.apply(values, self)

    def start_sum(self, values: Tensor) -> Callable[[], Tensor]:
        """Start to sum ``values`` over the ranks; returns a function that waits for the sum and returns it."""
        sent = values.detach().to(self._wire).contiguous()
        work = dist.all_reduce(sent, async_op=True)

        def finish() -> Tensor:
            work.wait()
            return sent.to(values.device)

        return finish

    def share(self, module: nn.Module) -> None:
        """Give rank 0's parameters and buffers to all ranks, in place."""
        if self.alone:
            return
        for value in module.state_dict().values():
            sent = value.detach().to(self._wire, copy=True).contiguous()
            dist.broadcast(sent.view(-1).view(torch.uint8), 0)  # bytes: not every backend has all types
            value.copy_(sent)

    def gather(self, values: Tensor) -> list[Tensor]:
        """The equally long ``values`` of every rank, on the CPU, by rank."""
        if self.alone:
            return [values]
        sent = values.to(self._wire).contiguous()
        received = [torch.empty_like(sent) for _ in range(self.size)]
        dist.all_gather(received, sent)
        return [part.cpu() for part in received]

    # ---------------------------------------------------------------- words
    def texts(self, text: str) -> list[str]:
        """The text of every rank, in their order."""
        data = text.encode()
        lengths = [int(n) for n in self.gather(torch.tensor([len(data)]))]
        padded = torch.frombuffer(bytearray(data.ljust(max(*lengths, 1), b" ")), dtype=torch.uint8)
        return [bytes(part[:n].tolist()).decode() for part, n in zip(self.gather(padded), lengths, strict=True)]

    def differing(self, values: Mapping[str, str]) -> list[str]:
        """Names with different values on some ranks, or that only some ranks have."""
        if self.alone:
            return []
        found = [json.loads(text) for text in self.texts(json.dumps(dict(values)))]
        names = sorted({name for one in found for name in one})
        return [name for name in names if len({one.get(name) for one in found}) > 1]

    @property
    def _wire(self) -> torch.device:
        """The device of messages: gloo supports all operations on the CPU only."""
        return torch.device("cpu") if dist.get_backend() == "gloo" else self.device


ALONE = Ranks()


class _Mean(torch.autograd.Function):
    """m = 1/R Σ_r v_r over R ranks, with the gradient that data-parallel training needs.

    The loss is L = 1/R Σ_s L_s(m), and gradients are averaged over the ranks afterwards, so rank r must return
    R dL/dv_r = R · 1/R Σ_s dL_s/dm · 1/R = mean over s of dL_s/dm: the operation is its own adjoint. This also holds if
    the ranks' losses differ; if all are the same function of m, it is dL/dm.

    Gradients that a loss takes itself are not averaged afterwards, so that the factor R would be wrong; they raise
    ConfigError.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        return ranks.averaged(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        if torch.is_grad_enabled():  # only if a graph of the gradient is built
            raise ConfigError(
                "cannot be trained data-parallel: a loss takes a gradient through Batch.mean; train it in one process"
            )
        return ctx.ranks.averaged(gradients[0]), None


def digests(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """A digest of each tensor's type, shape and bytes."""
    return {name: _digest(value) for name, value in tensors.items()}


def _digest(value: Tensor) -> str:
    plain = value.detach().cpu().contiguous()
    known = hashlib.blake2b(f"{plain.dtype} {tuple(plain.shape)}".encode(), digest_size=16)
    known.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return known.hexdigest()


def coupling_layer(modules: Iterable[tuple[str, nn.Module]]) -> str:
    """The reason why a layer makes the examples of a batch depend on each other; empty if none does."""
    for name, module in modules:
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training:
            return f"batch norm in {name} normalises by the batch's statistics"
    return ""


# ---------------------------------------------------------------- joining
@contextmanager
def joined(how: str, device: torch.device) -> Iterator[Ranks]:
    """The ranks of this run: an initialised group, else torchrun's processes, else this one alone.

    ``how`` is auto or off. A group that already exists is used and left; otherwise one is created and destroyed.
    Raises ConfigError if torchrun's variables are incomplete, or if there are more processes than GPUs.
    """
    found = dist.is_available() and dist.is_initialized()
    if how == "off" or not (found or _launched()):
        yield Ranks(device=device)
        return
    size = dist.get_world_size() if found else int(os.environ["WORLD_SIZE"])
    rank = dist.get_rank() if found else int(os.environ["RANK"])
    device = _own_device(device, rank)
    if not found:
        _make_group(rank, size, device)
    try:
        yield Ranks(rank, size, device)
    finally:
        if not found:
            dist.destroy_process_group()


def _launched() -> bool:
    """Whether this process is one of several, by torchrun's environment variables."""
    if not dist.is_available() or "RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return False
    if missing := [name for name in _VARIABLES if name not in os.environ]:
        raise ConfigError(
            f"RANK and WORLD_SIZE name one of several processes, but {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not set: start with torchrun, or train with distributed='off'"
        )
    return True


def _own_device(device: torch.device, rank: int) -> torch.device:
    """A separate GPU for each process of a machine, unless one is named."""
    if device.type != "cuda" or device.index is not None:
        return device
    count = torch.cuda.device_count()
    local = int(os.environ.get("LOCAL_RANK", rank % count))
    if local >= count:
        raise ConfigError(
            f"process {local} of this machine has no GPU ({count} here): start at most {count}, or "
            "train with device='cpu'"
        )
    return torch.device("cuda", local)


def _make_group(rank: int, size: int, device: torch.device) -> None:
    global _GROUPS
    if not _STORE:
        _STORE.append(next(iter(dist.rendezvous("env://", rank=rank, world_size=size)))[0])
    _GROUPS += 1
    nccl = device.type == "cuda" and dist.is_nccl_available()
    dist.init_process_group(
        "nccl" if nccl else "gloo",
        store=dist.PrefixStore(f"ganlib/{_GROUPS}", _STORE[0]),
        rank=rank,
        world_size=size,
        device_id=device if nccl else None,
    )
