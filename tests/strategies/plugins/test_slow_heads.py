"""Slow heads: averages that decide in evaluation, and train nothing."""

import torch

from cl_prompts.strategies import SlowHeads
from tests.toy_data import Blobs, experiences
from tests.toys import fit, make, same, weights

IMAGES = Blobs(12, seed=7).images


def test_slow_heads_decide_in_evaluation_and_train_nothing() -> None:
    kind = "mvp"
    plain = fit(make(kind), experiences())
    slow = fit(make(kind, plugins=[SlowHeads(decays=(0.5, 0.9))]), experiences())
    learned = {name: v for name, v in weights(slow).items() if not name.startswith("slow.")}
    assert same(weights(plain), learned)
    with torch.no_grad():
        heads = [plain.model.eval()(IMAGES)]
        for j in range(2):
            for name in ("weight", "bias"):
                average = slow.model.slow.get_buffer(f"slow_{name}")[0, j]
                getattr(plain.model.head, name).copy_(average)
            heads.append(plain.model(IMAGES))
        want = torch.stack(heads).softmax(dim=-1).amax(dim=0)
        assert not torch.allclose(want, heads[0].softmax(dim=-1), atol=1e-3)
        torch.testing.assert_close(slow.model.eval()(IMAGES).exp(), want)
