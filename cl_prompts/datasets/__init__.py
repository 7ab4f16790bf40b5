"""Data sets: registry, readers, decoding and transforms."""
