"""Frozen weights shared out over processes, for models that do not fit one GPU; the adapter stays whole on each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy, StrategyRegistry
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from vdmfewshot.backbones.late_cast import LateCast
from vdmfewshot.budget.cost import Cost
from vdmfewshot.budget.memory import MemoryArgs
from vdmfewshot.training.processes import leave_frozen_alone


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
        mesh = self._mesh()
        for denoiser in module.backbone.denoisers:
            shard_frozen(getattr(denoiser, module.backbone.blocks_name), mesh, module.backbone.late_cast)
            if not isinstance(denoiser, FSDPModule):  # of no parameter of its own, but blocks then share their buffers
                fully_shard(denoiser, mesh=mesh, ignored_params=set(denoiser.parameters()))
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


def is_sharded(module: nn.Module) -> bool:
    """Whether some parameters are shared out, so that a forward pass needs all processes."""
    return any(isinstance(child, FSDPModule) for child in module.modules())


def shared(cost: Cost, processes: int) -> Cost:
    """What one of ``processes`` needs: its share of the frozen weights, a whole block that computes, and the next."""
    frozen = cost.total.frozen / processes + 2 * cost.block.frozen
    return replace(cost, total=replace(cost.total, frozen=frozen, linear=cost.total.linear / processes))


def whole_layers(memory: MemoryArgs) -> MemoryArgs:
    """Without what ``auto`` might choose and shared weights cannot have: quantised or offloaded layers."""
    chosen = {name: "none" for name in ("quantization", "offload") if getattr(memory, name) == "auto"}
    return replace(memory, **chosen)  # type: ignore[arg-type]  # values of the fields' types
