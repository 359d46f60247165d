"""The licences that the Hugging Face Hub knows by name."""

from __future__ import annotations

import textwrap
from typing import Any

from vdmfewshot.cli.errors import Mistake, did_you_mean

#: those of most models first (huggingface.co/docs/hub/repositories-licenses)
LICENSES = (
    "apache-2.0", "mit", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc0-1.0", "openrail",
    "other", "unknown", "afl-3.0", "agpl-3.0", "apple-amlr", "apple-ascl", "artistic-2.0", "bigcode-openrail-m",
    "bigscience-bloom-rail-1.0", "bigscience-openrail-m", "bsd", "bsd-2-clause", "bsd-3-clause",
    "bsd-3-clause-clear", "bsl-1.0", "c-uda", "cc", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-nc-2.0",
    "cc-by-nc-3.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nd-4.0",
    "cc-by-sa-3.0", "cdla-permissive-1.0", "cdla-permissive-2.0", "cdla-sharing-1.0", "creativeml-openrail-m",
    "deepfloyd-if-license", "ecl-2.0", "epl-1.0", "epl-2.0", "etalab-2.0", "eupl-1.1", "eupl-1.2",
    "fair-noncommercial-research-license", "gemma", "gfdl", "gpl", "gpl-2.0", "gpl-3.0", "h-research",
    "intel-research", "isc", "lgpl", "lgpl-2.1", "lgpl-3.0", "lgpl-lr", "llama2", "llama3", "llama3.1",
    "llama3.2", "llama3.3", "llama4", "lppl-1.3c", "mpl-2.0", "ms-pl", "ncsa", "odbl", "odc-by", "ofl-1.1",
    "openmdw-1.0", "openrail++", "osl-3.0", "pddl", "postgresql", "unlicense", "wtfpl", "zlib",
)  # fmt: skip


def require_license(options: Any, see: str) -> None:
    """Refuse a licence that is missing or that the Hub does not know.

    Args:
        options: ``license``, and ``license_name`` and ``license_link`` of one that is ``other``.
        see: command whose help says more.

    Raises:
        Mistake: with those that it knows.
    """
    known = textwrap.fill(" ".join(LICENSES), 78, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)
    if options.license is None:
        raise Mistake(f"nobody may use weights without a licence: give --license, one of\n{known}", see)
    if options.license not in LICENSES:
        near = did_you_mean(options.license, LICENSES) or f", not one of\n{known}"
        raise Mistake(f"--license must be a name that the Hub knows, got {options.license!r}{near}", see)
    if options.license == "other" and not (options.license_name and options.license_link):
        raise Mistake("--license other needs --license_name NAME and --license_link URL", see)
    if options.license != "other" and (options.license_name or options.license_link):
        raise Mistake("--license_name and --license_link belong to --license other", see)
