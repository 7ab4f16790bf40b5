"""FeCAM against published numbers and a batch solution."""

import pytest
import torch
import torch.nn.functional as F

from cl_prompts.closed_form.mahalanobis import MahalanobisPerClass, pseudo_inverse
from tests.golden_numbers import Golden
from tests.models.classifier_data import CLASSES, DIM, data, fed

GOLDEN = Golden("fecam", "later")
TASKS = len(GOLDEN.keys("task")) // 2
FORMS = {
    "vit_1_0": {"form": "frozen", "diagonal": 1.0, "off_diagonal": 0.0},
    "vit_10_10": {"form": "frozen", "diagonal": 10.0, "off_diagonal": 10.0},
    "toolbox": {"form": "toolbox"},
}


def published(key: str, dtype: torch.dtype = torch.float64) -> MahalanobisPerClass:
    n_classes, dim = GOLDEN(f"{key}/means").shape
    fecam = MahalanobisPerClass(dim, n_classes, **FORMS[key]).to(dtype)
    for t in range(TASKS):
        fecam.update(GOLDEN(f"task{t}/features"), GOLDEN(f"task{t}/labels"))
    return fecam


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("key", FORMS)
def test_published_numbers(key: str, dtype: torch.dtype) -> None:
    fecam = published(key, dtype)
    double = dtype == torch.float64
    distances = -fecam.scores(GOLDEN("test_features"))
    if double:
        matrices = torch.stack([fecam.matrix(c) for c in range(fecam.n_classes)])
        # Published means are those before they are normed.
        GOLDEN.close_double(fecam.classes.mean, f"{key}/means")
        GOLDEN.close_double(matrices, f"{key}/{'matrices' if key == 'toolbox' else 'normalised'}")
        GOLDEN.close_double(distances, f"{key}/distances")
        if key != "toolbox":
            pairs = zip(fecam.classes.scatters, fecam.count, strict=True)
            shrunk = torch.stack([fecam.shrink(m / (n - 1)) for m, n in pairs])
            GOLDEN.close_double(shrunk, f"{key}/shrunk")
    elif key != "toolbox":  # whose matrix has no full rank
        largest = float(GOLDEN(f"{key}/distances").abs().max())
        GOLDEN.close(distances, f"{key}/distances", atol=2e-5 * largest)
    if key.startswith("vit"):
        assert torch.equal(distances.argmin(dim=1), GOLDEN(f"{key}/predictions"))


@pytest.mark.parametrize("diagonal", [1.0, 0.0])
def test_a_class_without_spread_has_plain_distances(diagonal: float) -> None:
    x, y = data()
    fecam = fed(MahalanobisPerClass(DIM, CLASSES, diagonal=diagonal), x, y, [40])
    fecam.update(x[:1], torch.tensor([3]))
    assert torch.equal(fecam.matrix(3), torch.eye(DIM).double())
    distance = (F.normalize(x.double(), dim=1) - F.normalize(x[:1].double(), dim=1)).square().sum(1)
    torch.testing.assert_close(-fecam.scores(x)[:, 3], distance)


def test_a_matrix_without_full_rank_has_its_pseudo_inverse() -> None:
    x = data(60)[0].double()
    sound = x.T.cov()
    torch.testing.assert_close(pseudo_inverse(sound), torch.linalg.inv(sound))
    flat = torch.corrcoef(sound)  # of centred rows
    torch.testing.assert_close(pseudo_inverse(flat), torch.linalg.pinv(flat), rtol=1e-6, atol=1e-6)


def test_only_matrices_of_classes_with_new_samples_are_inverted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x, y = data()
    inverted = []
    plain = MahalanobisPerClass.matrix

    def counted(self: MahalanobisPerClass, c: int) -> torch.Tensor:
        inverted.append(c)
        return plain(self, c)

    monkeypatch.setattr(MahalanobisPerClass, "matrix", counted)
    fecam = fed(MahalanobisPerClass(DIM, CLASSES), x, y, [40])
    fecam.scores(x)
    assert inverted == [0, 1, 2, 4]
    fecam.scores(x)
    fecam.update(x[:2], torch.tensor([3, 1]))
    scores = fecam.scores(x)
    assert inverted[4:] == [1, 3]
    # Loaded sums are inverted anew, with the same result.
    fecam.load_state_dict(fecam.state_dict())
    assert torch.equal(fecam.scores(x), scores)
    assert inverted[6:] == [0, 1, 2, 3, 4]
