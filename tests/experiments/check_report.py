"""Reports on tiny runs in a real browser: ``make check-report``.

Opens a report of many strategies, one of a single run and one of several labels in a headless
Chromium, in two widths and both colour schemes, and fails on any violation that axe finds, any
message of the console, any request, any horizontal overflow and any letters below 9 px. Without a
browser, or without its Python packages, it says so in one line and ends with exit code 0.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cl_prompts.experiments.report.page import write_report
from tests.experiments.fake_runs import fake_multi_label_run, fake_run

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
WIDTHS = (390, 1280)
SCHEMES = ("light", "dark")
LEAST_LETTERS = 9
#: an option that the page is not to answer for: root may not have a sandbox, as in containers
ARGUMENTS = ["--no-sandbox"]

_OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
_SMALLEST = """() => {
  let least = [99, ""];
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !node.getClientRects().length || node.closest("script")) continue;
    const size = parseFloat(getComputedStyle(node).fontSize);
    if (size < least[0]) least = [size, node.outerHTML.slice(0, 80)];
  }
  return least;
}"""
_SHRUNK = """() => [...document.querySelectorAll("figure .scroll img")].filter((image) =>
  image.getClientRects().length
  && image.clientWidth < parseFloat(image.parentElement.style.getPropertyValue("--least")) - 1
).map((image) => image.alt)"""
_GROUND = 'getComputedStyle(document.documentElement).getPropertyValue("--ground").trim()'
_CLOSED = """() => [...document.querySelectorAll("details")].filter((one) => {
  const last = one.lastElementChild;
  return last.tagName !== "SUMMARY" && !last.getClientRects().length;
}).length"""


def tiny_reports(root: Path) -> Iterator[tuple[str, Path]]:
    """A name and a page for each kind of report."""
    many = root / "many"
    for strategy in ("mvp", "linear_probe", "fine_tuning", "joint"):
        for seed in (1, 2):
            fake_run(many, strategy, seed)
    for number in range(8):
        fake_run(many, "mvp", 1, settings={"lr": float(number)}, time=f"2025020{number}-000000")
    fake_run(many, "mvp", 3, status="failed", time="20250301-000000")
    yield "many", write_report([many])
    yield "one", write_report([fake_run(root / "one", "mvp", n_tasks=2, n_classes=3)])
    several = root / "several"
    for strategy in ("mvp", "linear_probe"):
        fake_multi_label_run(several, strategy)
    yield "several-labels", write_report([several])


def check_page(browser: Any, axe: Any, name: str, page_file: Path, shots: Path) -> list[str]:
    """Open a page in all widths and schemes, save screenshots, and tell its faults."""
    faults = []
    for width in WIDTHS:
        for scheme in SCHEMES:
            where = f"{name}, {width} px, {scheme}"
            size = {"width": width, "height": 900}
            context = browser.new_context(viewport=size, color_scheme=scheme)
            page = context.new_page()
            said: list[str] = []
            page.on("console", lambda message, said=said: said.append(message.text))
            page.on("pageerror", lambda error, said=said: said.append(str(error)))
            page.on("request", lambda request, said=said: said.extend(_outside(request.url)))
            page.goto(page_file.resolve().as_uri())
            page.screenshot(path=shots / f"{name}-{width}-{scheme}.png", full_page=True)
            faults += [f"{where}: {fault}" for fault in [*_look(page, axe), *said]]
            context.close()
    return faults


def _outside(url: str) -> list[str]:
    """A fault, if a request leaves the page."""
    return [] if url.startswith(("file:", "data:", "blob:")) else [f"asks for {url}"]


def _look(page: Any, axe: Any) -> list[str]:
    """Faults of a page that is open."""
    faults = []
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    for violation in axe.run(page).response["violations"]:
        node = violation["nodes"][0]["html"][:120]
        faults.append(f"axe: {violation['id']}: {violation['help']}: {node}")
    if overflow := page.evaluate(_OVERFLOW):
        faults.append(f"overflows by {overflow} px")
    size, node = page.evaluate(_SMALLEST)
    if size < LEAST_LETTERS:
        faults.append(f"letters of {size} px: {node}")
    faults += [f"shrunk too far: {alt}" for alt in page.evaluate(_SHRUNK)]
    return faults


def check_use(browser: Any, page_file: Path) -> list[str]:
    """Faults of the curves under a pointer and keys, of printing, and of a page without script."""
    faults = []
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(page_file.resolve().as_uri())
    plane = page.locator(".plane").first
    plane.focus()
    for key in ("ArrowDown", "ArrowLeft", "ArrowLeft"):
        page.keyboard.press(key)
    told = page.locator(".tip").first.text_content() or ""
    if "%" not in told:
        faults.append(f"keys: no value is told: {told!r}")
    plane.hover()
    if not page.locator(".curve.hot").count():
        faults.append("pointer: no curve stands out")
    page.locator(".legend input").first.uncheck()
    if not page.locator(".curve.off").count():
        faults.append("legend: no curve is hidden")
    with page.expect_download() as download:
        page.locator(".tools .csv").first.click()
    if not download.value.path().read_text().startswith("plot,strategy,x,value"):
        faults.append("the file of the curves has no such columns")
    page.emulate_media(media="print", color_scheme="dark")
    if page.evaluate(_GROUND) != "#ffffff":
        faults.append("print: dark ground")
    if closed := page.evaluate(_CLOSED):
        faults.append(f"print: {closed} parts stay closed")
    page.close()
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(page_file.resolve().as_uri())
    if (
        page.locator(".tools").first.is_visible()
        or page.locator(".legend input").first.is_visible()
    ):
        faults.append("without script there are buttons that do nothing")
    if not page.locator(".plane svg path.line").first.is_visible():
        faults.append("without script there are no curves")
    context.close()
    return [f"use: {fault}" for fault in faults]


def browser_file() -> str | None:
    """Path of a browser: that of the environment variable ``CHROMIUM``, or one of the system."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)


def main(arguments: list[str] | None = None) -> int:
    """Check all reports; exit code 1 where something is wrong."""
    parser = argparse.ArgumentParser(prog="check-report", description=__doc__)
    parser.add_argument("--out", type=Path, help="folder of the screenshots (a new one in /tmp)")
    parser.add_argument("pages", nargs="*", type=Path, help="reports to open beside the tiny ones")
    args = parser.parse_args(arguments)
    try:
        from axe_playwright_python.sync_playwright import Axe
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        print(f"check-report: skipped, nothing was checked: {error}; see make check-report")
        return 0
    found = browser_file()
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as root:
        if found is None and not Path(playwright.chromium.executable_path).exists():
            print("check-report: skipped, nothing was checked: there is no Chromium (set CHROMIUM)")
            return 0
        shots = args.out or Path(tempfile.mkdtemp(prefix="report-"))
        shots.mkdir(parents=True, exist_ok=True)
        browser = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        pages = [*tiny_reports(Path(root)), *((page.stem, page) for page in args.pages)]
        faults = check_use(browser, pages[0][1])
        for name, page in pages:
            faults += check_page(browser, Axe(), name, page, shots)
        browser.close()
    for fault in faults:
        print(f"check-report: {fault}")
    looked = len(pages) * len(WIDTHS) * len(SCHEMES)
    print(f"check-report: {len(faults)} faults in {looked} views; screenshots: {shots}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
