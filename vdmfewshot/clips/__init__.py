"""From pictures to clips: one typed batch, transitions, geometry, randomness by name."""
