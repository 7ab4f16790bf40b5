"""The environment of a run."""

from __future__ import annotations

import torch

from cl_prompts.backbones.devices import pick_device
from cl_prompts.experiments.run_folder.environment import environment


def test_the_environment_names_versions() -> None:
    found = environment("cpu", "the command")
    # Metadata leave out how it was built (+cu121) where the index serves one build.
    assert found["torch"] in (torch.__version__, torch.__version__.partition("+")[0])
    assert found["command"] == "the command"
    assert {"cl_prompts", "python", "avalanche", "platform", "git_revision"} <= set(found)


def test_the_device_is_the_one_in_use() -> None:
    used = pick_device("auto")
    found = environment("auto", "")
    assert found["device"] == str(used) != "auto"
    assert ("gpu" in found) is (used.type == "cuda")
