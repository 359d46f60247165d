"""``vdmfewshot push``: an adapter, with what a stranger must know of it, becomes a repository on the Hub."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vdmfewshot import __version__
from vdmfewshot.cli.errors import Mistake
from vdmfewshot.cli.licenses import require_license
from vdmfewshot.storage.hub import LOG_IN, HubError, HubName, bars_for_people, hub_errors, hub_name

if TYPE_CHECKING:
    from huggingface_hub import HfApi

VERB = "vdmfewshot push"
#: what a repository may hold before the first push
HARMLESS = (".gitattributes", "README.md", "LICENSE", ".gitignore")


def push(args: Sequence[str]) -> None:
    """Upload an adapter, or show in a folder what would be uploaded.

    Args:
        args: the options, see ``--help``.

    Raises:
        Mistake: for an option that cannot be right, and for an adapter that is not whole.
        HubError: if the Hub does not take it.
    """
    options = parse(args)
    name = require_name(options.repo, options.revision)
    require_license(options, VERB)
    require_folder(options.adapter)
    if options.dry_run is None:
        require_token(name)
    from vdmfewshot.cli.bundle import Choices, write_bundle

    choices = Choices(
        name=name, license=options.license, license_name=options.license_name, license_link=options.license_link,
        pictures=options.pictures, private=options.private, base_model=options.base_model,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "adapter" if options.dry_run is None else require_empty(options.dry_run)
        files = write_bundle(options.adapter, folder, choices)
        if options.dry_run is None:
            place = upload(folder, name, options.private)
            told = f"{place}\nload it with: vdm.load({str(name)!r}), or --model.adapter {name}\n"
        else:
            told = f"would push to {name.repo}; read {folder / 'README.md'} first\n"
    sizes = "".join(f"  {file} ({size / 1e3:,.1f} kB)\n" for file, size in files.items())
    sys.stdout.write(f"{len(files)} files:\n{sizes}{told}")


def parse(args: Sequence[str]) -> Any:
    """The options of a command line."""
    parser = argparse.ArgumentParser(
        VERB,
        description="Upload an adapter to the Hugging Face Hub: weights, manifest, config, and a model card written "
        "from the run that the adapter lies in. Others load it as hf:owner/name.",
    )
    parser.add_argument("adapter", type=Path, help="folder of the adapter: runs/NAME/version_K/adapter")
    parser.add_argument("repo", metavar="owner/name", help="of the repository; made if there is none")
    parser.add_argument("--license", metavar="ID", help="of the weights: apache-2.0, mit, cc-by-4.0, other, ...")
    parser.add_argument("--license_name", metavar="NAME", help="name of a licence that is other")
    parser.add_argument("--license_link", metavar="URL", help="text of a licence that is other")
    parser.add_argument("--pictures", choices=("yes", "no"), help="whether the card shows test pictures of the run")
    parser.add_argument("--base_model", metavar="owner/name", help="on the Hub, of a model that was read from a folder")
    parser.add_argument("--private", action="store_true", help="make a repository that only its owner sees")
    parser.add_argument("--revision", metavar="BRANCH", help="to push to; made if there is none (default: main)")
    parser.add_argument("--dry_run", type=Path, metavar="FOLDER", help="write there what would be uploaded; no network")
    return parser.parse_args(list(args))


def require_name(text: str, revision: str | None) -> HubName:
    """Owner and name of a repository.

    Raises:
        Mistake: for anything else.
    """
    try:
        name = hub_name(text)
    except HubError as error:
        raise Mistake(str(error), VERB) from error
    if name.revision is not None:
        raise Mistake(f"a branch is given as --revision {name.revision}, not in the name {text!r}", VERB)
    return HubName(name.repo, revision)


def require_folder(folder: Path) -> None:
    """Refuse what holds no adapter, or several.

    Raises:
        Mistake: naming the folders that were meant.
    """
    file = "pytorch_lora_weights.safetensors"
    if (folder / file).is_file():
        return
    if not folder.is_dir():
        raise Mistake(f"there is no folder {folder}", VERB)
    found = sorted(str(f.parent) for pattern in ("*/", "*/*/", "*/*/*/") for f in folder.glob(pattern + file))
    several = f"; there is {', '.join(found[:5])}{', ...' if len(found) > 5 else ''}" if found else ""
    raise Mistake(f"{folder} holds no adapter: {file} is missing{several}", VERB)


def require_token(name: HubName) -> None:
    """Refuse to begin, before libraries are loaded, without being known to the Hub.

    Raises:
        Mistake: saying how to log in.
        HubError: if the Hub is out of reach or does not know the token.
    """
    from huggingface_hub import HfApi, get_token

    if get_token() is None:
        raise Mistake(f"this machine is not logged in to the Hub: {LOG_IN} (--dry_run FOLDER needs neither)", VERB)
    with hub_errors(name):
        HfApi().whoami()


def require_empty(folder: Path) -> Path:
    """A folder that nothing would be lost in.

    Raises:
        Mistake: if there is something in it.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Mistake(f"--dry_run needs a new or empty folder, got {folder}", VERB)
    return folder


def upload(folder: Path, name: HubName, private: bool) -> str:
    """Push a folder in one commit, to a repository that is made if there is none.

    Args:
        folder: all files below it are pushed.
        name: of the repository and branch.
        private: who may see a new repository; one that is there stays what it is.

    Returns:
        Address of the commit.

    Raises:
        HubError: if the Hub does not take it, if the repository holds something else, or if it is public and must not.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api = HfApi(library_name="vdmfewshot", library_version=__version__)
    files = {file.relative_to(folder).as_posix(): file for file in sorted(folder.rglob("*")) if file.is_file()}
    with hub_errors(name), bars_for_people():
        there = make_repository(api, name, private)
        stale = [file for file in there if file.startswith("pictures/") and file not in files]
        changes: list[Any] = [CommitOperationAdd(path, file) for path, file in files.items()]
        changes += [CommitOperationDelete(path) for path in stale]
        message = f"Adapter of vdmfewshot {__version__}"
        try:
            commit = api.create_commit(name.repo, changes, commit_message=message, revision=name.revision)
        except ValueError as error:  # what the Hub says of the card's metadata
            raise HubError(f"the Hub does not take this adapter: {error}") from error
    return str(commit.commit_url)


def make_repository(api: HfApi, name: HubName, private: bool) -> list[str]:
    """Make repository and branch where they are missing.

    Returns:
        Files that the branch holds.

    Raises:
        HubError: if it holds something other than an adapter of ours, or is public although it should be private.
    """
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        info = api.model_info(name.repo)
    except RepositoryNotFoundError:
        api.create_repo(name.repo, private=private)
        info = None
    if info is not None and private and not info.private:
        raise HubError(f"{name.repo} is there and public, not --private: make it private, or take another name")
    if name.revision is not None:
        api.create_branch(name.repo, branch=name.revision, exist_ok=True)
    there = api.list_repo_files(name.repo, revision=name.revision)
    foreign = [file for file in there if file not in HARMLESS]
    if foreign and "vdmfewshot.json" not in there:
        raise HubError(f"{name.repo} holds what is no adapter of vdmfewshot ({foreign[0]}, ...); take another name")
    return there
