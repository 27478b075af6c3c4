"""A headless Chromium for tests: a page as its scripts leave it, and what a script finds on it."""

import atexit
import html
import json
import os
import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest

from recsys_lib.reporting import site

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# CI sets the variable: there a missing browser fails the tests that need one.
needs_browser = pytest.mark.skipif(
    not CHROMIUM and not os.environ.get("RECSYS_NEEDS_BROWSER"), reason="no Chromium on this machine"
)


# Of a headless Chromium: nothing but files can be reached, every host name resolves to nowhere.
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND",
]
DARK = "--blink-settings=preferredColorScheme=0"


def rendered(address, folder, budget_ms=8000, *, width=1280, height=900, more=()):
    """The page as a headless Chromium without a network leaves it after its scripts ran."""
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", *more]
    command += [
        f"--virtual-time-budget={budget_ms}",
        f"--window-size={width},{height}",
        "--dump-dom",
        address,
    ]
    page = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True).stdout
    return re.sub(r"<script.*?</script>", "", page, flags=re.S)


def measured(page, script, folder, *, anchor="", frame=0, **options):
    """What ``script`` (JavaScript that returns) finds on ``page`` (a file of the site) after a second.

    ``frame`` shows the page in a frame of so many pixels: a window may not be narrower than 500.
    """
    copy = page.with_name(f"measured-{page.name}")
    found = f"JSON.stringify((() => {{ {script} }})())"
    action = f'parent.postMessage({found}, "*")' if frame else f"document.title = {found}"
    code = f"<script>setTimeout(() => {action}, 1000)</script></body>"
    copy.write_text(page.read_text(encoding="utf-8").replace("</body>", code), encoding="utf-8")
    shown = copy
    if frame:
        shown = page.with_name(f"frame-{page.name}")
        listen = '<script>addEventListener("message", (event) => document.title = event.data)</script>'
        inner = f'<iframe src="{copy.name}" width="{frame}" height="800" style="border: 0"></iframe>'
        shown.write_text(f"<title></title>{listen}{inner}", encoding="utf-8")
    text = rendered(f"file://{shown}{anchor}", folder, **options)
    copy.unlink()
    shown.unlink(missing_ok=True)
    return json.loads(html.unescape(re.search(r"<title>(.*?)</title>", text, re.S)[1]))


@cache
def built_site():
    """The site, built once for all tests of a process; removed at its end."""
    folder = Path(tempfile.mkdtemp(prefix="recsys-site-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    said = site.build(folder)
    assert re.match(r"\d+ notebooks rendered, \d+ sections searchable: open .*index.html", said)
    return folder
