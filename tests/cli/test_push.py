"""Sharing adapters: what is pushed to a hub, what is refused, and that what comes back answers alike."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.torch import load_file, save_file

import vdmfewshot as vdm
from tests.hub_server import TOKEN, Hub, Repository, hub_server, use_hub
from tests.runs import options, run
from tests.storage.test_hub import free_port
from vdmfewshot.cli import front
from vdmfewshot.cli.errors import Mistake
from vdmfewshot.cli.licenses import LICENSES
from vdmfewshot.storage.hub import HubError

REPO = "owner/mirror"
BASE = ["--base_model", "someone/tiny"]
ASKED = [*BASE, "--license", "mit", "--pictures", "yes"]


@pytest.fixture(scope="module")
def runs(tiny: Path, pairs_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the command line on a checkpoint in a folder."""
    folder = tmp_path_factory.mktemp("runs")
    run("adapt", *options(tiny, folder, pairs_root), "--name", "mirror")
    return folder / "mirror" / "version_0"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with hub_server() as server:
        use_hub(monkeypatch, server.url, str(tmp_path / "cache"))
        yield server


@pytest.fixture
def adapter(runs: Path, tmp_path: Path) -> Path:
    """A copy of the run's adapter that may be spoilt."""
    return Path(shutil.copytree(runs / "adapter", tmp_path / "run" / "adapter"))


def push(adapter: Path, *more: str, repo: str = REPO) -> None:
    front.main(["push", str(adapter), repo, *more])


def load(name: str, tiny: Path) -> vdm.Adapted:
    return vdm.load(name, model=str(tiny), accelerator="cpu")


def picture() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def test_what_comes_back_answers_bit_for_bit_and_nothing_else_is_fetched(runs: Path, tiny: Path, hub: Hub) -> None:
    push(runs / "adapter", *ASKED)
    stored = hub.repositories[REPO]
    stored.commit("main", hub.files(REPO) | {"pytorch_lora_weights.bin": b"pickled", "vdmfewshot.py": b"import os"})
    hub.requests.clear()
    shared = load(f"hf:{REPO}", tiny)
    assert (shared.predict(picture()) == load(str(runs / "adapter"), tiny).predict(picture())).all()
    fetched = {
        request.rpartition("/")[2] for request in hub.requests if request.startswith("GET") and "resolve" in request
    }
    assert fetched == {"pytorch_lora_weights.safetensors", "adapter_config.json", "vdmfewshot.json"}
    hub.broken = 503
    assert load(f"hf:{REPO}", tiny).folder == shared.folder, "from the cache"


def test_the_command_line_tests_and_goes_on_from_a_shared_adapter(
    runs: Path, tiny: Path, pairs_root: Path, tmp_path: Path, hub: Hub
) -> None:
    push(runs / "adapter", *ASKED, "--revision", "v1")
    named = ["--model.adapter", f"hf:{REPO}@v1"]
    run("test", *options(tiny, tmp_path, pairs_root), *named, "--name", "again")
    scores = [json.loads(next(place.glob("**/scores.json")).read_text())["scores"] for place in (runs, tmp_path)]
    kept = [{name: row["score"] for name, row in found.items()} for found in scores]
    assert kept[0] == kept[1]
    config = yaml.safe_load((tmp_path / "again/version_0/config.yaml").read_text())
    assert config["model"]["init_args"]["adapter"] == f"hf:{REPO}@v1"
    run("fit", *options(tiny, tmp_path, pairs_root), *named, "--name", "on")
    assert (tmp_path / "on/version_0/adapter/vdmfewshot.json").is_file()


def test_a_dry_run_needs_no_hub_and_tells_everything_but_where_it_was_made(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    push(runs / "adapter", *ASKED, "--dry_run", str(tmp_path / "dry"))
    folder = tmp_path / "dry"
    assert {f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file()} == {
        *("README.md", "config.yaml", "scores.json", "vdmfewshot.json", "adapter_config.json", "pictures/test.png"),
        *("pytorch_lora_weights.safetensors", "adapter_model.safetensors"),
    }
    private = (str(runs), str(tmp_path), TOKEN, str(Path.home()), "/pairs")
    texts = {file.name: file.read_text() for file in folder.iterdir() if file.suffix in (".md", ".json", ".yaml")}
    assert not [(name, word) for name, text in texts.items() for word in private if word in text]
    assert TOKEN not in "".join(capfd.readouterr())
    front_matter = yaml.safe_load(texts["README.md"].split("---\n")[1])
    assert front_matter["license"] == "mit"
    assert front_matter["base_model"] == "someone/tiny"
    assert front_matter["library_name"] == "diffusers"
    scores = json.loads(texts["scores.json"])
    row = scores["scores"][scores["main"]]
    metric = front_matter["model-index"][0]["results"][0]["metrics"][0]
    assert metric["type"] == scores["main"]
    assert metric["value"] == pytest.approx(row["score"], abs=1e-4)
    assert f"| **{scores['main']}** | {row['score']:.1f}" in texts["README.md"]
    for words in (f"{row['n']}/{row['n_expected']} |", "copy-input", f'vdm.load("hf:{REPO}")', "load_lora_weights"):
        assert words in texts["README.md"]


def test_the_model_within_the_package_has_no_lines_for_diffusers(runs: Path, adapter: Path, tmp_path: Path) -> None:
    change_manifest(adapter, lambda manifest: manifest["backbone"].update(path="embedded"))
    push(adapter, "--license", "mit", "--dry_run", str(tmp_path / "dry"))
    card = (tmp_path / "dry" / "README.md").read_text()
    assert "from_pretrained" not in card
    assert "base_model" not in card
    assert "Nothing was tested" in card


def test_a_second_push_takes_back_pictures_but_nothing_of_others(runs: Path, hub: Hub) -> None:
    push(runs / "adapter", *ASKED)
    stored = hub.repositories[REPO]
    stored.commit("main", hub.files(REPO) | {"notes.txt": b"mine"})
    assert "pictures/test.png" in hub.files(REPO)
    push(runs / "adapter", *BASE, "--license", "mit", "--pictures", "no")
    assert "pictures/test.png" not in hub.files(REPO)
    assert "notes.txt" in hub.files(REPO)
    assert b"pictures/" not in hub.files(REPO)["README.md"]


def test_private_is_private(runs: Path, tiny: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    push(runs / "adapter", *BASE, "--license", "mit", "--private")
    assert hub.repositories[REPO].private
    assert load(f"hf:{REPO}", tiny).manifest.task
    monkeypatch.delenv("HF_TOKEN")
    shutil.rmtree(Path(hub_cache()))
    with pytest.raises(HubError, match=r"or it is private and this machine may not read it.*`hf auth login`.*HF_TOKEN"):
        load(f"hf:{REPO}", tiny)


def hub_cache() -> str:
    from huggingface_hub import constants

    return constants.HF_HUB_CACHE


def spoil_weights(files: dict[str, bytes]) -> None:
    weights = bytearray(files["pytorch_lora_weights.safetensors"])
    weights[-1] ^= 1
    files["pytorch_lora_weights.safetensors"] = bytes(weights)


def spoil_manifest(files: dict[str, bytes]) -> None:
    files["vdmfewshot.json"] = files["vdmfewshot.json"].replace(b'"codec"', b'"kodec"')


def spoil_config(files: dict[str, bytes]) -> None:
    files["adapter_config.json"] = files["adapter_config.json"].replace(b'"lora_alpha": 16', b'"lora_alpha": 99')


@pytest.mark.parametrize("spoil", [spoil_weights, spoil_manifest, spoil_config])
def test_a_file_that_was_tampered_with_is_refused(runs: Path, tiny: Path, hub: Hub, spoil: Any) -> None:
    push(runs / "adapter", *ASKED)
    files = dict(hub.files(REPO))
    spoil(files)
    assert files != hub.files(REPO)
    hub.repositories[REPO].commit("main", files)
    with pytest.raises(HubError, match=f"hf:{REPO} is not what was pushed"):
        load(f"hf:{REPO}", tiny)


def test_a_repository_without_an_adapter_says_so(tiny: Path, hub: Hub) -> None:
    hub.repositories["owner/else"] = Repository()
    with pytest.raises(HubError, match="hf:owner/else holds no adapter"):
        load("hf:owner/else", tiny)


def test_without_a_token_nothing_is_asked(runs: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(Mistake, match=r"not logged in.*`hf auth login`, or set HF_TOKEN"):
        push(runs / "adapter", *ASKED)
    assert hub.requests == []


def test_a_token_that_the_hub_does_not_know_is_not_repeated(
    runs: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_misspelt")
    with pytest.raises(HubError, match=r"does not know this token \(401") as caught:
        push(runs / "adapter", *ASKED)
    assert "misspelt" not in str(caught.value).replace("expired or misspelt?", "")
    assert hub.repositories == {}


def test_without_a_network_a_push_says_so(
    runs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    use_hub(monkeypatch, f"http://127.0.0.1:{free_port()}", str(tmp_path))
    with pytest.raises(HubError, match="out of reach for hf:owner/mirror; check the network"):
        push(runs / "adapter", *ASKED)
    assert "Retrying" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("repo", "more", "words"),
    [
        ("mirror", ASKED, "must be owner/name"),
        ("a/b/c", ASKED, "must be owner/name"),
        ("owner/mirror@v1", ASKED, "given as --revision v1"),
        (REPO, BASE, "(?s)give --license, one of.*apache-2.0.*other"),
        (REPO, [*BASE, "--license", "apache-2"], "did you mean apache-2.0?"),
        (REPO, [*BASE, "--license", "other"], "--license_name NAME and --license_link URL"),
        (REPO, [*BASE, "--license", "mit"], "--pictures yes or --pictures no"),
        (REPO, ["--license", "mit", "--pictures", "no"], "--base_model owner/name"),
        (REPO, [*ASKED, "--base_model", "tiny"], "--base_model: the name of a repository must be"),
    ],
)
def test_what_is_not_said_is_asked_for(runs: Path, hub: Hub, repo: str, more: list[str], words: str) -> None:
    with pytest.raises(Mistake, match=words):
        push(runs / "adapter", *more, repo=repo)
    assert hub.repositories == {}


def test_every_licence_is_named_once() -> None:
    assert len(set(LICENSES)) == len(LICENSES)


def test_a_folder_above_adapters_names_them(runs: Path) -> None:
    with pytest.raises(Mistake, match=f"holds no adapter.*there is {runs / 'adapter'}"):
        push(runs.parent, *ASKED)


def change_manifest(adapter: Path, change: Any) -> None:
    manifest = json.loads((adapter / "vdmfewshot.json").read_text())
    change(manifest)
    (adapter / "vdmfewshot.json").write_text(json.dumps(manifest))


def other_weights(adapter: Path) -> None:
    file = adapter / "pytorch_lora_weights.safetensors"
    save_file({name: tensor * 2 for name, tensor in load_file(file).items()}, file)


def other_peft_weights(adapter: Path) -> None:
    file = adapter / "adapter_model.safetensors"
    save_file({name: tensor * 2 for name, tensor in load_file(file).items()}, file)


def other_alpha(adapter: Path) -> None:
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"lora_alpha": 99}))


def no_manifest(adapter: Path) -> None:
    (adapter / "vdmfewshot.json").unlink()


@pytest.mark.parametrize("spoil", [other_weights, other_peft_weights, other_alpha, no_manifest])
def test_an_adapter_that_is_not_whole_is_not_shared(adapter: Path, hub: Hub, spoil: Any) -> None:
    spoil(adapter)
    with pytest.raises(Mistake, match=r"must not be shared|does not hold the weights|not made by vdmfewshot"):
        push(adapter, *ASKED)
    assert hub.repositories == {}


def test_what_others_have_is_left_alone(runs: Path, hub: Hub) -> None:
    hub.repositories[REPO] = Repository()
    hub.repositories[REPO].commit("main", {"model.safetensors": b"a model"})
    with pytest.raises(HubError, match="holds what is no adapter of vdmfewshot"):
        push(runs / "adapter", *ASKED)
    assert hub.files(REPO) == {"model.safetensors": b"a model"}


def test_a_public_repository_does_not_become_private_by_itself(runs: Path, hub: Hub) -> None:
    push(runs / "adapter", *ASKED)
    before = hub.files(REPO)
    with pytest.raises(HubError, match="there and public, not --private"):
        push(runs / "adapter", *ASKED, "--private")
    assert hub.files(REPO) == before


def test_what_the_hub_says_of_the_card_is_told(runs: Path, hub: Hub) -> None:
    hub.faults.append({"message": "license must be known"})
    with pytest.raises(HubError, match="(?s)does not take this adapter.*license must be known"):
        push(runs / "adapter", *ASKED)


def test_a_folder_in_use_is_no_place_for_a_dry_run(runs: Path) -> None:
    with pytest.raises(Mistake, match="new or empty folder"):
        push(runs / "adapter", *ASKED, "--dry_run", str(runs))
