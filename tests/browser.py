"""A page as a headless Chromium leaves it after its scripts ran."""

import re
import shutil
import subprocess

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine")


def rendered(address, folder, budget_ms=8000, *, width=1280, height=900):
    """The page's DOM, without a network and without its scripts."""
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    # Nothing but files can be reached: every host name resolves to nowhere.
    command += ["--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={folder / 'profile'}"]
    command += [
        f"--virtual-time-budget={budget_ms}",
        f"--window-size={width},{height}",
        "--dump-dom",
        address,
    ]
    page = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True).stdout
    return re.sub(r"<script.*?</script>", "", page, flags=re.S)
