"""Who may import whom, and what an import costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import cl_prompts
from cl_prompts.backbones.devices import check_precision, pick_device
from cl_prompts.errors import InputError

PACKAGE = Path(cl_prompts.__file__).parent
PARTS = {
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "sklearn",
    "safetensors",
    "huggingface_hub",
    "scipy",
}


def imported(file: Path) -> set[str]:
    """Top-level packages that a file imports, and ``cl_prompts.x`` for its own."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {
                f"{node.module}.{alias.name}" if node.module == "cl_prompts" else node.module
                for alias in node.names
            }
    own = {".".join(n.split(".")[:2]) for n in names if n.startswith("cl_prompts")}
    return own | {n.split(".")[0] for n in names if not n.startswith("cl_prompts")} - set(
        sys.stdlib_module_names
    )


@pytest.mark.parametrize("file", sorted(PACKAGE.glob("*.py")), ids=lambda f: f.name)
def test_parts_stand_alone(file: Path) -> None:
    below = {"cl_prompts.scenarios", "cl_prompts.strategies", "cl_prompts.experiments"}
    assert not imported(file) & below
    assert {n for n in imported(file) if not n.startswith("cl_prompts")} <= PARTS


@pytest.mark.parametrize("file", sorted(PACKAGE.glob("scenarios/*.py")), ids=lambda f: f.name)
def test_scenarios_know_no_strategy(file: Path) -> None:
    assert not imported(file) & {"cl_prompts.strategies", "cl_prompts.experiments"}
    assert "avalanche" not in imported(file) or file.name in {
        "benchmarks.py",
        "streams.py",
        "multi_hot.py",
    }


@pytest.mark.parametrize("file", sorted(PACKAGE.glob("strategies/*.py")), ids=lambda f: f.name)
def test_strategies_know_no_scenario(file: Path) -> None:
    assert not imported(file) & {"cl_prompts.scenarios", "cl_prompts.experiments"}


@pytest.mark.parametrize(
    "code",
    [
        "import cl_prompts, cl_prompts.scenarios, cl_prompts.strategies, cl_prompts.models.base",
        "from cl_prompts.experiments.cli import main; main(['ls'])",
    ],
)
def test_quick_imports_leave_avalanche_alone(code: str) -> None:
    check = f"{code}\nimport sys\nassert 'avalanche' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True, capture_output=True)


def test_devices() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type in ("cpu", "cuda", "mps")
    check_precision("bf16", torch.device("cpu"))
    check_precision("fp32", torch.device("meta"))
    with pytest.raises(
        InputError, match="bf16 is not supported by device meta: use precision=fp32"
    ):
        check_precision("bf16", torch.device("meta"))
