"""Joint probe: joint training of a head alone."""

from __future__ import annotations

import pytest

from cl_prompts.errors import InputError
from cl_prompts.strategies import AnytimeEvaluation
from tests.toy_data import Blobs, Scenes, benchmark
from tests.toys import close, fit, make, weights


def test_it_is_joint_training_with_a_frozen_backbone() -> None:
    stream = benchmark().train_stream
    probe = fit(make("joint_probe"), stream)
    joint = fit(make("joint", backbone_lr=0.0, weight_decay=0.0), stream)
    close(weights(probe), weights(joint))
    assert not probe.model.backbone.trainable
    with pytest.raises(InputError, match="unknown setting of JointProbe 'backbone_lr'"):
        make("joint_probe", backbone_lr=1e-5)


@pytest.mark.parametrize("kind", ["joint", "joint_probe"])
def test_joint_training_has_no_average_over_tasks(kind: str) -> None:
    for scenario, last, test in (
        ("si_blurry", "a_last", Blobs(24, seed=2)),
        ("mlcil", "map_last", Scenes(24, seed=2)),
    ):
        anytime = AnytimeEvaluation(test, n_classes=6, every=None)
        fit(make(kind, scenario, plugins=[anytime]), benchmark(scenario).train_stream)
        undefined = {name for name, value in anytime.results.items() if value is None}
        assert anytime.results[last] is not None
        average = "a_avg" if scenario == "si_blurry" else "map_avg"
        assert {average, "a_auc", "forgetting", "task_forgetting"} <= undefined
