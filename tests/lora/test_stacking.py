"""The layer of a stack is a loop over samples with the adapter of each."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, inject_adapter_in_model
from torch import nn

from vdmfewshot.lora.stacking import Routing, Stack, StackedDropout


def lora_model(seed: int, d_in: int, d_out: int, rank: int, alpha: float) -> nn.Module:
    """One linear layer with peft's LoRA, B away from zero."""
    torch.manual_seed(seed)
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=["0"], init_lora_weights=False)
    model: nn.Module = inject_adapter_in_model(config, nn.Sequential(nn.Linear(d_in, d_out)), "default")
    return model


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 4),
    samples=st.lists(st.integers(0, 3), min_size=1, max_size=6),
    sizes=st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 3)),
    tokens=st.integers(1, 3),
    copies=st.integers(1, 2),
)
def test_a_stack_is_a_loop_over_samples(
    count: int, samples: list[int], sizes: tuple[int, int, int], tokens: int, copies: int
) -> None:
    """Outputs and gradients, for any order of tasks, and for the doubled batches of guidance."""
    tasks = [sample % count for sample in samples]
    singles = [lora_model(seed, *sizes, alpha=3.0) for seed in range(count)]
    for single in singles[1:]:
        single[0].base_layer.load_state_dict(singles[0][0].base_layer.state_dict())
    model = lora_model(0, *sizes, alpha=3.0)
    stack = Stack(model, count)
    for index, single in enumerate(singles):
        with stack.alone(index):
            model.load_state_dict(single.state_dict())
    stack.route(tasks)
    x = torch.randn(len(tasks) * copies, tokens, sizes[0])
    expected = torch.stack([singles[t](row[None])[0] for t, row in zip(tasks * copies, x, strict=True)])
    found = model(x)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)
    expected.square().sum().backward()
    found.square().sum().backward()
    for index, single in enumerate(singles):
        for part in ("lora_A", "lora_B"):
            own, ours = (getattr(m[0], part)["default"].weight.grad for m in (single, model))
            torch.testing.assert_close(
                ours[index], torch.zeros_like(ours[index]) if own is None else own, rtol=1e-5, atol=1e-4
            )


def test_dropout_keeps_the_mean_and_draws_for_each_task_from_its_own_generator() -> None:
    def masked(seeds: list[int]) -> torch.Tensor:
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        layer = StackedDropout(0.25, SimpleNamespace(count=2, generators=generators))
        return layer.train()(torch.full((4, 5000), 3.0))

    found = masked([0, 1])
    assert sorted(set(found.flatten().tolist())) == [0, 4], "3 / (1 - 0.25)"
    assert found.mean().item() == pytest.approx(3, abs=0.05)
    assert torch.equal(masked([0, 7])[:2], found[:2])
    assert not torch.equal(masked([0, 7])[2:], found[2:])
    assert torch.equal(StackedDropout(0.25, SimpleNamespace()).eval()(found), found)


def test_a_batch_that_was_not_announced_is_refused() -> None:
    stack_model = lora_model(0, 2, 2, 1, 1.0)
    stack = Stack(stack_model, 2)
    stack.route([0, 0, 1, 1])
    with pytest.raises(ValueError, match="told of 4 samples and got 6"):
        stack_model(torch.zeros(6, 1, 2))


def test_a_batch_is_refused_before_any_was_announced() -> None:
    model = lora_model(0, 2, 2, 1, 1.0)
    Stack(model, 2)
    for samples in (1, 2):
        with pytest.raises(ValueError, match=f"told of 0 samples and got {samples}"):
            model(torch.zeros(samples, 1, 2))


@pytest.mark.parametrize(
    ("tasks", "groups"),
    [([0, 0, 1, 1], (0, 1)), ([0, 1, 2], (0, 1, 2)), ([2, 2], (2,)), ([0, 0, 1], (0, 0, 1)), ([1, 0, 1], (1, 0, 1))],
)
def test_neighbours_of_one_task_are_one_group_where_all_groups_are_equal(
    tasks: list[int], groups: tuple[int, ...]
) -> None:
    routing = Routing(3)
    routing.route(tasks)
    assert (routing.groups, routing.samples) == (groups, len(tasks))
    stacked = torch.arange(3.0)
    assert routing.weights(stacked, len(tasks)).tolist() == list(groups)
    assert (routing.weights(stacked, len(tasks)) is stacked) == (groups == (0, 1, 2)), "nothing is copied without need"


def test_what_happens_to_some_tasks_can_be_undone() -> None:
    stack = Stack(lora_model(0, 4, 3, 2, 1.0), 3)
    for p in stack.parameters:
        p.grad = torch.ones_like(p)
    before = [p.detach().clone() for p in stack.parameters]
    kept = stack.copy([0, 2])
    stack.clear_gradients([1])
    for p in stack.parameters:
        assert p.grad is not None
        assert p.grad.flatten(1).sum(dim=1).tolist() == [p[0].numel(), 0, p[0].numel()]
        p.data += 1
    stack.restore([0, 2], kept)
    for p, old in zip(stack.parameters, before, strict=True):
        assert torch.equal(p[[0, 2]], old[[0, 2]])
        assert torch.equal(p[1], old[1] + 1)


def test_what_fails_within_a_task_changes_no_task() -> None:
    model = lora_model(0, 4, 3, 2, 1.0)
    stack = Stack(model, 2)
    before = [p.detach().clone() for p in stack.parameters]

    def failing() -> None:
        for p in model.parameters():
            p.data += 1
        raise KeyError

    with pytest.raises(KeyError), stack.alone(1):
        failing()
    assert all(torch.equal(p, old) for p, old in zip(stack.parameters, before, strict=True))


def test_layers_that_are_not_linear_are_refused() -> None:
    config = LoraConfig(r=2, target_modules=["0"])
    model = inject_adapter_in_model(config, nn.Sequential(nn.Conv2d(3, 4, 1)), "default")
    with pytest.raises(ValueError, match=r"linear layers only; take 0 out of lora.targets"):
        Stack(model, 2)


def test_gradients_are_clipped_task_by_task() -> None:
    """Clipping all tasks together would shrink the middle one to nothing."""
    model, scales = lora_model(0, 4, 3, 2, 1.0), (100.0, 0.01, 3.0)
    stack = Stack(model, 3)
    expected = []
    for p in stack.parameters:
        p.grad = torch.randn(p.shape) * torch.tensor(scales).view(3, 1, 1)
    for index in range(3):
        alone = [nn.Parameter(p.detach()[index]) for p in stack.parameters]
        for single, p in zip(alone, stack.parameters, strict=True):
            assert p.grad is not None
            single.grad = p.grad[index].clone()
        torch.nn.utils.clip_grad_norm_(alone, 1.0)
        expected.append([p.grad for p in alone])
    untouched = [p.grad[1].clone() for p in stack.parameters if p.grad is not None]
    stack.clip_gradients(1.0)
    for row, p in enumerate(stack.parameters):
        assert p.grad is not None
        for index in range(3):
            torch.testing.assert_close(p.grad[index], expected[index][row], rtol=1e-5, atol=1e-4)
        assert torch.equal(p.grad[1], untouched[row])
