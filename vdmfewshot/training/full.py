"""All weights of the denoiser are trained, for comparison: what an adapter on frozen weights is measured against."""

from __future__ import annotations

from vdmfewshot.training.cache import LatentCache
from vdmfewshot.training.module import FewShotModule


class FullFineTuneModule(FewShotModule):
    """A ``FewShotModule`` that trains every weight of the denoiser and has no adapter.

    With a backbone of ``init="random"`` it trains from scratch. ``lora`` and ``adapter`` have no effect; checkpoints
    hold the whole denoiser, and ``AdapterExport`` has nothing to export.
    """

    def configure_model(self) -> None:
        """Read the weights and let all of the denoiser's be trained. Idempotent."""
        if self._configured:
            return
        self.backbone.load()
        self.backbone.denoiser.requires_grad_(True)
        self._cache = LatentCache(str(self.backbone.encoder_fingerprint), self.cache_dir)
        self._configured = True
