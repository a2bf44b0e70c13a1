"""A real browser for pages of HTML: Chromium without a window, driven by selenium.

Tests take the fixture `browser` and skip, saying so, where Chromium or its driver is missing.
"""

import os
import shutil

import pytest

WIDTHS = (400, 1400)
SCHEMES = ("light", "dark")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


class Browser:
    """One window, in which pages are opened from files."""

    def __init__(self, chromium, chromedriver):
        webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        for flag in FLAGS:
            options.add_argument(flag)
        self.driver = webdriver.Chrome(options=options, service=Service(chromedriver))

    def open(self, path, width=1400, scheme="light"):
        """Open a page and wait until its script says that it is ready."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        self.driver.get(path.resolve().as_uri())
        self.wait("document.documentElement.dataset.ready === 'yes'")

    def run(self, script):
        """Return the value of an expression of JavaScript on the page."""
        return self.driver.execute_script(f"return ({script})")

    def wait(self, condition):
        """Wait until an expression holds; a page that never gets there fails the test."""
        from selenium.webdriver.support.wait import WebDriverWait

        WebDriverWait(self.driver, 60).until(lambda _: self.run(condition), condition)

    def hover(self, element):
        """Move the pointer over the first element that a CSS selector names."""
        from selenium.webdriver import ActionChains

        found = self.driver.find_element("css selector", element)
        ActionChains(self.driver).move_to_element(found).perform()

    def problems(self):
        """Return what went wrong since the last call: errors of scripts, blocked requests."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def contrast(self, element):
        """Return the contrast of an element's text to the page's ground, from 1 to 21 (WCAG)."""
        ink, paper = (
            [int(part) for part in self.run(f"getComputedStyle({of}).{name}")[4:-1].split(",")]
            for of, name in (
                (f"document.querySelector('{element}')", "color"),
                ("document.body", "backgroundColor"),
            )
        )
        light, dark = sorted((_luminance(ink), _luminance(paper)), reverse=True)
        return (light + 0.05) / (dark + 0.05)

    def quit(self):
        """Close it."""
        self.driver.quit()


def _luminance(colour):
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (part / 255 for part in colour)
    ]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def start_browser():
    """Return a browser; skip the test, with the reason, where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = next(filter(None, map(shutil.which, names)), None)
    chromedriver = shutil.which("chromedriver")
    if not (chromium and chromedriver):
        pytest.skip("no page is opened: install chromium and chromium-driver")
    # Whatever proxy the machine has is not for pages on its own disk.
    os.environ.setdefault("NO_PROXY", "localhost,127.0.0.1")
    return Browser(chromium, chromedriver)
