"""Where folders are looked for, and what is said when one is missing."""

from __future__ import annotations

import urllib.error
from pathlib import Path

import pytest

from cl_prompts.datasets.registry import DATASETS
from tests.datasets.toys import load, refusal


def test_missing_cifar_says_how_to_download_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CL_PROMPTS_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    assert (
        refusal(lambda: load("cifar100"))
        == f"data set 'cifar100' was not found: looked in {tmp_path}/data/cifar-100-python, which"
        " should hold the files train, test and meta of the Python version, or class folders"
        " train/<class>/* and test/<class>/*; the same command with dataset.download=true"
        " fetches it from https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"
    )
    assert not (tmp_path / "data").exists()


def test_a_failing_download_says_what_to_do_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", offline)
    sentence = refusal(
        lambda: load("cifar10", tmp_path / "my data" / "cifar-10-batches-py", download=True)
    )
    url = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
    assert (
        f"could not be downloaded from {url} (<urlopen error no network>): looked in {tmp_path}/my"
        " data/" in sentence
    )
    at = f"'{tmp_path}/my data'"
    assert sentence.endswith(f"wget -P {at} {url} && tar -xf {at}/cifar-10-python.tar.gz -C {at}")


@pytest.mark.parametrize("name", ["tiny_imagenet", "imagenet_r", "cub200"])
@pytest.mark.parametrize("download", [False, True])
def test_a_missing_archive_says_how_to_fetch_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, download: bool
) -> None:
    monkeypatch.setenv("CL_PROMPTS_DATA", str(tmp_path))
    entry = DATASETS[name]
    sentence = refusal(lambda: load(name, download=download))
    start = (
        f"data set {name!r} was not found: looked in {tmp_path}/{entry.folder}, which should hold"
        f" {entry.layout}"
    )
    assert sentence.startswith(f"{start}; to fetch it: wget -P {tmp_path} {entry.origin} && ")
    assert sentence.endswith(("-C " + str(tmp_path), "-d " + str(tmp_path)))
