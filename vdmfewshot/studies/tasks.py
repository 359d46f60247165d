"""The tasks of a study: what each of them changes in the options of a data module."""

from __future__ import annotations

import difflib
import glob
import inspect
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vdmfewshot.data.arc import ArcDataModule
from vdmfewshot.data.arc_tasks import list_tasks
from vdmfewshot.data.base import FewShotDataModule
from vdmfewshot.data.folders import FolderDataModule
from vdmfewshot.data.generated.data import GENERATORS, EvidenceDataModule
from vdmfewshot.data.pairs import PairsDataModule
from vdmfewshot.data.segmentation import CocoInstancesDataModule
from vdmfewshot.data.stack import ListedDataModule

#: how tasks may be named: the key of ``tasks``, the option of the data module that it fills, and the usual data module
KINDS: dict[str, tuple[str, type[FewShotDataModule]]] = {
    "source": ("task", ArcDataModule),
    "folders": ("root", PairsDataModule),
    "generated": ("task", EvidenceDataModule),
    "categories": ("category", CocoInstancesDataModule),
}
#: which of the tasks: by name, and at most how many
CHOICE = ("ids", "limit")


@dataclass(frozen=True)
class TaskList:
    """Tasks of one kind.

    Attributes:
        kind: of their data module.
        options: of all of them.
        key: option that says which task.
        values: its value by name of the task; one task of no such option if empty.
        inputs: files and folders that they are read from.
    """

    kind: type[Any]
    options: dict[str, Any]
    key: str
    values: Mapping[str, Any]
    inputs: Sequence[Path] = field(default=())


def read_tasks(spec: Mapping[str, Any], kind: type[Any], options: Mapping[str, Any]) -> TaskList:
    """The tasks of a study.

    Args:
        spec: the key ``tasks``: ``source`` (with ``split``) for ARC, ``folders``, ``generated`` or ``categories``, with
            other options of the data module; ``ids`` and ``limit`` choose some. Empty: the base's own.
        kind: data module of the base.
        options: its options.

    Raises:
        ValueError: naming an unknown key or task and what there is.
        DataError: if ARC tasks cannot be listed.
    """
    spec = dict(spec)
    limit, ids = spec.pop("limit", None), spec.pop("ids", None)
    if not spec and not issubclass(kind, ListedDataModule):
        return TaskList(kind, dict(options), "", {}, paths_of(options))
    if not spec:
        return _listed(kind, options, ids, limit)
    found = [name for name in KINDS if name in spec]
    if len(found) != 1:
        known = ", ".join([*KINDS, *CHOICE])
        raise ValueError(
            f"tasks must name one of {', '.join(KINDS)}, got {', '.join(spec) or 'none'}; keys are {known}"
        )
    (name,) = found
    key, usual = KINDS[name]
    values = VALUES[name](spec)
    target = kind if suits(kind, name, values, set(spec) - {name}) else usual
    # What is true of any data carries over to another kind of them; variants do not, which not all kinds have.
    same = name == "source" or target is kind
    shared = accepted(target) if same else accepted(FewShotDataModule) - {"variants"}
    merged = {**{k: v for k, v in options.items() if k in shared}, **_extra(spec, name, target)}
    values = {task: values[task] for task in _chosen(list(values), ids, limit)}
    return TaskList(target, merged, key, values, paths_of({**merged, "tasks": list(values.values())}))


def _listed(kind: type[ListedDataModule], options: Mapping[str, Any], ids: Any, limit: Any) -> TaskList:
    """The tasks that a data module lists by itself, or those of its option ``tasks``."""
    known = list(kind(**options).ids)
    check_unique(known)
    values = {task: [task] for task in (_chosen(known, ids, limit) if ids is not None or limit else known)}
    return TaskList(kind, dict(options), "tasks", values, paths_of(options))


def check_unique(names: Sequence[str]) -> None:
    """Raise ValueError if there is no task, or one is listed twice."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice or not names:
        problem = f"got {twice[0]!r} more than once" if twice else "got none"
        raise ValueError(f"tasks must be one or more, each listed once, {problem}")


def suits(kind: type[Any], name: str, values: Mapping[str, Any], options: set[str]) -> bool:
    """Whether the data module of the base reads such tasks: categories with these options, or folders of its layout."""
    if name == "folders" and issubclass(kind, FolderDataModule):
        first, inner = Path(next(iter(values.values()))), kind.input_folder
        return str(first).startswith("sample:") or (first / inner).is_dir() or (first / "train" / inner).is_dir()
    return name == "categories" and issubclass(kind, FewShotDataModule) and {"category", *options} <= accepted(kind)


def accepted(kind: type[Any]) -> set[str]:
    """Names of all options of a data module, those of its base classes too."""
    names: set[str] = set()
    for cls in kind.__mro__:
        if "__init__" in vars(cls):
            names |= set(inspect.signature(cls).parameters)
    return names - {"self", "args", "kwargs"}


def _extra(spec: Mapping[str, Any], name: str, target: type[Any]) -> dict[str, Any]:
    rest = {key: value for key, value in spec.items() if key != name or name == "source"}
    known = accepted(target)
    for key in rest:
        if key not in known:
            near = difflib.get_close_matches(key, [*known, *CHOICE], n=1, cutoff=0.5)
            raise ValueError(
                f"unknown key tasks.{key} for {target.__name__}" + (f"; did you mean {near[0]}?" if near else "")
            )
    return rest


def _chosen(names: Sequence[str], ids: Any, limit: Any) -> list[str]:
    if ids is not None:
        wanted = list(ids) if isinstance(ids, list | tuple) else [ids]
        numbers = [item for item in wanted if not isinstance(item, str)]
        if numbers:
            raise ValueError(f"tasks.ids must be quoted, because YAML takes some for numbers, got {numbers[0]}")
        check_unique(wanted)
        names = [_match(item, names) for item in wanted]
    if limit is not None and not (isinstance(limit, int) and limit > 0):
        raise ValueError(f"tasks.limit must be a whole number from 1, got {limit!r}")
    return list(names)[:limit]


def _match(wanted: str, names: Sequence[str]) -> str:
    """A task by its name, or by what follows the last ``/`` of it. What is not listed is left to the data to refuse."""
    same = [name for name in names if name == wanted] or [n for n in names if n.rpartition("/")[2] == wanted]
    if len(same) == 1:
        return same[0]
    near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.4)
    raise ValueError(
        f"tasks.ids: no task {wanted!r} among {len(names)}; nearest: {', '.join(near) or ', '.join(names[:3])}"
    )


def _arc(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {name: name for name in list_tasks(str(spec["source"]), spec.get("split", "training"))}


def _folders(spec: Mapping[str, Any]) -> dict[str, Any]:
    patterns = spec["folders"] if isinstance(spec["folders"], list) else [spec["folders"]]
    found = [path for p in patterns for path in (sorted(glob.glob(str(p))) if glob.has_magic(str(p)) else [str(p)])]
    folders = [path for path in dict.fromkeys(found) if Path(path).is_dir() or path.startswith("sample:")]
    missing = [path for path in found if path not in folders and not Path(path).exists()]
    if missing or not folders:
        raise ValueError(
            f"tasks.folders must be folders of pairs, or a pattern of them; there is no {missing or patterns}"
        )
    names = Counter(Path(path).name for path in folders)
    return {Path(path).name if names[Path(path).name] == 1 else path: path for path in folders}


def _generated(spec: Mapping[str, Any]) -> dict[str, Any]:
    wanted = list(GENERATORS) if spec["generated"] == "all" else spec["generated"]
    wanted = [wanted] if isinstance(wanted, str) else list(wanted)
    unknown = [name for name in wanted if name not in GENERATORS]
    if unknown:
        raise ValueError(f"tasks.generated must be of {', '.join(GENERATORS)}, or all, got {unknown[0]!r}")
    return {name: name for name in wanted}


def _categories(spec: Mapping[str, Any]) -> dict[str, Any]:
    wanted = spec["categories"]
    return {name: name for name in ([wanted] if isinstance(wanted, str) else map(str, wanted))}


VALUES = {"source": _arc, "folders": _folders, "generated": _generated, "categories": _categories}


def paths_of(options: Mapping[str, Any]) -> list[Path]:
    """Existing files and folders that options name."""
    words = [v for value in options.values() for v in (value if isinstance(value, list) else [value])]
    return [Path(word) for word in words if isinstance(word, str) and "/" in word and Path(word).exists()]
