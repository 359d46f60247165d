"""Tasks whose examples are drawn on the fly, seeded by number."""
