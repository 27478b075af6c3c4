"""The pages of the site as people use them: found, narrow, dark, printed, read aloud; in a real browser."""

import re

import pytest
from browser import DARK, built_site, measured, needs_browser, rendered

# Minutes in all: `make check` leaves them out, `make test` runs them.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder():
    return built_site()


@needs_browser
def test_search_knows_both_spellings_and_chinese_and_shows_prose(folder, tmp_path):
    def found(query):
        page = rendered(f"file://{folder}/glossary.html?q={query}", tmp_path)
        return re.search(r'<ul class="results"[^>]*>(.*?)</ul>', page, re.S)[1]

    assert "<mark>quantization</mark>" in found("quantisation").lower()
    assert "glossary.html" in found("%E4%BD%99%E5%BC%A6")  # 余弦
    whitening = found("whitening")
    assert whitening.index("html") and "figures.html" not in re.findall(r'href="([\w.]+)', whitening)[0]
    assert not re.search(r"\$|\\frac|\bimport \w+ as\b", whitening)
    assert "explorer.html" in found("explorer%20prices")


@needs_browser
def test_an_anchor_stops_below_the_bar(folder, tmp_path):
    page = folder / "03_ranking.html"
    anchor = re.findall(r'<li><a href="(#[^"]+)">', page.read_text(encoding="utf-8"))[3]
    script = """const bar = document.querySelector(".site-bar").getBoundingClientRect();
      const heading = document.querySelector(":target").getBoundingClientRect();
      return [bar.top, bar.bottom, heading.top];"""
    top, bottom, heading = measured(page, script, tmp_path, anchor=anchor)
    assert top == 0 and heading >= bottom, (top, bottom, heading)


@needs_browser
@pytest.mark.parametrize("name", ["index", "03_ranking", "ledger", "figures"])
def test_nothing_is_wider_than_a_telephone(name, folder, tmp_path):
    script = """const menu = document.querySelector("summary").getBoundingClientRect();
      const box = document.querySelector(".search").getBoundingClientRect();
      const apart = menu.bottom <= box.top || menu.right <= box.left;
      return [document.documentElement.scrollWidth, innerWidth, apart];"""
    wide, window, apart = measured(folder / f"{name}.html", script, tmp_path, frame=400)
    assert window <= 400 and wide <= window and apart, (wide, window)


# The smallest contrast of any text with what lies behind it (WCAG 2), formulas and hidden text apart.
CONTRAST = """
  const level = (c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * level(r / 255) + 0.7152 * level(g / 255) + 0.0722 * level(b / 255);
  const parts = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const colour = parts(getComputedStyle(node).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return matchMedia("(prefers-color-scheme: dark)").matches ? [20, 24, 28] : [255, 255, 255];
  };
  let least = [99, ""];
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    const apart = node.closest("svg, mjx-container, script, style, .anchor-link, .unseen");
    if (!own || apart || !node.offsetParent) continue;
    const a = light(parts(getComputedStyle(node).color)), b = light(behind(node));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < least[0]) least = [ratio, `${node.className} ${node.textContent.slice(0, 40)}`];
  }
  return [...least, getComputedStyle(document.body).backgroundColor];
"""


@needs_browser
@pytest.mark.parametrize("name", ["03_ranking", "ledger", "index"])
@pytest.mark.parametrize("more", [(), (DARK,)], ids=["light", "dark"])
def test_text_has_contrast_in_light_and_dark(name, more, folder, tmp_path):
    ratio, where, background = measured(folder / f"{name}.html", CONTRAST, tmp_path, more=more)
    assert ratio >= 4.5, where
    assert (background == "rgb(255, 255, 255)") == (not more), background


@needs_browser
def test_lines_are_short_enough_to_read(folder, tmp_path):
    script = """const lines = [...document.querySelectorAll("main > .cell p")].map((p) => p.clientWidth);
      const longest = Math.max(...lines);
      return longest / parseFloat(getComputedStyle(document.body).fontSize);"""
    assert measured(folder / "03_ranking.html", script, tmp_path, width=1600) <= 45  # about 90 characters


@needs_browser
def test_escape_closes_the_menu_and_the_button_folds_code(folder, tmp_path):
    script = """const menu = document.querySelector(".site-bar details");
      const summary = menu.querySelector("summary");
      menu.open = true;
      document.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true }));
      const closed = !menu.open && document.activeElement === summary;
      const button = document.querySelector("#fold");
      const code = () => document.querySelectorAll("details.code[open]").length;
      const open = code();
      button.click();
      return [closed, open, code(), button.getAttribute("aria-pressed")];"""
    closed, before, after, pressed = measured(folder / "03_ranking.html", script, tmp_path)
    assert closed and before > 10 and after == 0 and pressed == "true"


@needs_browser
def test_a_diagram_has_a_title_that_is_read_aloud(folder, tmp_path):
    page = rendered(f"file://{folder}/00_the_article.html", tmp_path, 20_000)
    drawn = re.search(r'<svg[^>]*aria-labelledby="([^"]+)"[^>]*>', page)
    assert drawn and re.search(rf'<title id="{re.escape(drawn[1])}">The offline and the online path', page)


@needs_browser
def test_a_printed_page_is_complete(folder, tmp_path):
    # The rules for print, applied to the screen: no navigation, nothing cut at the right.
    page = tmp_path / "03_ranking.html"
    text = (folder / "03_ranking.html").read_text(encoding="utf-8")
    style = (folder / "site.css").read_text(encoding="utf-8").replace("@media print", "@media all")
    page.write_text(
        text.replace('<link rel="stylesheet" href="site.css">', f"<style>{style}</style>"), encoding="utf-8"
    )
    script = """const boxes = [...document.querySelectorAll("main pre, main .wide")];
      const cut = boxes.filter((n) => n.scrollWidth > n.clientWidth + 1);
      return [getComputedStyle(document.querySelector(".site-bar")).display, cut.length];"""
    assert measured(page, script, tmp_path, width=794) == ["none", 0]
