"""The tests mirror the package; what they share is in ``tests/toy*.py``."""

from pathlib import Path

GOLDEN_FILES = Path(__file__).parent / "golden"
