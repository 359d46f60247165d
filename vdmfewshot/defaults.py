"""The one set of defaults of the command line, its configuration files, Python and the demo.

Measured on tasks of every kind: docs/results/defaults. Plain values, so that every room may read them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

#: how a clip goes from input to target, see ``vdmfewshot.clips.transition``
TransitionName = Literal["discrete", "immediate", "convex", "quadratic", "square_root", "tiles"]

#: AdamW's, without weight decay; ``FewShotModule`` repeats it as a literal, which is what configurations can show
RATE = 4e-3
#: arguments of the Trainer where they are not Lightning's own defaults
TRAINER: dict[str, Any] = {
    "max_steps": 200,
    "gradient_clip_val": 1.0,
    "num_sanity_val_steps": 0,
    "check_val_every_n_epoch": None,
    "val_check_interval": 100,
    "log_every_n_steps": 10,
    "enable_model_summary": False,
}


@dataclass(frozen=True)
class Preset:
    """What suits a model where a configuration does not say otherwise.

    Attributes:
        num_frames: F of the clips.
        transition: from input to target, see ``vdmfewshot.clips.transition``.
        timestep_shift: above 1, more of the training is spent where noise is high.
        sampling_steps: denoising steps of a prediction, without guidance.
        emphasis: k of ``FewShotModule`` for targets of little paint, such as joints.
    """

    num_frames: int
    transition: TransitionName
    timestep_shift: float
    sampling_steps: int
    emphasis: float = 0.0


#: of the model that ships: one-frame mode, one step
EMBEDDED = Preset(num_frames=5, transition="immediate", timestep_shift=4.0, sampling_steps=1, emphasis=9.0)
#: of models that we have not measured: the papers' clips
PAPERS = Preset(num_frames=9, transition="discrete", timestep_shift=1.0, sampling_steps=10)
