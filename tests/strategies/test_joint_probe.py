"""Joint probe: joint training of a head alone."""

from __future__ import annotations

import pytest

from cl_prompts.errors import InputError
from tests.toy_data import benchmark
from tests.toys import close, fit, make, weights


def test_it_is_joint_training_with_a_frozen_backbone() -> None:
    stream = benchmark().train_stream
    probe = fit(make("joint_probe"), stream)
    joint = fit(make("joint", backbone_lr=0.0, weight_decay=0.0), stream)
    close(weights(probe), weights(joint))
    assert not probe.model.backbone.trainable
    with pytest.raises(InputError, match="unknown setting of JointProbe 'backbone_lr'"):
        make("joint_probe", backbone_lr=1e-5)
