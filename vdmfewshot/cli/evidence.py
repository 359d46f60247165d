"""``vdmfewshot evidence``: its options; the comparison itself is in ``vdmfewshot.studies.evidence``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

from jsonargparse import ActionConfigFile

from vdmfewshot.cli.allowlist import read_locally
from vdmfewshot.cli.destinations import FLAG, refuse_outside, typed
from vdmfewshot.cli.study import make_adapter, make_planner
from vdmfewshot.cli.suggestions import HelpFormatter, SuggestingParser
from vdmfewshot.studies.evidence.settings import Settings
from vdmfewshot.studies.evidence.shown import recall
from vdmfewshot.studies.settings import Executor

if TYPE_CHECKING:
    from vdmfewshot.studies.evidence.summary import Summary  # which imports the libraries

DESCRIPTION = """Does pretraining help? Adapts pretrained and random weights on many tasks and support sets.

vdmfewshot evidence -c experiments/evidence.yaml
vdmfewshot evidence -c experiments/evidence.yaml -c experiments/evidence-quick.yaml
vdmfewshot evidence -c experiments/evidence.yaml --tasks '[zoom,arc]' --shots '[5]' --seeds '[0,1]'
vdmfewshot evidence -c experiments/evidence.yaml --tasks '["pairs:my/pictures","masks:my/cells"]' --shots '[5]'
vdmfewshot evidence -c experiments/evidence.yaml --out docs/results/evidence --report_only

It is a study: a second start goes on where the first one ended, several may run at once, and
`vdmfewshot study status -c OUT/study.yaml` says how far it is. --report_only draws table and figure of the results
that there are; in a folder that holds table.csv and no results, of its numbers."""


def evidence(args: Sequence[str]) -> Summary | None:
    """Run the verb.

    Args:
        args: command line after ``evidence``.

    Returns:
        What the table shows; ``None`` if the report of unchanged results is shown again, without the libraries.
    """
    read_locally()
    parser = SuggestingParser(prog="vdmfewshot evidence", description=DESCRIPTION, formatter_class=HelpFormatter)
    parser.add_argument("-c", "--config", action=ActionConfigFile, help="Settings from a file; later ones win")
    parser.add_argument("--report_only", type=bool, default=False, help="Measure nothing; table of what there is")
    parser.add_argument(f"--{FLAG}", type=bool, default=False, help="Let files name folders outside of this one")
    parser.add_class_arguments(Settings, as_group=False)
    parsed = parser.parse_args(list(args))
    refuse_outside("out", parsed.out, typed(args))
    values = {field.name: parsed[field.name] for field in fields(Settings)}
    settings = Settings(**{**values, "executor": Executor(**parsed.executor.as_dict())})
    if parsed.report_only:
        if known := recall(settings):
            sys.stdout.write(known)
            return None
        sys.stderr.write("evidence: table and figure are made anew (loading libraries takes some seconds)\n")
    return compare(settings, measure=not parsed.report_only)


def compare(settings: Settings, measure: bool = True) -> Summary:
    """Run what is missing and write table and figure; see ``run_evidence``."""
    from vdmfewshot.studies.evidence.run import run_evidence  # which imports the libraries

    return run_evidence(settings, make_planner, make_adapter, measure)
