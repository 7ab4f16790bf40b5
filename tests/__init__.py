"""The tests mirror the package; what they share is in ``tests/toy*.py``."""

import os
import sys
from pathlib import Path
from types import ModuleType

# As the command line does: it takes effect only before torch is imported.
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
# timm and Avalanche import it, if it is there, for more than a second; no test uses the real one.
sys.modules.setdefault("wandb", ModuleType("wandb"))
GOLDEN_FILES = Path(__file__).parent / "golden"
