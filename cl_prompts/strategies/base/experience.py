"""Labels, annotated classes and task boundaries of experiences.

Avalanche's ``split_online_stream`` cuts an experience into mini-experiences.
"""

from contextlib import nullcontext

import numpy as np
import torch
import torch.nn.functional as F
from avalanche.benchmarks import CLExperience
from torch import Tensor

from cl_prompts.backbones.pixels import check_targets
from cl_prompts.errors import InputError
from cl_prompts.models.base import ContinualModel


def whole_of(experience: CLExperience) -> CLExperience:
    """Return the experience that a mini-experience was cut from; any other one itself.

    A mini-experience of several experiences is returned itself.
    """
    # Avalanche hides attributes in training.
    with getattr(experience, "no_attribute_masking", nullcontext)():
        return getattr(experience, "origin_experience", None) or experience


def mark_of(experience: CLExperience, name: str, default: bool) -> bool:
    """Read ``ordered`` or ``boundaries`` of an experience, or return the default.

    The data set is asked where Avalanche made an experience from a part of ours, as
    ``benchmark_with_validation_stream`` does.
    """
    mark = getattr(whole_of(experience), name, None)
    if mark is None:
        marks = getattr(getattr(experience, "dataset", None), f"stream_{name}", None)
        # Attributes of a data set have one value per sample, here the same for all.
        mark = marks[0] if marks is not None and len(marks) else default
    return bool(mark)


def unannounced(what: str, instead: str) -> InputError:
    """Return the error for what needs task boundaries."""
    return InputError(
        f"{what} needs task boundaries, which this stream does not announce: {instead}"
    )


def announces_boundaries(experience: CLExperience, given: bool | None = None) -> bool:
    """Return whether the method may use the start of the experience as a task boundary.

    ``given`` decides, or else ``boundaries`` of the experience, or ``access_task_boundaries`` of
    Avalanche's mini-experiences. Without either, as in other benchmarks, it may.
    """
    if given is not None:
        return given
    hidden = not getattr(experience, "access_task_boundaries", True)
    return not hidden and mark_of(experience, "boundaries", True)


def domains_of(experience: CLExperience) -> tuple[set[str], set[str]] | None:
    """Return the domains of an experience and of its whole training stream, by name.

    None if the stream has no domains. If the data set does not name those of the stream, both are
    those of the experience.
    """
    data = getattr(experience, "dataset", None)
    carried = getattr(data, "domains", None)
    if carried is None:
        return None
    own = set(carried.uniques)
    of_stream = getattr(data, "stream_domains", None) or [own]
    return own, set(of_stream[0])


class TaskPosition:
    """Position of an experience in its task: first, last, or between.

    Avalanche's ``is_last_subexp`` stays False if the size of mini-experiences divides that of the
    task (avalanche-lib 0.6), so samples are counted as well.

    Attributes:
        first: whether the current experience is the first of its task.
        last: whether the current experience is the last of its task.
        samples: samples of the task up to the end of the current experience.

    Example:
        >>> from types import SimpleNamespace
        >>> position = TaskPosition()
        >>> position.enter(SimpleNamespace(dataset=range(100)))  # a whole task
        >>> position.first, position.last, position.samples
        (True, True, 100)
    """

    def __init__(self) -> None:
        self.first = True
        self.last = True
        self.samples = 0

    def enter(self, experience: CLExperience, *, again: bool = False) -> None:
        """Update the position at the start of an experience.

        Args:
            experience: to be trained on.
            again: whether training resumes inside it.
        """
        with getattr(experience, "no_attribute_masking", nullcontext)():
            self.first = bool(getattr(experience, "is_first_subexp", True))
            self.last = bool(getattr(experience, "is_last_subexp", True))
        if not again:
            # A resumed experience was counted before.
            self.samples = (0 if self.first else self.samples) + len(experience.dataset)
        whole = whole_of(experience)
        self.last = self.last or (whole is not experience and self.samples >= len(whole.dataset))


def check_labels(experience: CLExperience, model: ContinualModel, learner: str) -> None:
    """Check the kind and range of an experience's labels against the model's head.

    Args:
        experience: with labels.
        model: with a head.
        learner: name of the method, for error messages.

    Raises:
        InputError: multi-hot targets for a single-label model or the other way round, or a class
            without a head row.
    """
    targets = experience.dataset.targets
    if not len(targets):
        return
    with getattr(experience, "no_attribute_masking", nullcontext)():
        benchmark = getattr(getattr(experience, "origin_stream", None), "benchmark", None)
    if getattr(benchmark, "class_ids_from_zero_in_each_exp", False):
        raise InputError(
            "class ids restart in each task: use class_ids_from_zero_in_each_exp=False"
        )
    shape = np.shape(targets[0])
    if shape != ((model.n_classes,) if model.multi_label else ()):
        needs = "learns one label per image"
        hint = ": use multi_label=True or a method that has it"
        if model.multi_label:
            needs, hint = f"needs rows of {model.n_classes} zeros and ones", ""
        raise InputError(f"{learner} {needs}, but targets have shape {shape}{hint}")
    if not model.multi_label:
        labels = torch.as_tensor(list(targets))
        labels = labels if labels.is_floating_point() else labels.long()
        check_targets(labels, model.n_classes, multi_label=False)


def classes_of(experience: CLExperience, n_classes: int) -> Tensor:
    """Return the (classes,) boolean mask of the classes annotated in an experience.

    They are those that it declares, or else those of its labels. All classes count as annotated
    if it declares none and has multi-hot targets or no images.
    """
    whole = whole_of(experience)
    targets = getattr(getattr(whole, "dataset", None), "targets", None)
    # For a part of a task, Avalanche declares only the classes that occur in it.
    annotated = getattr(targets, "annotated", None)
    if annotated is not None:
        return F.pad(torch.from_numpy(annotated.copy()), (0, n_classes - len(annotated)))
    classes = getattr(whole, "classes_in_this_experience", None)
    if classes is None:
        if targets is None or not len(targets) or np.ndim(targets[0]):
            return torch.ones(n_classes, dtype=torch.bool)
        classes = set(targets)
    mask = torch.zeros(n_classes, dtype=torch.bool)
    # check_labels refuses labels without a head row; in tests they count as wrong.
    mask[[int(c) for c in classes if int(c) < n_classes]] = True
    return mask
