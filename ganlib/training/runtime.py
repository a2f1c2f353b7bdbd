"""Precision, memory layout and compilation of a run on its device, and restoring torch's settings afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ganlib.data.image_values import from_bytes
from ganlib.training.algorithm import Algorithm
from ganlib.training.config import TrainerConfig

_IMAGES = 4  # dimensions of a batch of images
# torch.compile counts every module of a process under the code of ``nn.Module``, and gives up after 8.
_RECOMPILATIONS = 256


@contextmanager
def torch_settings(config: TrainerConfig, device: torch.device) -> Iterator[None]:
    """Set torch's global switches for a run and restore them afterwards, also after an error.

    On CUDA, unless the run is ``deterministic``, convolutions are benchmarked, and float32 products use TF32 (not with
    ``precision="fp32"``). The number of threads is only restored.
    """
    strict, threads = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    benchmark, products = torch.backends.cudnn.benchmark, torch.get_float32_matmul_precision()
    try:
        if config.deterministic:
            torch.use_deterministic_algorithms(True)
        elif device.type == "cuda":
            torch.backends.cudnn.benchmark = True
            if config.precision != "fp32":
                torch.set_float32_matmul_precision("high")
        yield
    finally:
        torch.use_deterministic_algorithms(strict)
        torch.set_num_threads(threads)
        torch.backends.cudnn.benchmark = benchmark
        torch.set_float32_matmul_precision(products)


class Runtime:
    """Precision, layout and compilation of one run; on a CPU, all are torch's defaults."""

    def __init__(self, algorithm: Algorithm, config: TrainerConfig, device: torch.device) -> None:
        self.algorithm, self.config, self.device = algorithm, config, device
        cuda = device.type == "cuda"
        self.half = cuda and config.precision in ("auto", "bf16")
        self.compiles = cuda and config.compile
        convolutional = any(isinstance(m, nn.Conv2d | nn.ConvTranspose2d) for m in algorithm.modules())
        self.layout = torch.channels_last if cuda and convolutional else torch.contiguous_format
        self.eager: dict[str, str] = {}

    def place(self) -> None:
        """Move the algorithm to the device, in the run's layout and training mode."""
        self.algorithm.to(self.device).train()
        if self.layout == torch.channels_last:
            self._lay_out(torch.channels_last)

    def release(self) -> None:
        """Move the algorithm back to the CPU, contiguous, uncompiled and in evaluation mode."""
        self.algorithm.to("cpu").eval()
        if self.layout == torch.channels_last:
            self._lay_out(torch.contiguous_format)
        if self.compiles:
            for module in self.algorithm.modules():
                module._compiled_call_impl = None

    def _lay_out(self, layout: torch.memory_format) -> None:
        for value in (*self.algorithm.parameters(), *self.algorithm.buffers()):
            if value.ndim == _IMAGES:
                value.data = value.data.contiguous(memory_format=layout)

    def laid_out(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """A batch's tensors, image bytes as floats in [-1, 1], and images in the run's layout."""
        tensors = {n: from_bytes(v) if v.dtype == torch.uint8 else v for n, v in tensors.items()}
        if self.layout == torch.contiguous_format:
            return tensors
        return {n: v.contiguous(memory_format=self.layout) if v.ndim == _IMAGES else v for n, v in tensors.items()}

    def autocast(self) -> AbstractContextManager[Any]:
        """The context of half precision, if the run uses it."""
        return torch.autocast("cuda", dtype=torch.bfloat16) if self.half else nullcontext()

    # ---------------------------------------------------------------- compilation
    @contextmanager
    def compilation(self) -> Iterator[None]:
        """Allow many compiled players, and several backward passes through their graphs."""
        if not self.compiles:
            yield
            return
        import torch._dynamo
        import torch._functorch.config

        with (
            torch._dynamo.config.patch(recompile_limit=_RECOMPILATIONS),
            torch._functorch.config.patch(donated_buffer=False),
        ):
            yield

    @contextmanager
    def first_step(self) -> Iterator[None]:
        """Run the first step uncompiled, then compile the players that can be compiled.

        Torch has no second derivative of a compiled module, so players that a loss differentiates twice (slope
        penalties, unrolled steps) cannot be. ``eager`` holds their names and the reason.
        """
        if not self.compiles:
            yield
            return
        with TwiceDifferentiated(self.algorithm) as found:
            yield
        self.eager = dict.fromkeys(found.players, "differentiated twice")
        for player, modules in self.algorithm.players().items():
            if player not in self.eager:
                for module in [modules] if isinstance(modules, nn.Module) else modules:
                    module.compile()

    def __str__(self) -> str:
        """The choices, for the log."""
        products = torch.get_float32_matmul_precision()
        parts = [f"precision {'bf16' if self.half else 'fp32'} (products {products})"]
        parts.append(f"layout {'channels-last' if self.layout == torch.channels_last else 'contiguous'}")
        eager = ", ".join(f"{player} {why}" for player, why in self.eager.items())
        parts.append(f"compiled {'yes' if self.compiles else 'no'}" + (f" (but {eager})" if eager else ""))
        return ", ".join(parts)


class TwiceDifferentiated(TorchFunctionMode):
    """Finds the players that losses differentiate twice."""

    def __init__(self, algorithm: Algorithm) -> None:
        super().__init__()
        self.players: set[str] = set()
        self._owner = {id(p): name for name in algorithm.players() for p in algorithm.parameters_of(name)}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.autograd.grad and kwargs.get("create_graph"):
            outputs = args[0] if args else kwargs["outputs"]
            for output in [outputs] if isinstance(outputs, Tensor) else outputs:
                self.players |= {self._owner[leaf] for leaf in _leaves(output) if leaf in self._owner}
        return func(*args, **kwargs)


def _leaves(output: Tensor) -> set[int]:
    """The ids of the leaves that a tensor was computed from."""
    leaves, seen, waiting = set(), set(), [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if (variable := getattr(node, "variable", None)) is not None:
            leaves.add(id(variable))
        waiting += [parent for parent, _ in node.next_functions]
    return leaves
