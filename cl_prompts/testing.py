"""Conformance checks for strategies of this package and for your own."""

import io
import tempfile
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot
from torch.utils.data import TensorDataset

from cl_prompts.backbones import create_backbone
from cl_prompts.closed_form.held_out_scores import learn
from cl_prompts.closed_form.prototype_classifiers import PrototypeClassifier
from cl_prompts.closed_form.sums import not_sums, order_matters
from cl_prompts.errors import InputError
from cl_prompts.models.prototype import PrototypeViT
from cl_prompts.scenarios import class_incremental_benchmark, mlcil_benchmark, si_blurry_benchmark
from cl_prompts.state import State
from cl_prompts.strategies.base.online import OnlineStrategy

N_CLASSES = 6
N_TASKS = 3
#: scenario -> its toy stream
STREAMS: dict[str, Callable[..., object]] = {
    "si_blurry": partial(si_blurry_benchmark, n_tasks=N_TASKS, seed=3),
    "class_incremental": partial(class_incremental_benchmark, n_tasks=N_TASKS),
    "mlcil": partial(mlcil_benchmark, protocol="B0-C2"),
}


def toy_images(n: int, size: int, seed: int, *, multi_label: bool = False) -> TensorDataset:
    """Return random images in the colours of their classes.

    Args:
        n: number of images.
        size: side of an image in pixels.
        seed: of the noise and the order of classes.
        multi_label: label an image with a row of zeros and ones, instead of a class id.

    Example:
        >>> toy_images(4, size=8, seed=0)[0][0].shape
        torch.Size([3, 8, 8])
    """
    rng = np.random.default_rng(seed)
    patterns = np.random.default_rng(99).random((N_CLASSES, 3, size, size))
    classes = rng.permutation(np.arange(n, dtype=np.int64) % N_CLASSES)
    images = 0.8 * patterns[classes] + 0.2 * rng.random((n, 3, size, size))
    targets = np.eye(N_CLASSES, dtype=np.uint8)[classes] if multi_label else classes
    data: Any = TensorDataset(torch.from_numpy(images).float(), torch.from_numpy(targets))
    data.targets = targets
    return data


@dataclass
class Trial:
    """Strategy on a toy stream, trained once for all checks.

    Attributes:
        make: builds a new, equal strategy.
        stream: builds a new benchmark.
        images: (n, 3, size, size) to score.

    Example:
        >>> from cl_prompts.strategies import NCM
        >>> train, test = toy_images(24, 32, seed=1), toy_images(6, 32, seed=2)
        >>> vit = create_backbone()
        >>> trial = Trial(
        ...     lambda: NCM(backbone=vit, n_classes=6, evaluator=None),
        ...     lambda: STREAMS["si_blurry"](train, test),
        ...     test.tensors[0],
        ... )
        >>> check_saved_model_scores_the_same(trial)
    """

    make: Callable[[], OnlineStrategy]
    stream: Callable[[], Any]
    images: Tensor

    @cached_property
    def trained(self) -> OnlineStrategy:
        """The strategy after the stream; checks do not change it."""
        return self.fit(self.make(), self.experiences())

    def experiences(self) -> list[object]:
        """Return the experiences of a new training stream."""
        return list(self.stream().train_stream)

    def fit(self, strategy: OnlineStrategy, experiences: list[object]) -> OnlineStrategy:
        """Train on experiences in turn, or at once for a method of the whole stream."""
        for part in [experiences] if strategy.whole_stream else experiences:
            strategy.train(part, eval_streams=[])
        return strategy

    def scores(self, strategy: OnlineStrategy) -> Tensor:
        """Return the logits (n, classes) of the images."""
        with torch.no_grad():
            return strategy.model.eval()(self.images)


def check_strategy(method: Callable[..., OnlineStrategy], **settings: object) -> None:
    """Run all conformance checks on a strategy.

    Each check trains on a few random images with the embedded ViT, once or twice per stream:
    Si-Blurry, class-incremental, and multi-label if the method has ``multi_label``.

    Args:
        method: a class derived from :class:`~cl_prompts.strategies.base.online.OnlineStrategy`.
        **settings: its settings; ``backbone`` replaces the embedded ViT.

    Raises:
        AssertionError: a check failed; the message names check and stream.

    Example:
        >>> from cl_prompts.strategies import NCM
        >>> check_strategy(NCM)
    """
    backbone = settings.pop("backbone", None) or create_backbone()
    given = {"train_mb_size": 16, "evaluator": None, "device": "cpu", **settings}
    for scenario in STREAMS:
        trial = _trial(method, scenario, backbone, given)
        for check in CHECKS if trial else ():
            try:
                check(trial)  # type: ignore[arg-type]
            except AssertionError as error:
                raise AssertionError(f"{check.__name__} on {scenario}: {error}") from error


def _trial(method: Any, scenario: str, backbone: Any, given: dict[str, object]) -> Trial | None:
    """Return the trial of a method on a scenario; None if the method does not support it."""
    several = scenario == "mlcil"
    accepted = method.settings()
    if several and "multi_label" not in accepted:
        return None
    settings = dict(given)
    if "multi_label" in accepted:
        settings["multi_label"] = several
    if "n_tasks" in accepted and scenario != "si_blurry":
        settings.setdefault("n_tasks", N_TASKS)
    train = toy_images(48, backbone.image_size, 1, multi_label=several)
    test = toy_images(12, backbone.image_size, 2, multi_label=several)

    def make() -> OnlineStrategy:
        torch.manual_seed(0)  # models draw their first parameters from the global generator
        return method(backbone=backbone, n_classes=N_CLASSES, **settings)

    try:
        make().check_announced(announced=scenario != "si_blurry")
    except InputError:
        return None
    return Trial(make, lambda: STREAMS[scenario](train, test), test.tensors[0])


# ------------------------------------------------------------------------------------- the checks


def check_backbone_is_frozen(trial: Trial) -> None:
    """Check that the given ViT has no gradients and its weights do not change."""
    strategy = trial.make()
    backbone: Any = strategy.backbone
    before = state_of(backbone)
    trial.fit(strategy, trial.experiences()[:1])
    assert_same(before, state_of(backbone), "the given backbone changed")
    trained = [p for p in backbone.parameters() if p.requires_grad or p.grad is not None]
    assert not trained, "parameters of the given backbone require or have gradients"


def check_seed_fixes_the_run(trial: Trial) -> None:
    """Check that a second run gives bit-identical weights."""
    second = trial.fit(trial.make(), trial.experiences())
    assert_same(state_of(trial.trained), state_of(second), "two runs of one seed differ")


def check_scores_depend_on_the_image_alone(trial: Trial) -> None:
    """Check that scores do not depend on other samples or a task label."""
    together = trial.scores(trial.trained)
    with torch.no_grad():
        alone = torch.cat([trial.trained.model(image[None]) for image in trial.images[:3]])
    torch.testing.assert_close(alone, together[:3], atol=1e-4, rtol=1e-4)


def check_unseen_classes_have_no_score(trial: Trial) -> None:
    """Check that classes not seen in the first experience are masked."""
    strategy = trial.fit(trial.make(), trial.experiences()[:1])
    scores, seen = trial.scores(strategy), strategy.model.seen
    assert scores[:, seen].isfinite().all(), "the score of a seen class is not finite"
    masked = 0.0 if strategy.model.multi_label else -torch.inf
    assert (scores[:, ~seen] == masked).all(), f"the score of an unseen class is not {masked}"


def check_evaluation_leaves_no_trace(trial: Trial) -> None:
    """Check that Avalanche's ``eval`` does not change the model."""
    before = state_of(trial.trained)
    trial.trained.eval(list(trial.stream().test_stream)[-1:])
    assert_same(before, state_of(trial.trained), "evaluation changed the model")


def check_saved_model_scores_the_same(trial: Trial) -> None:
    """Check that ``save`` and ``load`` restore the scores."""
    second = trial.make()
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "learned.safetensors")
        trial.trained.model.save(path)
        second.model.load(path)
    assert torch.equal(trial.scores(trial.trained), trial.scores(second)), "scores differ"


def check_run_resumes_exactly(trial: Trial) -> None:
    """Check that a run resumed within or after an experience gives the same weights."""
    for batches in (2, None):
        strategy = trial.make()
        if strategy.whole_stream and batches is None:
            continue  # no task boundary to stop at
        state = _state_at(trial, strategy, batches)
        second, stream = trial.make(), trial.experiences()
        torch.rand(7)  # other random draws must not matter
        begun = state["experiences"]
        inside = state["place"] is not None
        second.load_state_dict(state, () if second.whole_stream else stream[: begun + inside])
        trial.fit(second, stream if second.whole_stream else stream[begun:])
        assert_same(state_of(trial.trained), state_of(second), "a resumed run has other weights")


def check_sums_add_and_subtract(trial: Trial) -> None:
    """Check that merged parts score as their union, and that a forgotten part was never there.

    Only for closed forms whose state is a sum.
    """
    model = trial.make().model
    if not isinstance(model, PrototypeViT):
        return
    reason = not_sums(model.head) or ""
    assert "is not declared" not in reason, reason
    if reason or order_matters(model.head):
        return
    labels = torch.arange(60) % N_CLASSES
    draws = torch.randn(60, model.head.dim, generator=torch.Generator().manual_seed(1))
    x = draws + 2 * draws[labels]
    targets = one_hot(labels, N_CLASSES) if model.multi_label else labels

    def on(*rows: slice) -> PrototypeClassifier:
        head = deepcopy(model.head)
        for some in rows:
            learn(head, x[some], targets[some])
        return head

    first, rest = slice(0, 40), slice(40, None)
    merged, forgotten, union = on(first), on(first, rest), on(first, rest)
    merged.add(on(rest))
    pairs = [(merged, union, "merged parts do not score as their union")]
    if not_sums(model.head, -1) is None:
        forgotten.subtract(on(rest))
        pairs.append((forgotten, on(first), "a forgotten part still changes scores"))
    for found, want, says in pairs:
        ours, theirs = found.logits(x), want.logits(x)
        assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-3), says


class _Stop(Exception):
    """Interruption of a trial."""


def _state_at(trial: Trial, strategy: OnlineStrategy, batches: int | None) -> State:
    """Return the state after some stream batches, or after the first experience."""
    states: list[State] = []

    def between_batches() -> None:
        states.append(_as_file(strategy.state_dict()))
        if len(states) == batches:
            raise _Stop

    strategy.between_batches = between_batches
    try:
        trial.fit(strategy, trial.experiences()[: None if strategy.whole_stream else 1])
    except _Stop:
        return states[-1]
    return _as_file(strategy.state_dict())


def _as_file(state: State) -> State:
    """Save a state and load it again."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


CHECKS = (
    check_backbone_is_frozen,
    check_seed_fixes_the_run,
    check_scores_depend_on_the_image_alone,
    check_unseen_classes_have_no_score,
    check_evaluation_leaves_no_trace,
    check_saved_model_scores_the_same,
    check_run_resumes_exactly,
    check_sums_add_and_subtract,
)


def state_of(owner: nn.Module | OnlineStrategy) -> dict[str, Tensor]:
    """Copy the state of a module, or of a strategy's model."""
    module = owner if isinstance(owner, nn.Module) else owner.model
    return {name: value.clone() for name, value in module.state_dict().items()}


def assert_same(first: dict[str, Tensor], second: dict[str, Tensor], message: str) -> None:
    """Assert that two states are bit-identical.

    Raises:
        AssertionError: they differ; the message names the entries.
    """
    torch.testing.assert_close(first, second, rtol=0, atol=0, msg=lambda m: f"{message}: {m}")
