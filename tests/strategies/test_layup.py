"""LayUP on a stream: when its ridge is chosen, and what one normed block comes to."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import Ridge

from cl_prompts.models.multi_label_ridge import MultiLabelRidge
from tests.strategies.shared import frozen_features
from tests.toy_data import N_CLASSES, TRAIN, Blobs, experiences
from tests.toys import fit, make


def test_one_normed_block_is_ridge_regression_on_the_class_token() -> None:
    strategy = fit(make("layup", read_out="blocks:1", ridge=3.0), experiences())
    train, test = Blobs(TRAIN, seed=1), Blobs(48, seed=2)
    onehot = np.eye(N_CLASSES)[train.targets]
    solver = Ridge(alpha=3.0, fit_intercept=False).fit(frozen_features(train), onehot)
    logits = strategy.model(test.images).double().numpy()
    assert np.abs(logits - solver.predict(frozen_features(test))).max() <= 1e-4


def test_several_labels_have_the_image_ridge() -> None:
    head = make("layup", "mlcil").model.head
    assert isinstance(head, MultiLabelRidge)
    assert head.dim == 2 * 16
