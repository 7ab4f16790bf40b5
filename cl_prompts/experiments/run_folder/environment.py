"""Environment of a run: versions, machine and source revision."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from cl_prompts import __version__
from cl_prompts.backbones import ranks
from cl_prompts.backbones.devices import pick_device

_PACKAGES = {
    "torch": "torch",
    "torchvision": "torchvision",
    "timm": "timm",
    "avalanche": "avalanche-lib",
    "numpy": "numpy",
}


def environment(device: str, command: str) -> dict[str, Any]:
    """Versions, machine and source revision of a run.

    Args:
        device: as asked for; what is recorded is the one that "auto" finds, and a GPU's model.
        command: what was typed to make the run.

    Raises:
        InputError: there is no such device.
    """
    used = pick_device(device)
    gpu = {"gpu": torch.cuda.get_device_name(used)} if used.type == "cuda" else {}
    return {
        "command": command,
        "time": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "cl_prompts": __version__,
        "git_revision": _revision(),
        "python": sys.version.split()[0],
        **{name: version(package) for name, package in _PACKAGES.items()},
        "platform": platform.platform(),
        "device": str(used),
        **gpu,
        "cpu_count": os.cpu_count(),
        "threads": torch.get_num_threads(),
        **({"ranks": ranks.size()} if ranks.size() > 1 else {}),
    }


def _revision() -> str | None:
    """Git revision of the source tree, marked if it has changes; None for an installed package."""
    where = Path(__file__).parent
    try:
        told = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],
            cwd=where,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return told.stdout.strip() or None
