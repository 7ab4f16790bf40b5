"""Commands on data sets in the formats of the Hugging Face hub."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from cl_prompts.experiments.cli import main
from tests.datasets.tables import own_cache, parts, table, write
from tests.experiments.commands import summary

pytestmark = pytest.mark.slow


def test_every_command_takes_a_table_like_a_folder(
    here: Path, capsys: pytest.CaptureFixture[str], refused: Any
) -> None:
    labels = [0, 1, 2] * 4
    train = table(labels, coarse=[0, 1, 0] * 4)
    test = table(labels[:6], coarse=[0, 1, 0] * 2, first=50)
    write("save_to_disk", parts(train=train, test=test), Path("pets"))
    write("save_to_disk", table(labels, first=100), Path("later"))
    quick = ["strategy=ncm", "seed=1", "every=6", "image_size=16"]
    with own_cache(here / "cache"):
        refused("several columns of labels, fine, coarse", "init", "pets", "--quiet")
        assert main(["init", "pets?label=fine", "--quiet"]) == 0
        section = yaml.safe_load(Path("pets.yaml").read_text())["dataset"]
        assert section == {"name": "hf", "path": str(here / "pets"), "label": "fine"}
        assert main(["run", "pets.yaml", *quick]) == 0
        assert "cl-prompts evaluate" in capsys.readouterr().out
        assert main(["predict", "latest", "pets", "pets?test_split=train"]) == 0
        rows = capsys.readouterr().out.splitlines()
        assert len(rows) == 1 + 6 + 12
        assert rows[1].startswith(f"{here}/pets/test/0,")
        assert main(["evaluate", "latest", "pets?label=fine"]) == 0
        (before,) = Path("runs").rglob("summary.json")
        score = f"{100 * summary(before.parent)['results']['a_last']:.1f}"
        assert ["all", "images", "6", score] == capsys.readouterr().out.splitlines()[3].split()[:4]
        assert main(["learn", "latest", "later", "every=6"]) == 0
        said = capsys.readouterr().out
        assert "there is no test part: 20 % of the images of each class become one" in said
    runs = sorted(Path("runs").rglob("summary.json"))
    assert len(runs) == 2
    assert {summary(file.parent)["n_classes"] for file in runs} == {3}
