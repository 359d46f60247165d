"""What answers first: help, mistakes and names in milliseconds; the libraries are imported when there is work to do."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from vdmfewshot import __version__
from vdmfewshot.cli import arguments, fragments
from vdmfewshot.cli.check import Settings, check, require
from vdmfewshot.cli.errors import Mistake, did_you_mean, plain_errors
from vdmfewshot.cli.help import overview, verb_help
from vdmfewshot.cli.preflight import require_files
from vdmfewshot.cli.schema import Option, schema
from vdmfewshot.cli.verbs import VERBS, Verb, find_verb
from vdmfewshot.training.quiet import quiet

HELP = ("-h", "--help", "help")


def run(words: Sequence[str] | None = None) -> None:
    """The console script.

    Args:
        words: the command line; ``sys.argv[1:]`` if not given.
    """
    given = sys.argv[1:] if words is None else list(words)
    with plain_errors():
        text = answer(given)
        if text is not None:
            sys.stdout.write(text)
            return
        result = main(given, announce=True)
        if isinstance(result, int) and result:
            raise SystemExit(result)
        if hasattr(result, "tell_results"):
            result.tell_results(sys.stdout)


def main(words: Sequence[str], announce: bool = False) -> Any:
    """Run a verb.

    Args:
        words: command line with the verb first.
        announce: say in a line what begins, before the libraries are imported.

    Returns:
        What the verb returns.

    Raises:
        Mistake: for options, names and settings that cannot be right.
    """
    verb = require_verb(words)
    rest, settings = prepare(verb, words[1:])
    if announce and settings is not None:
        _announce(verb, rest, settings)
    elif announce and verb.slow:
        _announce(verb, rest, Settings())
    with quiet():
        return verb.load()(rest)


def answer(words: Sequence[str]) -> str | None:
    """What can be told without running anything, or ``None`` if there is something to run.

    Raises:
        Mistake: for an unknown verb or topic of help.
    """
    if not words or words[0] in HELP:
        return overview(__version__)
    if words[0] == "--version":
        return f"vdmfewshot {__version__}\n"
    verb = require_verb(words)
    for i, word in enumerate(words):
        if i and word in ("-h", "--help") and verb.name in schema().verbs:
            return verb_help(verb, "".join(words[i + 1 : i + 2]), schema())
        if word.startswith("--") and word.partition("=")[0].endswith(".help"):
            return verb_help(verb, word.partition("=")[2] or "".join(words[i + 1 : i + 2]), schema())
    return None


def require_verb(words: Sequence[str]) -> Verb:
    """The verb, which comes first.

    Raises:
        Mistake: if it does not, or is unknown.
    """
    word = words[0] if words else ""
    verb = find_verb(word)
    if verb is not None:
        return verb
    if word.startswith("-"):
        raise Mistake(f"a verb comes first: vdmfewshot adapt {' '.join(words)}", "vdmfewshot")
    near = did_you_mean(word, [verb.name for verb in VERBS], otherwise=True)
    raise Mistake(f"unknown verb {word!r}{near}", "vdmfewshot")


def prepare(verb: Verb, words: Sequence[str]) -> tuple[list[str], Settings | None]:
    """Resolve names, put options in order and check them.

    Args:
        verb: any.
        words: after the verb.

    Returns:
        The words that the verb gets, and what they say where that is known.

    Raises:
        Mistake: naming what is wrong and what was meant.
    """
    known = schema().verbs.get(verb.name)
    if known is None or not known.complete:
        found = arguments.split(words)
        require_files({a.name: a.value for a in found})
        return arguments.join(fragments.resolve(a) if a.name == "config" else a for a in found), None
    options = {**(schema().verbs["adapt"].options if verb.more else {}), **known.options}
    try:
        found = [_switched_on(argument, options) for argument in arguments.split(words)]
        ordered = [fragments.resolve(a, _classes(options, a.name)) for a in found]
        if "data" in options:
            ordered = arguments.in_order(ordered)
        settings = check(ordered, options, schema()) if schema().fits_libraries() else None
        if settings is not None and not any(argument.name == "print_config" for argument in ordered):
            require(settings, options, schema())
            require_files(settings.values)
    except Mistake as mistake:
        mistake.see = f"vdmfewshot {verb.name}"
        raise
    return arguments.join(ordered), settings


def _switched_on(argument: arguments.Argument, options: dict[str, Option]) -> arguments.Argument:
    """``--report_only`` alone is ``--report_only true``."""
    option = options.get(argument.name)
    return argument.replaced("true") if argument.value is None and option and option.type == "bool" else argument


def _classes(options: dict[str, Option], name: str) -> list[str]:
    return [cls.name for cls in schema().of_kinds(options[name].kinds)] if name in options else []


def _announce(verb: Verb, words: Sequence[str], settings: Settings) -> None:
    """Say what begins: on standard error, so that a printed configuration stays a configuration."""
    values = settings.values
    silent = str(values.get("quiet")).lower() == "true"
    if silent or "--print_config" in " ".join(words) or int(os.environ.get("LOCAL_RANK", "0")):
        return
    if str(values.get("report_only")).lower() == "true":  # without the libraries, unless it says so itself
        return
    data = settings.classes.get("data", "").removesuffix("DataModule")
    what = next((str(values[key]) for key in ("data.root", "data.task", "data.images") if values.get(key)), "")
    parts = [f"{data} {what}".strip(), str(values.get("model.backbone.path") or "")]
    if verb.name in ("adapt", "fit") and "trainer.max_steps" in values:
        parts.append(f"{values['trainer.max_steps']} steps")
    told = ", ".join(part for part in parts if part)
    sys.stderr.write(f"{verb.name}{f': {told}' if told else ''} (loading libraries takes some seconds)\n")
    sys.stderr.flush()
