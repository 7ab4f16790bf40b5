"""Entries of the catalogue, their folders, and errors of missing ones."""

import urllib.error
from pathlib import Path

import pytest

from tests.datasets.toys import load, refusal


def test_missing_cifar_says_how_to_fetch_it(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CL_PROMPTS_DATA", raising=False)
    assert refusal(lambda: load("cifar100")) == (
        f"data set 'cifar100' was not found: {here}/data/cifar-100-python should"
        " have the files train, test and meta of the Python version. Download it from"
        " https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz, or set dataset.download=true"
    )
    assert not (here / "data").exists()


def test_a_failing_download_says_what_to_do_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", offline)
    root = tmp_path / "my data" / "cifar-10-batches-py"
    sentence = refusal(lambda: load("cifar10", root, download=True))
    assert "is incomplete (<urlopen error no network>): " in sentence
