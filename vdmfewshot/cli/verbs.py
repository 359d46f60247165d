"""Every verb of the command line: one line each, imported when it is called."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Verb:
    """One word after ``vdmfewshot``.

    Attributes:
        name: the word.
        line: what it does, in one line of help.
        function: ``module:function``; the function gets the list of arguments after the verb.
        more: whether it takes all options of ``adapt``, too.
        own: whether only the verb itself knows what it takes.
        slow: whether it then loads the libraries, whatever it is given.
    """

    name: str
    line: str
    function: str
    more: bool = False
    own: bool = False
    slow: bool = False

    def load(self) -> Callable[[Sequence[str]], Any]:
        """Import the function."""
        module, _, name = self.function.partition(":")
        function: Callable[[Sequence[str]], Any] = getattr(importlib.import_module(module), name)
        return function


#: in the order in which a newcomer meets them; to add a verb, add a line
VERBS = (
    Verb("inspect", "show what is understood of a data set", "vdmfewshot.cli.inspect:inspect", own=True, slow=True),
    Verb("adapt", "train an adapter on a few labelled pairs, then score it", "vdmfewshot.cli.command:adapt"),
    Verb("fit", "train an adapter; validate if there are validation pairs", "vdmfewshot.cli.command:fit"),
    Verb("validate", "score an adapter or a checkpoint on validation pairs", "vdmfewshot.cli.command:validate"),
    Verb("test", "score an adapter or a checkpoint on test pairs", "vdmfewshot.cli.command:test"),
    Verb("predict", "answer queries, with or without targets", "vdmfewshot.cli.command:predict"),
    Verb("list", "models, data and tasks that ship with the package", "vdmfewshot.cli.fragments:show"),
    Verb("report", "one table over runs", "vdmfewshot.cli.report:report"),
    Verb("push", "share an adapter on the Hugging Face Hub", "vdmfewshot.cli.push:push", own=True),
    Verb("app", "adapt and predict in the browser, without a command line", "vdmfewshot.cli.app:app", own=True),
    Verb("study", "run every point of a grid on every task, and report", "vdmfewshot.cli.study:study", own=True),
    Verb("fleet", "adapt for hundreds of tasks, stack after stack", "vdmfewshot.cli.fleet:fleet", more=True),
    Verb("evidence", "measure what pretraining is worth", "vdmfewshot.cli.evidence:evidence"),
)


def find_verb(name: str) -> Verb | None:
    """The verb of this name, or ``None``."""
    return next((verb for verb in VERBS if verb.name == name), None)


def table(verbs: Sequence[Verb] = VERBS) -> str:
    """Names and lines, one verb a line."""
    width = max(len(verb.name) for verb in verbs)
    return "\n".join(f"  {verb.name:{width}}  {verb.line}" for verb in verbs)
