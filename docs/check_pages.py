"""Open every page of the built documentation in Chromium, and check it.

Each page is opened at the width of a desktop and of a phone, in light and in dark::

    python docs/check_pages.py docs/_build/html SCREENSHOTS

The command fails, and lists why, if a page is wider than the screen, fetches anything
from the network, or has a link inside that leads nowhere. It speaks to Chromium over a
pipe (the DevTools protocol) and needs no package. ``--links-only`` needs no Chromium.
"""

import argparse
import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

WIDTHS = {"desktop": 1280, "phone": 390}
THEMES = ("light", "dark")
LOADED = "Page.loadEventFired"
TALLEST = 6000  # pixels of a screenshot

# What sticks out of the screen, but for what lies in a box of its page that scrolls,
# such as a wide table.
STICKING_OUT = """
(() => {
  const width = document.documentElement.clientWidth;
  const page = document.querySelector("article") || document.body;
  const scrolls = (one) => one && one !== page &&
    (["auto", "scroll"].includes(getComputedStyle(one).overflowX)
     || scrolls(one.parentElement));
  const out = [...page.querySelectorAll("*:not(.headerlink)")]
    .filter((one) => one.getBoundingClientRect().right > width + 1
                     && one.checkVisibility() && !scrolls(one.parentElement))
    .slice(0, 3)
    .map((one) => `${one.tagName.toLowerCase()}.${one.className}: `
                  + (one.textContent || "").trim().slice(0, 40));
  const total = document.documentElement.scrollWidth;
  return total > width ? [...out, `page is ${total} wide`] : out;
})()
"""


class Chromium:
    """A headless Chromium that is told what to do over a pipe."""

    def __init__(self, program):
        self._profile = tempfile.mkdtemp()
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        options = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            "--remote-debugging-pipe",
            f"--user-data-dir={self._profile}",
        ]
        # The protocol wants descriptors 3 and 4.
        redirect = f'exec "$0" "$@" 3<&{to_read} 4>&{to_write}'
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", redirect, program, *options],
            pass_fds=(to_read, to_write),
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(to_write)
        self._rest = b""
        self._n_sent = 0
        self._session = None
        self.events = []

    def open_tab(self):
        """Open the tab in which all pages are shown."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        self.send("Page.enable")
        self.send("Network.enable")

    def send(self, method, **params):
        """Send a command, and return its result."""
        self._n_sent += 1
        message = {"id": self._n_sent, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._n_sent:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self.events.append(answer)

    def visit(self, url):
        """Load a page, and wait until it is there."""
        self.events.clear()
        self.send("Page.navigate", url=url)
        while not any(
            one.get("method") == "Page.loadEventFired" for one in self.events
        ):
            self.events.append(self._receive())

    def evaluate(self, script):
        """Return what a script of the page returns."""
        answer = self.send("Runtime.evaluate", expression=script, returnByValue=True)
        return answer["result"].get("value")

    def set_screen(self, width, theme):
        """Change the width and the theme of the page that is open."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=False,
        )
        feature = {"name": "prefers-color-scheme", "value": theme}
        self.send("Emulation.setEmulatedMedia", features=[feature])
        self.evaluate(f"document.documentElement.dataset.theme = '{theme}'")

    def screenshot(self, path):
        """Write the page, from its top on, as a PNG file."""
        size = self.send("Page.getLayoutMetrics")["cssContentSize"]
        height = min(size["height"], TALLEST)
        clip = {"x": 0, "y": 0, "width": size["width"], "height": height, "scale": 1}
        answer = self.send(
            "Page.captureScreenshot", clip=clip, captureBeyondViewport=True
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(answer["data"]))

    def close(self):
        """End Chromium."""
        self._process.terminate()
        self._process.wait()
        shutil.rmtree(self._profile, ignore_errors=True)

    def _receive(self):
        while b"\0" not in self._rest:
            some = os.read(self._read, 1 << 20)
            if not some:
                raise RuntimeError("Chromium has ended.")
            self._rest += some
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)


class Links(HTMLParser):
    """The links of a page, and the places in it that links can lead to."""

    def __init__(self, path):
        super().__init__()
        self.links, self.places = set(), set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        """Note what a tag refers to and how it is called."""
        attrs = dict(attrs)
        self.links |= {attrs[name] for name in ("href", "src") if attrs.get(name)}
        self.places |= {attrs[name] for name in ("id", "name") if attrs.get(name)}


def broken_links(folder, pages):
    """Return the links inside the documentation that lead nowhere."""
    known = {page.resolve(): Links(page) for page in pages}
    broken = []
    for page, found in known.items():
        for link in sorted(found.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (
                (page.parent / unquote(parts.path)).resolve() if parts.path else page
            )
            place = unquote(parts.fragment)
            if not target.exists():
                broken.append(f"{page.relative_to(folder)}: {link} does not exist")
            elif place and target in known and place not in known[target].places:
                broken.append(f"{page.relative_to(folder)}: {link} has no such place")
    return broken


def check_page(browser, page, name, screenshots):
    """Look at a page on all screens, and return what is wrong with it."""
    browser.visit(page.as_uri())
    faults = []
    for event in browser.events:
        if event.get("method") == "Network.requestWillBeSent":
            url = event["params"]["request"]["url"]
            if urlsplit(url).scheme not in ("file", "data", "blob"):
                faults.append(f"{name}: fetches {url}")
    for screen, width in WIDTHS.items():
        for theme in THEMES:
            browser.set_screen(width, theme)
            if theme == THEMES[0]:
                out = browser.evaluate(STICKING_OUT)
                faults += [f"{name}, {screen}: {one}" for one in out]
            if screenshots:
                browser.screenshot(screenshots / f"{name}-{screen}-{theme}.png")
    return faults


def look_at(pages, folder, chromium, screenshots):
    """Open pages one by one in Chromium, and return what is wrong with them."""
    browser = Chromium(chromium)
    faults = []
    try:
        browser.open_tab()
        for page in pages:
            name = str(page.relative_to(folder).with_suffix(""))
            faults += check_page(browser, page, name, screenshots)
    finally:
        browser.close()
    return faults


def main():
    """Check all pages, and return 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("html", type=Path, help="folder of the built pages")
    parser.add_argument("screenshots", type=Path, nargs="?", help="where to write them")
    parser.add_argument("--chromium", default="chromium", help="program to run")
    parser.add_argument(
        "--links-only", action="store_true", help="open no browser, check links alone"
    )
    parser.add_argument("--only", default="", help="pages whose name holds this text")
    options = parser.parse_args()

    folder = options.html.resolve()
    pages = sorted(set(folder.rglob("*.html")) - set(folder.rglob("_static/**/*.html")))
    if not pages:
        parser.error(f"there are no pages in {options.html}")
    faults = broken_links(folder, pages)
    if not options.links_only:
        shown = [page for page in pages if options.only in str(page)]
        faults += look_at(shown, folder, options.chromium, options.screenshots)
    print("\n".join(faults) or f"{len(pages)} pages, nothing wrong")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
