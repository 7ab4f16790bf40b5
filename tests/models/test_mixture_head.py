"""The mixture of heads against published numbers, in double precision, and its fallback."""

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_prompts.models.mixture_head import MixtureHead
from tests.golden_numbers import Golden, gradient, put

GOLDEN = Golden("mixture_router", "later")


def published(order: list[int] | None = None) -> MixtureHead:
    """The published experts and gate, with the templates of each group for its samples; in another
    order, if one is given."""
    n_groups, n_classes, dim = GOLDEN("experts").shape
    head = MixtureHead(
        dim, n_classes, n_groups, k=GOLDEN("index").shape[1], scale=GOLDEN("log_scale").exp().item()
    ).double()
    order = list(range(n_groups)) if order is None else order
    groups = GOLDEN("templates").split(GOLDEN("groups").tolist())
    for place, group in enumerate(order):
        head.start_group(place)
        for template in groups[group]:
            head.observe(F.normalize(template, dim=-1), torch.arange(n_classes))
    put(head.experts, GOLDEN("experts")[order])
    put(head.shift, GOLDEN("shift"))
    put(head.gate.weight, GOLDEN("gate_weight_matrix")[order])
    put(head.gate.bias, GOLDEN("gate_bias")[order])
    return head


def loss_of(head: MixtureHead) -> Tensor:
    features, labels = GOLDEN("features"), GOLDEN("labels")
    loss = F.cross_entropy(head(features), labels)
    loss = loss + GOLDEN("text_weight") * head.group_loss()
    return loss + GOLDEN("gate_weight") * head.gate_loss(features, labels)


def test_published_parts() -> None:
    head, features, labels = published(), GOLDEN("features"), GOLDEN("labels")
    GOLDEN.close_double(head.prototypes(), "prototypes")
    GOLDEN.close_double(head.expert_features(), "expert_features")
    GOLDEN.close_double(head.gate_logits(features), "gate_logits")
    weights, index = head.route(features)
    assert torch.equal(index, GOLDEN("index"))
    mixture = torch.einsum("bk,bkcd->bcd", weights, head.expert_features()[index])
    GOLDEN.close_double(mixture, "mixture")
    literal = head.scale * torch.einsum("bd,bcd->bc", F.normalize(features, dim=-1), mixture)
    torch.testing.assert_close(head(features), literal, rtol=1e-12, atol=1e-12)
    GOLDEN.close_double(head.group_loss(), "text_loss")
    GOLDEN.close_double(head.prior(features, labels), "prior")


def test_published_steps() -> None:
    head = published()
    optimizer = torch.optim.SGD(head.parameters(), 0.5, momentum=0.9)
    parts = {
        "experts": head.experts,
        "shift": head.shift,
        "gate_weight_matrix": head.gate.weight,
        "gate_bias": head.gate.bias,
    }
    for step in range(len(GOLDEN.keys("step")) - len(parts)):
        loss = loss_of(head)
        GOLDEN.close_double(loss, f"step{step}/loss")
        optimizer.zero_grad()
        loss.backward()
        for name, parameter in parts.items() if step == 0 else ():
            GOLDEN.close_double(gradient(parameter), f"step0/grad_{name}")
        optimizer.step()
    for name, parameter in parts.items():
        GOLDEN.close_double(parameter, f"after/{name}")
    GOLDEN.close_double(head(GOLDEN("features")), "after/logits")


def test_one_expert_decides_until_a_class_comes_back() -> None:
    head = MixtureHead(6, 4, n_groups=3)
    features = torch.randn(4, 6)
    head.observe(features, torch.tensor([0, 0, 1, 1]))
    first = F.normalize(features[:2].sum(dim=0), dim=-1)
    torch.testing.assert_close(head.experts[:, 0], first.expand(3, 6))
    unknown = head.experts[0, 3].detach().clone()
    head.start_group(1)
    head.observe(features[:1], torch.tensor([2]))
    assert not head.mixes
    put(head.experts[0, 1], torch.ones(6))
    cosines = F.normalize(features, dim=-1) @ F.normalize(head.experts[0], dim=-1).T
    torch.testing.assert_close(head(features), 10 * cosines)
    # A class without samples in a group is what it is in all.
    torch.testing.assert_close(head.prototypes()[2, 0], first)
    assert bool((head.prototypes()[:, 3] == 0).all())
    assert bool(torch.isfinite(head.group_loss()))
    head.observe(features[1:2], torch.tensor([1]))
    assert head.mixes
    torch.testing.assert_close(head.experts[2, 1], torch.ones(6))
    assert not torch.equal(head.prototypes()[0, 1], head.prototypes()[1, 1])
    torch.testing.assert_close(head.experts[0, 3], unknown)
    head.start_group(7)
    twin = MixtureHead(6, 4, n_groups=3)
    twin.load_state_dict(head.state_dict())
    assert (twin.group, twin.mixes) == (2, True)
    torch.testing.assert_close(twin(features), head(features))


def test_rounding_prefers_no_group() -> None:
    torch.manual_seed(0)
    head = MixtureHead(64, 3, n_groups=5)
    for group, classes in ((0, [0, 1]), (3, [0, 2])):
        head.start_group(group)
        head.observe(torch.randn(40, 64), torch.tensor(classes).repeat(20))
    labels = torch.tensor([0, 1, 2]).repeat_interleave(30)
    found = head.resemblance(torch.randn(90, 64), labels)
    # Class 0 came in two groups, the others in one, from which nothing can be told.
    assert ((found != found[:, 1:2]).sum(dim=0) == torch.tensor([30, 0, 0, 30, 0])).all()
    prior = head.prior(torch.randn(90, 64), labels)
    assert torch.equal(prior[30:], prior[30:, :1].expand(-1, 5))
