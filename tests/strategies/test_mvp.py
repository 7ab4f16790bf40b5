"""MVP: what its parts are, and its loss in value; golden numbers are in tests/losses."""

import copy

import pytest
import torch
import torch.nn.functional as F

from cl_prompts.losses.mvp import contrastive_key_loss
from cl_prompts.strategies import Head
from tests.strategies.shared import stream_batch
from tests.toy_data import Blobs, experiences
from tests.toy_vits import tiny_vit
from tests.toys import fit, make

IMAGES = Blobs(8, seed=5).images
LABELS = torch.tensor([0, 1, 2, 3] * 2)


def test_parameters_are_as_many_as_published_for_vit_b() -> None:
    shape = {"img_size": 32, "patch_size": 16, "embed_dim": 768, "depth": 5, "num_heads": 12}
    published = {"pool_size": 10, "g_length": 5, "e_blocks": (2, 3, 4), "e_length": 20}
    model = make("mvp", backbone=tiny_vit(**shape), n_classes=100, **published).model
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 554_060
    assert (model.logit_mask.values == -1).all()


@pytest.mark.parametrize("use_contrastive", [True, False])
def test_with_several_prompts_an_image_logits_and_loss_are_their_formulas(
    use_contrastive: bool,
) -> None:
    strategy = make("mvp", top_k=2, use_contrastive=use_contrastive, use_afs=False, use_gsf=False)
    fit(strategy, experiences())
    model = strategy.model
    batch = stream_batch(strategy, IMAGES, LABELS)
    out = model.run(IMAGES)
    index = out.selection.index
    assert index.shape == (8, 2)
    # The parameters of both masks are averaged, then pass the sigmoid.
    literal = torch.stack([model.logit_mask.values[row].sum(dim=0) / 2 for row in index])
    mask = 2 / (1 + torch.exp(-literal))
    torch.testing.assert_close(out.logits, model.head(out.features) * mask)
    cross_entropy = F.cross_entropy(out.logits, LABELS)
    query = model.encode(IMAGES, {}).parts["frozen"]
    pairs = [(i, j) for i, row in enumerate(index.tolist()) for j in row]
    key = model.selector.key
    distances = [1 - F.cosine_similarity(query[i], key[j], dim=0) for i, j in pairs]
    if use_contrastive:
        keys = contrastive_key_loss(key, out.selection)
    else:
        keys = torch.stack(distances).sum() / len(pairs)
    torch.testing.assert_close(strategy.training_loss(out, batch), cross_entropy + keys)


def test_its_loss_reads_what_the_head_reads() -> None:
    strategy = fit(make("mvp", head=Head(input="whitened")), experiences())
    model = strategy.model
    images = IMAGES
    labels = torch.arange(8) % 6
    model.observe_classes(labels)
    batch = stream_batch(strategy, images, labels)
    output = model.run(images)
    raw = copy.deepcopy(model)
    raw.whitening = None
    features = raw.run(images).features
    torch.testing.assert_close(output.features, model.whitening(features))
    scale = 1 - F.cosine_similarity(model.head.weight[labels], output.features) + 0.5
    strategy.use_gsf = False
    logits = model.head(output.features / scale[:, None].detach()) * output.mask
    want = F.cross_entropy(logits, labels) + strategy.prompt_loss(output)
    torch.testing.assert_close(strategy.training_loss(output, batch), want)
