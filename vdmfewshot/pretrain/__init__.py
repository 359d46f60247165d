"""How the embedded weights were made: a corpus of generated video and the modules that learn from it."""
