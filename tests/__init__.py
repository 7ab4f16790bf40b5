"""The tests mirror the package; what they share is in ``tests/toy*.py``."""

import os
from pathlib import Path

# As the command line does: it takes effect only before torch is imported.
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
GOLDEN_FILES = Path(__file__).parent / "golden"
