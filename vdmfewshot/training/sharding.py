"""Frozen weights shared out over processes, for models that do not fit one GPU; the adapter stays whole on each."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import replace
from itertools import chain
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy, StrategyRegistry
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from vdmfewshot.backbones.late_cast import LateCast
from vdmfewshot.budget.cost import Cost
from vdmfewshot.budget.memory import MemoryArgs
from vdmfewshot.training.processes import leave_frozen_alone

#: of glibc's ``mallopt``: the size from which a buffer is a mapping of its own
M_MMAP_THRESHOLD = -3


class ShardedStrategy(DDPStrategy):
    """DDP for the adapter over FSDP2 for the frozen blocks of the denoiser.

    Each process keeps 1/n of every frozen block and gathers a block while it computes with it (torch's
    ``fully_shard``). Adapters are small: they are whole on every process, and DDP adds up their gradients. Training,
    checkpoints, exported adapters and scores are therefore those of DDP, and a checkpoint goes on with any strategy and
    any number of processes.

    Args:
        nodes_share: ``False`` shares out over the processes of each machine (hybrid sharding: blocks are gathered over
            its fast links alone, every machine has a whole copy); ``True`` over all processes of all machines.
        **kwargs: of Lightning's ``DDPStrategy``.
    """

    strategy_name = "sharded"

    def __init__(self, nodes_share: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.nodes_share = nodes_share

    def setup(self, trainer: Trainer) -> None:
        """Share out the frozen blocks, then do what DDP does; the second time there is nothing left to share out.

        Raises:
            ValueError: if the model is quantised, offloaded or compiled, or the module is not one of ours.
        """
        module: Any = self.lightning_module
        if not hasattr(module, "backbone"):
            raise ValueError(f"strategy=sharded needs a FewShotModule, got {type(module).__name__}; use strategy=ddp")
        check(module)
        if self.root_device.type == "cpu":
            return_memory_at_once()
        mesh = self._mesh()
        for denoiser in module.backbone.denoisers:
            shard_frozen(getattr(denoiser, module.backbone.blocks_name), mesh, module.backbone.late_cast)
            if not isinstance(denoiser, FSDPModule):  # of no parameter of its own, but blocks then share their buffers
                fully_shard(denoiser, mesh=mesh, ignored_params=set(denoiser.parameters()))
            let_go_of_the_file(denoiser)
        leave_frozen_alone(module)
        super().setup(trainer)

    @property
    def shares(self) -> int:
        """Processes that share one copy of the frozen blocks."""
        return self.world_size if self.nodes_share else self.num_processes

    def _mesh(self) -> DeviceMesh:
        kind, here = self.root_device.type, self.num_processes
        if self.nodes_share or self.world_size == here:
            return init_device_mesh(kind, (self.world_size,))
        return init_device_mesh(kind, (self.world_size // here, here), mesh_dim_names=("replicate", "shard"))


StrategyRegistry.register("sharded", ShardedStrategy, description=ShardedStrategy.__doc__)


def check(module: Any) -> None:
    """Refuse what cannot be shared out.

    Raises:
        ValueError: naming the option and the remedy.
    """
    memory = module.backbone.memory
    for name, value in (("quantization", memory.quantization), ("offload", memory.offload)):
        if value not in ("none", "auto"):
            raise ValueError(f"strategy=sharded needs memory.{name}=none, got {value}; use strategy=ddp for {name}")
    if module.compile_blocks:
        raise ValueError("strategy=sharded needs model.compile=false; use strategy=ddp for compiled blocks")


def shard_frozen(blocks: nn.ModuleList, mesh: DeviceMesh, late_cast: LateCast | None = None) -> None:
    """Share out the parameters of each block that need no gradient, in place, one block after another. Idempotent."""
    for block in blocks:
        trained = {p for p in block.parameters() if p.requires_grad}
        if not isinstance(block, FSDPModule):
            if late_cast is not None:
                late_cast.settle(block.parameters())
            fully_shard(block, mesh=mesh, reshard_after_forward=True, ignored_params=trained)


def return_memory_at_once() -> None:
    """Let glibc give buffers of a megabyte or more back to the system as soon as they are freed.

    It keeps them by default, up to 32 MB each: gathered blocks then pile up in the heaps of several threads, to more
    than the whole model (measured: docs/how-to/large-models.md). Other C libraries have no such setting.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 1 << 20)


def let_go_of_the_file(denoiser: nn.Module) -> None:
    """Copy what stays whole, once the blocks are shared out: one tensor of a mapped file keeps all of its pages."""
    for tensor in chain(denoiser.parameters(), denoiser.buffers()):
        if not isinstance(tensor, DTensor) and tensor.device.type == "cpu":  # those on a GPU are copies already
            tensor.data = tensor.data.clone()


def is_sharded(module: nn.Module) -> bool:
    """Whether some parameters are shared out, so that a forward pass needs all processes."""
    return any(isinstance(child, FSDPModule) for child in module.modules())


def shared(cost: Cost, processes: int) -> Cost:
    """What one of ``processes`` needs: its share of the frozen weights, and three whole blocks.

    The one that computes, the buffer that it was gathered in, and the buffer of the next.
    """
    frozen = cost.total.frozen / processes + 3 * cost.block.frozen
    return replace(cost, total=replace(cost.total, frozen=frozen, linear=cost.total.linear / processes))


def whole_layers(memory: MemoryArgs) -> MemoryArgs:
    """Without what ``auto`` might choose and shared weights cannot have: quantised or offloaded layers."""
    chosen = {name: "none" for name in ("quantization", "offload") if getattr(memory, name) == "auto"}
    return replace(memory, **chosen)  # type: ignore[arg-type]  # values of the fields' types
