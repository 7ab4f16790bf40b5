"""Models as files that need no cl-prompts."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest
import torch

from cl_prompts.errors import InputError
from cl_prompts.experiments.trained import exporting
from cl_prompts.experiments.trained.loading import TrainedRun, load_run
from tests.experiments.commands import summary
from tests.forked import forked
from tests.toys import make


@pytest.fixture(scope="module")
def trained(probe_run: Path) -> TrainedRun:
    return load_run(probe_run, device="cpu", trust_code=True)


def test_the_file_scores_as_the_run_and_needs_torch_alone(
    trained: TrainedRun, probe_run: Path, tmp_path: Path
) -> None:
    file = tmp_path / "model.pt"
    recorded, scored = exporting.export_torch(trained, file)
    assert recorded == summary(probe_run)["results"]["a_last"] == pytest.approx(scored)
    images = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        want = trained.strategy.model(images)
        assert torch.allclose(torch.jit.load(str(file))(images), want, atol=1e-5)

    def work() -> int:
        for name in list(sys.modules):
            if name.partition(".")[0] not in ("torch", "numpy", *sys.stdlib_module_names):
                del sys.modules[name]
        sys.path[:] = [entry for entry in sys.path if "site-packages" not in entry]
        torch.jit.load(str(file))(images)
        return 0

    done = forked(work)
    assert done.code == 0, done.err


@pytest.mark.parametrize(("recorded", "says"), [(0.123, r"12\.30 %"), (1.5, r"150\.00 %")])
def test_a_file_that_scores_otherwise_is_not_written(
    recorded: float, says: str, trained: TrainedRun, tmp_path: Path
) -> None:
    results = {**trained.run.summary["results"], "a_last": recorded}
    other = dataclasses.replace(trained.run, summary={**trained.run.summary, "results": results})
    with pytest.raises(InputError, match=f"the run recorded {says}: nothing was written"):
        exporting.export_torch(dataclasses.replace(trained, run=other), tmp_path / "model.pt")
    assert not list(tmp_path.iterdir())


def test_a_method_without_a_fixed_graph_is_refused(trained: TrainedRun) -> None:
    settings = dataclasses.replace(trained.settings, strategy="l2p")
    toy = dataclasses.replace(trained, settings=settings, strategy=make("l2p"), image_size=16)
    with pytest.raises(InputError, match="strategy l2p cannot be exported"):
        exporting.traced(toy)
