"""Which units run side by side, and in which order."""

from __future__ import annotations

from collections.abc import Sequence

from vdmfewshot.studies.units import Unit


def cut(units: Sequence[Unit], size: int) -> list[list[Unit]]:
    """Stacks of at most ``size`` units of one group, the longest first.

    They are cut from all units, done or not, so that a study that is continued stacks as one that never stopped.
    """
    groups: dict[str, list[Unit]] = {}
    for unit in units:
        groups.setdefault(unit.group or unit.id, []).append(unit)
    stacks = []
    for members in groups.values():
        members = sorted(members, key=lambda unit: -unit.cost)
        stacks += [members[i : i + size] for i in range(0, len(members), size)]
    return sorted(stacks, key=lambda stack: -sum(unit.cost for unit in stack))


def halves(stack: Sequence[Unit]) -> list[list[Unit]]:
    """A stack in two."""
    middle = len(stack) // 2
    return [list(stack[:middle]), list(stack[middle:])]
