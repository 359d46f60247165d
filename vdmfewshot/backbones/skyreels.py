"""SkyReels-V2 image-to-video: Wan 2.1's design under classes of its own in diffusers."""

from __future__ import annotations

from typing import Any

from diffusers import SkyReelsV2Transformer3DModel

from vdmfewshot.backbones.wan import Wan
from vdmfewshot.backbones.wan_layout import WanLayout


class SkyReelsV2(Wan):
    """SkyReels-V2 I2V (1.3B and 14B, 540p and 720p), by ``SkyReelsV2ImageToVideoPipeline``.

    As Wan 2.1 I2V: mask and latents on channels, the image's CLIP embedding, one network. Diffusion-forcing checkpoints
    (``DF``) have another pipeline and are refused.
    """

    transformer_class = SkyReelsV2Transformer3DModel

    def _layout(self) -> WanLayout:
        layout = super()._layout()
        if layout.given_latent or not layout.clip:
            raise ValueError(
                f"SkyReelsV2 needs an image-to-video checkpoint, which has a mask and image latents on channels and an "
                f"image encoder, got {self.checkpoint.path!r}; use one named I2V, or Wan for others"
            )
        return layout

    def _pipeline_class(self) -> Any:
        from diffusers import SkyReelsV2ImageToVideoPipeline

        return SkyReelsV2ImageToVideoPipeline

    def _image_encoder_class(self) -> Any:
        from transformers import CLIPVisionModelWithProjection

        return CLIPVisionModelWithProjection

    def _parts(self) -> dict[str, Any]:
        return {k: v for k, v in super()._parts().items() if k not in OF_WAN}


#: parts and settings of Wan's pipeline that this one does not have
OF_WAN = ("transformer_2", "boundary_ratio", "expand_timesteps")
