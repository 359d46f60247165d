"""Training and sampling with a frozen backbone: Lightning modules, trainer, checkpoints, latents."""
