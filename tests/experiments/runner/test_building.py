"""Runs built from settings: what fits together, what is refused, and what gives a warning."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cl_prompts.errors import InputError
from cl_prompts.experiments.recipes.run_config import plan
from cl_prompts.experiments.runner.building import Resources, build_run, check_plan
from cl_prompts.experiments.runner.model_of_run import card_of
from cl_prompts.experiments.runner.run import Run
from tests.experiments import own_parts
from tests.few_images import few_images

OWN = "tests.experiments.own_parts"


@pytest.fixture(scope="module")
def resources() -> Resources:
    return Resources()


def built(resources: Resources, *overrides: str, recipe: str = "digits") -> Run:
    given = [text.partition("=")[0] for text in overrides]
    defaults = [text for text in ("strategy=ncm", "seed=1") if text.partition("=")[0] not in given]
    (settings,) = plan(recipe, [*defaults, *overrides])
    return build_run(settings, resources)


def test_the_stream_follows_stream_seed_and_the_rest_follows_seed(resources: Resources) -> None:
    first, second = plan("digits", ["strategy=mvp", "seed=1,2", "stream_seed=7"])
    one = build_run(first, resources)
    two = build_run(second, resources)
    assert one.split == two.split
    assert one.split.parameters["seed"] == 7
    assert one.strategy.seed == 1
    assert two.strategy.seed == 2
    weights = [run.strategy.model.selector.state_dict()["key"] for run in (one, two)]
    assert not torch.equal(*weights)
    (third,) = plan("digits", ["strategy=ncm", "seed=1", "stream_seed=8"])
    other = build_run(third, resources).split
    assert one.split != other
    (default,) = plan("digits", ["strategy=ncm", "seed=7"])
    assert build_run(default, resources).split == one.split


def test_runs_share_a_backbone_only_where_its_settings_agree(resources: Resources) -> None:
    one = built(resources)
    two = built(resources, "seed=2")
    assert one.strategy.model.backbone is two.strategy.model.backbone
    other = built(resources, "normalisation=dataset")
    assert other.strategy.model.backbone is not one.strategy.model.backbone
    with pytest.warns(UserWarning, match="RANDOM weights"):
        drawn = [built(resources, f"seed={seed}", "weights=random") for seed in (1, 2)]
    assert drawn[0].strategy.model.backbone is not drawn[1].strategy.model.backbone


def test_calibrated_confidence_costs_no_forward_pass(resources: Resources) -> None:
    with few_images():
        run = built(resources, "every=null")
        for task in run.benchmark.train_stream:
            run.strategy.train(task, eval_streams=[])
    evaluator, model = run.anytime.evaluator, run.strategy.model
    before = evaluator.images, evaluator.macs, model.backbone.counter.macs
    raw = evaluator.confidence
    found = card_of(run, Path("run"), None).calibration
    assert (evaluator.images, evaluator.macs, model.backbone.counter.macs) == before
    logits = torch.cat([values for _, values in evaluator.logits(model, model.seen)])
    best = (logits.double() / found.temperature).softmax(dim=1).amax(dim=1).sort().values
    assert found.confidence == pytest.approx((best / (1 - best)).log().tolist(), abs=1e-4)
    assert found.confidence != pytest.approx(raw.sort().values.tolist(), abs=0.1)


def test_normalisation_of_the_data_set(resources: Resources) -> None:
    run = built(resources, "normalisation=dataset")
    backbone = run.strategy.model.backbone
    assert backbone.mean.flatten().tolist() == pytest.approx(run.data.mean)
    assert backbone.std.flatten().tolist() == pytest.approx(run.data.std)
    own = built(resources, "normalisation=dataset", f"dataset={OWN}:stripes", "n_tasks=2")
    assert own.data.mean == own_parts.MEAN
    backbone = own.strategy.model.backbone
    assert backbone.mean.flatten().tolist() == pytest.approx(own_parts.MEAN)
    assert backbone.std.flatten().tolist() == pytest.approx(own_parts.STD)


@pytest.mark.parametrize(
    ("strategy", "plain"),
    [(["strategy=gacl"], True), (["strategy=gacl", "augmented_views=true"], False), ([], False)],
)
def test_analytic_methods_see_training_images_as_test_images(
    resources: Resources, strategy: list[str], plain: bool
) -> None:
    first, *_ = built(resources, *strategy).benchmark.train_stream
    assert torch.equal(first.dataset[0][0], first.dataset[0][0]) == plain


def test_the_strategy_has_to_fit_the_labels(resources: Resources) -> None:
    says = "strategy 'ncm' is defined for one class per image, .*: use .*multi_lane"
    with pytest.raises(InputError, match=says):
        built(resources, recipe="digit_scenes")


def test_a_user_data_set_gets_the_arguments_it_declares(resources: Resources) -> None:
    (settings,) = plan(
        "digits", ["seed=5", "strategy=ncm", "n_tasks=2", f"dataset={OWN}:stripes", "per_class=7"]
    )
    own = {"per_class": 7, "n_classes": 4}
    assert settings.dataset == {"name": f"{OWN}:stripes", "on_bad_image": "fail", **own}
    data = build_run(settings, resources).data
    assert len(data.train) == 28
    assert data.train[0][0].shape == (3, 32, 32)
    assert data.train[0][0].equal(own_parts.stripes(32, 5, per_class=7).train[0][0])
    assert not data.train.is_plain  # it may draw views of its own, so none is kept


def test_user_data_sets_follow_the_recipe_and_are_rebuilt_as_the_run_built_them(
    resources: Resources,
) -> None:
    # As load_dataset's own defaults are, and those of the function are not.
    given = ["dataset.augment=true", "dataset.root=null", "dataset.on_bad_image=fail"]
    made = built(resources, f"dataset={OWN}:drawn", "n_tasks=2", *given)
    assert made.data.name == "True None fail"
    np.random.seed(0)
    first = np.random.rand()
    np.random.seed(0)
    anew = resources.data(made.settings)
    assert anew.fingerprint() == made.data.fingerprint()
    assert np.random.rand() == first


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["strategy=er", "plugins=ewc"], ["er: EWC acts only at task ends, and this stream"]),
        (["strategy=er", "plugins=ewc", "period=300"], []),
        (["strategy=mvp"], []),
        (["strategy=er", "buffer_size=100", "head.input=whitened"], []),
        (["strategy=mixture_prompt"], []),
    ],
)
def test_settings_without_effect_on_this_stream_give_warnings(
    overrides: list[str], says: list[str], resources: Resources
) -> None:
    (settings,) = plan("digits", ["seed=1", *overrides])
    found = check_plan([settings], resources)[1]
    assert len(found) == len(says)
    assert all(start in warning for start, warning in zip(says, found, strict=True))


def test_forward_transfer_is_measured_where_classes_come_ahead_of_their_home(
    resources: Resources,
) -> None:
    run = built(resources)
    homes = run.anytime.home_classes
    assert sorted(c for classes in homes for c in classes) == list(range(10))
    for task, classes in enumerate(homes):
        assert (run.split.homes[classes] == task).all()
    assert built(resources, "scenario=disjoint").anytime.home_classes is None
    scenes = built(resources, "strategy=linear_probe", recipe="digit_scenes")
    assert scenes.anytime.home_classes is None
