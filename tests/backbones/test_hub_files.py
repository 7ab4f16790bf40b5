"""Files of the hub come into its client's cache, and what a server calls them stays outside."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants, try_to_load_from_cache

from cl_prompts.backbones.hub_files import fetched
from cl_prompts.errors import InputError
from tests.hub import Hub, hub

FILES = {"first.json": 100, "second.json": 100, "third.json": 100}
CONTENT = {"first.json": b"first", "second.json": b"second", "other": b"not asked for"}


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Hub]:
    with hub(tmp_path / "home" / "cache") as found:
        found.repositories["me/run"] = dict(CONTENT)
        yield found


def below(folder: Path) -> set[str]:
    """Files and folders below a folder, links as themselves."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("headers", [{}, {"ETag": '"x/../../../../../escaped"'}])
def test_the_cache_holds_what_was_asked_for_under_hashes(
    headers: dict[str, str], local: Hub, tmp_path: Path
) -> None:
    local.headers = headers
    folder = fetched("me/run", FILES)
    commit = local.revision("me/run")
    home = Path("home/cache/models--me--run")
    files = ["first.json", "second.json"]
    assert [(folder / file).read_bytes() for file in files] == [b"first", b"second"]
    # The hub names no SHA-256 of these files.
    names = [f"unannounced-{hashlib.sha256(CONTENT[file]).hexdigest()}" for file in files]
    assert below(tmp_path) - {"home", "home/cache"} == {
        str(place)
        for place in (
            home,
            *(home / part for part in ("refs", "refs/main", "blobs", "snapshots")),
            *(home / "blobs" / name for name in names),
            home / "snapshots" / commit,
            *(home / "snapshots" / commit / file for file in files),
        )
    }
    # The client finds it, too.
    assert try_to_load_from_cache("me/run", "first.json") == str(folder / "first.json")


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ({"X-Repo-Commit": "../../../../escaped"}, "which is no hash"),
        ({"X-Repo-Commit": ""}, "which is no hash"),
        ({"X-Linked-Size": "2"}, "the hub sends more than the 2 bytes that it may"),
        ({"X-Linked-Etag": "0" * 64}, "its SHA-256 is not 000"),
    ],
)
def test_an_answer_that_is_no_file_of_a_commit_leaves_no_file(
    headers: dict[str, str], says: str, local: Hub, tmp_path: Path
) -> None:
    local.headers = headers
    with pytest.raises(InputError, match=says):
        fetched("me/run", FILES)
    assert not [path for path in tmp_path.rglob("*") if not path.is_dir()]


@pytest.mark.parametrize("revision", ["../../../escaped", "/escaped", "a/./b", ".."])
def test_a_revision_is_no_path(revision: str, local: Hub, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no revision"):
        fetched("me/run", FILES, revision)
    assert not below(tmp_path)


def test_a_file_has_a_bounded_size(local: Hub) -> None:
    with pytest.raises(InputError, match="more than the 3 bytes"):
        fetched("me/run", {"first.json": 3})


def test_what_was_fetched_is_there_without_the_hub(
    local: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = fetched("me/run", FILES)
    commit = local.revision("me/run")
    local.repositories["me/run"]["first.json"] = b"newer"
    new = fetched("me/run", FILES)
    assert new != old
    assert (new / "first.json").read_bytes() == b"newer"
    local.down = True
    assert fetched("me/run", FILES) == new
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetched("me/run", FILES) == new
    assert fetched("me/run", FILES, commit) == old
    with pytest.raises(ConnectionError, match="offline"):
        fetched("me/other", FILES)


def test_a_commit_whose_first_file_is_missing_is_fetched_again(local: Hub) -> None:
    folder = fetched("me/run", FILES)
    (folder / "first.json").resolve().unlink()
    assert (fetched("me/run", FILES) / "first.json").read_bytes() == b"first"
