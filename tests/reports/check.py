#!/usr/bin/env python3
"""Opens pages of `zskt-run report` in headless Chromium, as README.md says: what they load, how large they are, how long they take,
whether they are accessible, and pictures of them to be looked at."""

import argparse
import pathlib
import sys

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

LARGEST = 3_000_000
LONGEST_MS = 1000
VIEWS = {
    "light": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 400, "height": 800}, "color_scheme": "light", "device_scale_factor": 2},
    "phone-dark": {"viewport": {"width": 400, "height": 800}, "color_scheme": "dark", "device_scale_factor": 2},
}
RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}}


def check(page_file, browser, pictures):
    """What is wrong with a page."""
    wrong = []
    size = page_file.stat().st_size
    if size > LARGEST:
        wrong.append(f"{size:,} bytes, more than {LARGEST:,}")
    for name, options in VIEWS.items():
        context = browser.new_context(**options)
        page = context.new_page()
        own, requests, messages = page_file.resolve().as_uri(), [], []
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.goto(own, wait_until="load")
        # Its script is the last thing in it; what is in sight is drawn in the frame after that.
        took = page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(() => done(performance.now()))))")
        for _ in range(1 + page.evaluate("document.documentElement.scrollHeight / innerHeight | 0")):
            page.mouse.wheel(0, options["viewport"]["height"])
            page.wait_for_timeout(50)
        page.evaluate("scrollTo(0, 0)")
        others = [url for url in requests if url != own and not url.startswith("data:")]
        if others:
            wrong.append(f"{name}: it asks for {others[0][:200]}")
        if messages:
            wrong.append(f"{name}: the console says {messages[0][:300]}")
        if took > LONGEST_MS:
            wrong.append(f"{name}: {took:.0f} ms until it is loaded")
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        if wide > 0:
            wrong.append(f"{name}: {wide} px wider than the window")
        plots = page.evaluate("document.querySelectorAll('.plot').length")
        drawn = page.evaluate("document.querySelectorAll('.plot canvas').length")
        if drawn != plots:
            wrong.append(f"{name}: {drawn} of {plots} charts are drawn")
        for violation in Axe().run(page, options=RULES).response["violations"]:
            node = violation["nodes"][0]
            wrong.append(f"{name}: {violation['id']} ({len(violation['nodes'])}): {node['html'][:200]} {node.get('failureSummary', '')[:300]}")
        if pictures:
            page.screenshot(path=pictures / f"{page_file.stem}-{name}.png", full_page=True)
        print(f"{page_file}, {name}: {size:,} bytes, {took:.0f} ms, {drawn} charts, {len(requests) - 1} other requests")
        if name == "light" and plots:
            wrong += use(page)
        context.close()
    return wrong


def use(page):
    """Uses a chart by the keyboard alone."""
    wrong = []
    chart = page.locator(".chart").first
    before = chart.locator(".readout").inner_text()
    for action in ["log", "in", "right", "all"]:
        button = chart.locator(f"[data-do={action}]")
        if button.is_disabled():
            continue
        button.focus()
        page.keyboard.press("Enter")
    if chart.locator("canvas").count() != 1:
        wrong.append("a chart is gone after its buttons were used")
    chart.locator(".plot").hover()
    if chart.locator(".readout").inner_text() == before:
        wrong.append("a chart says nothing of the point under the mouse")
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pages", nargs="+", type=pathlib.Path)
    parser.add_argument("--pictures", type=pathlib.Path, help="folder for pictures of the pages")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    arguments = parser.parse_args()
    if arguments.pictures:
        arguments.pictures.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=arguments.chromium, args=["--no-sandbox"])
        wrong = [f"{page}: {text}" for page in arguments.pages for text in check(page, browser, arguments.pictures)]
        browser.close()
    print("\n".join(wrong) if wrong else "all as it should be")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
