"""Models with adapters against published features, and what scores when."""

import torch

from cl_prompts.models.adapted import AperViT, EaseViT, cosine
from cl_prompts.prompts.task_adapters import TaskAdapters
from tests.golden_numbers import Golden, golden_vit
from tests.toy_vits import tiny_vit

GOLDEN = Golden("ease")
IMAGES = torch.rand(5, 3, 16, 16)


def published(task: int) -> TaskAdapters:
    adapters = TaskAdapters(1, 6, 32, bottleneck=4, scale=GOLDEN.number("adapter_scale")).eval()
    names = {"down_proj": "down", "up_proj": "up"}
    state = {}
    for key, values in GOLDEN.state(f"adapter{task}/").items():
        if key.startswith("block"):
            block, name = key.split("/")
            module, parameter = name.split(".")
            state[f"sets.0.{block.removeprefix('block')}.{names[module]}.{parameter}"] = values
    adapters.load_state_dict(state, strict=False)
    return adapters


def golden_adapters(n_tasks: int, *, spare: bool = False) -> TaskAdapters:
    """The published adapters of two tasks, or of the first."""
    adapters = TaskAdapters(n_tasks, 6, 32, bottleneck=4, scale=GOLDEN.number("adapter_scale"))
    for task in range(n_tasks):
        adapters.sets[task].load_state_dict(published(task).sets[0].state_dict())
    adapters.spare = spare
    return adapters


def test_published_features_in_two_subspaces() -> None:
    model = EaseViT(golden_vit(), 6, golden_adapters(2)).eval()
    model.adapters.start_task(1)
    features = model.encode(GOLDEN("images"), {}).features
    GOLDEN.close(features.flatten(1), "all/features")
    current = model.train().encode(GOLDEN("images"), {}).features
    assert current.shape[1] == 1


def test_published_features_beside_the_frozen_ones() -> None:
    vit = golden_vit()
    model = AperViT(vit, 6, golden_adapters(1, spare=True)).eval()
    features = model.encode(GOLDEN("images"), {}).features
    GOLDEN.close(features[:, 1], "adapter0/features")
    torch.testing.assert_close(features[:, 0], vit(GOLDEN("images")), atol=1e-5, rtol=1e-5)


def test_classes_without_prototype_are_scored_by_the_proxy() -> None:
    model = AperViT(tiny_vit(), 3, TaskAdapters(1, 4, 16, spare=True)).eval()
    model.observe_classes(torch.tensor([0, 1]))
    features = model.encode(IMAGES, {}).features
    proxies = cosine(features[:, 1], model.head.weight)
    torch.testing.assert_close(model(IMAGES)[:, :2], proxies[:, :2])
    model.learn(features.flatten(1)[:2], torch.tensor([1, 1]))
    logits = model(IMAGES)
    torch.testing.assert_close(logits[:, 0], proxies[:, 0])
    mean = features.flatten(1)[:2].mean(dim=0)
    torch.testing.assert_close(logits[:, 1], cosine(features.flatten(1), mean[None])[:, 0])
    assert (logits[:, 2] == -torch.inf).all()


def test_finished_subspaces_are_cached_and_the_newest_while_it_stands() -> None:
    model = EaseViT(tiny_vit(), 4, TaskAdapters(2, 4, 16, bottleneck=3)).eval()
    model.adapters.start_task(1)
    first = model.run(IMAGES)
    keys = model.cache_keys()
    assert list(keys) == ["adapters0", "adapters1"]
    assert not model.needs_images(first.cacheable)
    with torch.no_grad():
        next(model.adapters.sets[1].parameters()).add_(1)
    after = model.cache_keys()
    assert after["adapters0"] == keys["adapters0"]
    assert after["adapters1"] != keys["adapters1"]
    model.backbone.counter.reset()
    model.run(IMAGES, {"adapters0": first.cacheable["adapters0"]})
    assert model.backbone.counter.blocks == 4 * len(IMAGES)
