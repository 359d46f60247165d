"""The constructor is the schema: what LightningCLI reads from YAML and shows as help."""

import pickle
import re

import pytest
from jsonargparse import ArgumentParser

from vdmfewshot.data.arc import ArcDataModule
from vdmfewshot.data.base import FewShotDataModule
from vdmfewshot.data.pairs import PairsDataModule
from vdmfewshot.data.pose import CocoPoseDataModule
from vdmfewshot.data.segmentation import CocoInstancesDataModule, MaskFolderDataModule

MODULES = {
    PairsDataModule: {"root": "r"},
    MaskFolderDataModule: {"root": "r"},
    ArcDataModule: {"task": "t"},
    CocoInstancesDataModule: {"images": "i", "annotations": "a", "category": "c"},
    CocoPoseDataModule: {"images": "i", "annotations": "a"},
}
SHARED = [
    "shots", "support_seed", "num_frames", "height", "width", "transition", "batch_size", "eval_batch_size",
    "num_workers", "variants", "seed", "max_queries",
]  # fmt: skip


def parser():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(FewShotDataModule, "data")
    return parser


@pytest.mark.parametrize("module", MODULES)
def test_every_setting_is_reachable_and_typed(module):
    name = f"{module.__module__}.{module.__name__}"
    options = [f"--data.{key}={value}" for key, value in MODULES[module].items()]
    config = parser().parse_args([f"--data={name}", *options, "--data.shots=3", "--data.transition=convex"])
    assert set(SHARED) <= set(vars(config.data.init_args))
    data = module(**vars(config.data.init_args))
    assert (data.shots, data.transition, data.num_frames) == (3, "convex", 9)
    for wrong in ("--data.shots=three", "--data.transition=sideways", "--data.shotz=3"):
        with pytest.raises(Exception, match=r"shots|transition|shotz"):
            parser().parse_args([f"--data={name}", *options, wrong])


@pytest.mark.parametrize("module", MODULES)
def test_help_explains_every_setting(module, capsys):
    with pytest.raises(SystemExit):
        parser().parse_args([f"--data.help={module.__module__}.{module.__name__}"])
    text = capsys.readouterr().out
    settings = text.split("Help for", 1)[1].split("\n  --data.")[1:]
    explained = {line.split()[0]: re.split(r"\((?:type|required)", line)[0].split(maxsplit=1)[-1] for line in settings}
    for setting in [*SHARED, *MODULES[module]]:
        assert len(explained[setting]) > 15, setting


def test_training_stream_can_be_sent_to_a_spawned_worker():
    data = ArcDataModule(task="yflip_l699qy8cyl67x9b0h3h", source="miniarc", variants=5)
    data.setup()
    stream = data.train_dataloader().dataset
    copy = pickle.loads(pickle.dumps(stream))
    assert copy.clip(7).digest == stream.clip(7).digest
