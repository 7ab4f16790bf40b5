"""LayUP on a stream: when its ridge is chosen, and what one normed block comes to."""

from __future__ import annotations

from cl_prompts.models.multi_label_ridge import MultiLabelRidge
from tests.toys import make


def test_several_labels_have_the_image_ridge() -> None:
    head = make("layup", "mlcil").model.head
    assert isinstance(head, MultiLabelRidge)
    assert head.dim == 2 * 16
