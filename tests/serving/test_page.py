"""The page in a real browser; it runs where Playwright and Chromium are installed."""

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright")
pytest.importorskip("uvicorn")

import uvicorn
from playwright import sync_api as playwright

from tests.experiments.trained.models import blank
from tests.serving.test_app import png, served

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="Chromium is not installed")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as play:
        one = play.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield one
        one.close()


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with served(blank("slda"), tmp_path / "live", token="a-long-token") as client:
        server = uvicorn.Server(uvicorn.Config(client.app, port=0, log_level="error"))
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        server.should_exit = True
        thread.join()


def test_images_are_labelled_by_keyboard_alone(browser: Any, address: str, tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.png" for number in range(9)]
    for number, file in enumerate(files):
        file.write_bytes(png(number, number % 3))
    page = browser.new_page(viewport={"width": 390, "height": 844})
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(address)
    page.wait_for_selector("#token:focus")
    page.keyboard.type("a-long-token")
    page.keyboard.press("Enter")
    page.wait_for_selector("#drop", state="visible")
    page.set_input_files("#file", files)
    names = ["red", "<b>green</b>", "blue"]
    learned, expect = page.locator("#learned li"), playwright.expect
    expect(page.locator("#answer")).to_have_text("The model knows no class yet. Name the first.")
    for number in range(3):
        page.keyboard.press("n")  # of the first image the field has the focus already
        page.keyboard.type(names[number])
        page.keyboard.press("Enter")
        expect(learned).to_have_count(number + 1)
        expect(page.locator("#left")).to_have_text(f"{7 - number} more images to label")
    for number in range(3, 6):
        # A class has its key, wherever it is among the best.
        row = page.locator("#best button", has_text=names[number % 3])
        expect(row.locator("kbd")).to_have_text(str(number % 3 + 1))
        page.keyboard.press(str(number % 3 + 1))
        expect(learned).to_have_count(number + 1)
    # A name that looks like markup is text.
    assert page.locator("#learned b").count() == 0
    expect(learned.nth(4)).to_contain_text("<b>green</b>")
    page.keyboard.press("u")
    expect(learned).to_have_count(5)
    # The image is shown again, and the one in its place waits.
    expect(page.locator("#left")).to_have_text("3 more images to label")
    page.keyboard.press("s")
    expect(page.locator("#queue li")).to_have_count(1)
    expect(page.locator("#score")).to_contain_text("of 5 images were predicted")
    idle = page.locator("#main[aria-busy=false]")
    idle.wait_for()
    page.keyboard.press("l")
    expect(page.locator("#left")).to_have_text("3 more images to label")
    idle.wait_for()
    with page.expect_download() as download:
        page.keyboard.press("d")
    assert download.value.suggested_filename == "model.zip"
    expect(page.locator("#download")).to_have_text("Download the model")
    page.wait_for_function("document.querySelector('#learned img').naturalWidth === 16")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert not faults
    page.close()


def labelled(page: Any, address: str, tmp_path: Path, names: list[str]) -> None:
    """Open the page and label an image of each class by hand."""
    page.goto(address)
    page.fill("#token", "a-long-token")
    page.keyboard.press("Enter")
    page.wait_for_selector("#drop", state="visible")
    files = [tmp_path / f"image {number}.png" for number in range(len(names) + 1)]
    for number, file in enumerate(files):
        file.write_bytes(png(number, number % 3))
    page.set_input_files("#file", files)
    for number, name in enumerate(names):
        playwright.expect(page.locator("#picture")).to_have_text(f"image {number}.png")
        page.click("#name")
        page.keyboard.type(name)
        page.keyboard.press("Enter")
        playwright.expect(page.locator("#learned li")).to_have_count(number + 1)
        page.locator("#main[aria-busy=false]").wait_for()


def test_classes_are_renamed_merged_and_deleted(browser: Any, address: str, tmp_path: Path) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    names = ["newt", "a/b", "cat", "doe", "elk"]
    labelled(page, address, tmp_path, names)
    known, expect = page.locator("#known li"), playwright.expect
    rows = [f"{key}{name}: 1 imageEdit" for key, name in zip("12345", names, strict=True)]
    expect(known).to_have_text(rows)
    expect(page.locator("#model")).to_contain_text("live: 5 classes, 5 images learned here")

    def edit(name: str, new: str | None) -> None:
        page.get_by_role("button", name=f"Edit {name}", exact=True).click()
        if new is None:
            page.get_by_role("button", name="Delete the class").click()
        else:
            page.keyboard.type(new)  # the old name is selected
            page.keyboard.press("Enter")
        page.locator("#main[aria-busy=false]").wait_for()

    edit("newt", "n<i>")
    expect(known).to_contain_text(["1n<i>"])
    edit("cat", "doe")
    expect(known).to_contain_text(["doe: 2 images"])
    edit("a/b", None)
    want = {"1n<i>: 1 imageEdit", "4doe: 2 imagesEdit", "5elk: 1 imageEdit"}
    expect(known).to_have_count(3)
    assert set(known.all_text_contents()) == want
    # The image that is shown is predicted anew.
    expect(page.locator("#best button")).to_have_count(3)
    expect(page.locator("#best")).not_to_contain_text("a/b")
    edit("elk", "unknown")
    expect(page.locator("#fault")).to_contain_text("choose another name")
    # Escape changes nothing, and keys of the page do not act behind the dialog.
    page.get_by_role("button", name="Edit elk").click()
    page.keyboard.press("Tab")
    page.keyboard.press("s")
    page.keyboard.press("Escape")
    page.locator("#main[aria-busy=false]").wait_for()
    expect(page.locator("#picture")).to_have_text("image 5.png")
    expect(known).to_have_count(3)
    page.close()


def test_an_image_is_given_another_class(browser: Any, address: str, tmp_path: Path) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 844})
    labelled(page, address, tmp_path, ["ape", "bee", "cat"])
    learned, expect = page.locator("#learned li"), playwright.expect
    page.get_by_role("button", name="Change cat").click()
    page.keyboard.type("bee")
    page.keyboard.press("Enter")
    expect(learned).to_contain_text(["bee", "bee", "ape"])
    expect(page.locator("#known li")).to_have_count(2)
    expect(page.locator("#score")).to_contain_text("of 3 images were predicted")
    # The key of the class that is gone is free for the next one.
    page.locator("#main[aria-busy=false]").wait_for()
    page.keyboard.press("n")
    page.keyboard.type("newt")
    page.keyboard.press("Enter")
    expect(page.locator("#known li").nth(2)).to_contain_text("3newt: 1 image")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()


def test_the_page_says_what_the_server_refused(browser: Any, address: str, tmp_path: Path) -> None:
    page = browser.new_page(color_scheme="dark")
    page.goto(address)
    page.fill("#token", "wrong-token")
    page.keyboard.press("Enter")
    playwright.expect(page.locator("#fault")).to_contain_text("The token is wrong.")
    page.fill("#token", "a-long-token")
    page.keyboard.press("Enter")
    page.wait_for_selector("#drop", state="visible")
    broken = tmp_path / "broken.png"
    broken.write_bytes(png(0)[:150])
    (tmp_path / "good.png").write_bytes(png(0))
    page.set_input_files("#file", [broken, tmp_path / "good.png"])
    playwright.expect(page.locator("#fault")).to_contain_text("broken.png: the image is damaged")
    # The next image is labelled all the same.
    playwright.expect(page.locator("#answer")).to_contain_text("Name the first")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(21, 25, 30)"
    page.close()
