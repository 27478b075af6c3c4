"""The explorer: its model agrees with Python's to the last digit, in node and in a browser, and its page
says what it refuses.
"""

import json
import random
import re
import shutil
import subprocess

import pytest
from browser import needs_browser, rendered

from recsys_lib.cost import deployments, explorer_tables, measured_quality, turning_points
from recsys_lib.cost.assumptions import Assumptions
from recsys_lib.cost.recorded_fractions import default_assumptions, recorded_fractions
from recsys_lib.cost.services import service, services
from recsys_lib.cost.workloads import TEXT_LENGTHS, known_kinds
from recsys_lib.reporting import explorer


def drawn_cases(count, seed=1):
    """Services and assumptions from corner to corner, as Python and as JavaScript take them."""
    draw, found = random.Random(seed), []
    for _ in range(count):
        case = draw.choice(list(services().values())).change(
            users=int(10 ** draw.uniform(2, 8)),
            requests_per_s=10 ** draw.uniform(-1, 4),
            items=int(10 ** draw.uniform(2, 7)),
            new_items_per_day=10 ** draw.uniform(0, 6),
            refits_per_month=draw.choice([0.0, draw.uniform(0, 60)]),
            latency_limit_s=10 ** draw.uniform(-2.9, 1),
            text_tokens=draw.choice(TEXT_LENGTHS),
            cold_requests=draw.choice([0.0, 1.0, draw.random()]),
            mean_to_peak=draw.uniform(0.1, 1),
        )
        moved = {name: draw.choice([1.0, draw.uniform(0.3, 3)]) for name in ("cpu_price", "gpu_price")}
        moved |= {
            "max_load": draw.uniform(0.1, 0.9),
            "unmeasured_fraction": draw.choice([1.0, draw.uniform(0.1, 1)]),
        }
        fractions = recorded_fractions() | {
            w: draw.uniform(0.2, 1) for w in known_kinds() if draw.random() < 0.5
        }
        found.append((case, Assumptions(**moved, fractions=fractions), moved | {"fractions": fractions}))
    return found


def figures(one, net):
    """What both languages must agree on to the last digit."""
    return [
        one.name,
        one.usd_per_month,
        one.usd_per_million,
        one.joules_per_month,
        one.usd_per_item,
        one.p99_s,
        one.problem,
        one.nearest,
        one.basis,
        one.fleets[-1].machine.name,
        one.fleets[-1].machines,
        None if net == -float("inf") else net,
    ]


@pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")
def test_javascript_agrees_with_python_to_the_last_digit(tmp_path):
    cases, tables, methods = drawn_cases(25), explorer_tables.tables(), measured_quality.recorded_methods()
    given = [[vars(case), {**tables["assumptions"], **moved}] for case, _, moved in cases]
    script = f"""
      const T = {json.dumps(tables)}, model = require({json.dumps(str(explorer.FOLDER / "model.js"))})(T);
      console.log(JSON.stringify({json.dumps(given)}.map(([s, a]) =>
        model.decide(s, a, T.protocol, 10).options.map((c) => [
        c.name, c.usd_per_month, c.usd_per_million, c.joules_per_month, c.usd_per_item, c.p99_s,
        c.problem, c.nearest, c.basis, c.stages.at(-1).machine.name, c.stages.at(-1).machines, c.net]))));"""
    (tmp_path / "agree.js").write_text(script, encoding="utf-8")
    done = subprocess.run(
        ["node", str(tmp_path / "agree.js")], capture_output=True, text=True, timeout=120, check=True
    )
    for (case, assumed, _), found in zip(cases, json.loads(done.stdout), strict=True):
        net = turning_points.net_usd_by_method(methods, case, assumed, 10.0)
        assert found == [figures(one, net[one.name]) for one in deployments.deployments(case, assumed)]


def rows_of(page):
    """The explorer's table as the browser holds it: option to its numbers, as written by JavaScript."""
    found = {}
    for attributes in re.findall(r'<details data-option="([^>]*)>', page):
        name = attributes.partition('"')[0]
        found[name] = dict(re.findall(r'data-([\w-]+)="([^"]*)"', attributes))
    return found


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explorer")
    (folder / "explorer.html").write_text(explorer.page(), encoding="utf-8")
    return folder / "explorer.html"


@needs_browser
@pytest.mark.parametrize(
    ("address", "name", "changes", "assumed"),
    [
        ("", "shop", {}, {}),
        (
            "#service=social-feed&items=40000&text_tokens=256",
            "social-feed",
            {"items": 40000, "text_tokens": 256},
            {},
        ),
        (
            "#service=streaming&latency_limit_s=0.4&requests_per_s=7&max_load=0.3&gpu_price=0.5&cpu_price=1.7",
            "streaming",
            {"latency_limit_s": 0.4, "requests_per_s": 7.0},
            {"max_load": 0.3, "gpu_price": 0.5, "cpu_price": 1.7},
        ),
    ],
    ids=["shop", "feed", "streaming"],
)
def test_the_page_agrees_with_python_to_the_last_digit(page_file, address, name, changes, assumed):
    page = rendered(f"file://{page_file}{address}", page_file.parent)
    case = service(name).change(**{"cold_requests": round(service(name).cold_share, 4), **changes})
    a = default_assumptions().change(**assumed)
    net = turning_points.net_usd_by_method(measured_quality.recorded_methods(), case, a, 10.0)
    rows = rows_of(page)
    for one in deployments.deployments(case, a):
        row = rows.pop(one.name)
        assert float(row["usd-per-month"]) == one.usd_per_month, one.name
        assert float(row["usd-per-million"]) == one.usd_per_million
        assert float(row["joules-per-month"]) == one.joules_per_month
        assert float(row["p99-s"]) == one.p99_s and row["problem"] == one.problem
        assert (float(row["net"]) if row["net"] else -float("inf")) == net[one.name]
    assert not rows
    best = max(net, key=lambda n: net[n])
    assert re.search(rf'<body[^>]*data-best="{re.escape(best)}"', page)
    # A bill over the lists it serves is the price of a million: no two prices for one thing.
    assert one.usd_per_million == pytest.approx(one.usd_per_month / (case.lists_per_month / 1e6))


@needs_browser
def test_what_a_link_cannot_mean_is_said(page_file):
    plain = rows_of(rendered(f"file://{page_file}", page_file.parent))
    odd = "#service=bakery&items=-5&requests_per_s=fast&new_items_per_day=1e12&latency_limit_s=&axis=x"
    page = rendered(f"file://{page_file}{odd}", page_file.parent)
    assert rows_of(page) == plain and "NaN" not in page and "undefined" not in page
    said = re.search(r'<p id="rejected"[^>]*>(.*?)</p>', page)[1]
    for part in (
        "service=bakery",
        "items=-5 (expected a number from 100",
        "requests_per_s=fast",
        "1e12",
        "latency_limit_s=",
        "axis=x",
    ):
        assert part in said, part
    assert re.search(r'<p id="rejected"[^>]*hidden', rendered(f"file://{page_file}", page_file.parent))


@needs_browser
def test_what_cannot_be_served_names_its_limit_and_the_nearest_change(page_file):
    page = rendered(f"file://{page_file}#service=shop&latency_limit_s=0.001", page_file.parent)
    verdict = re.search(r'<section id="verdict".*?</section>', page, re.S)[0]
    assert (
        "No option that was measured can serve this" in verdict
        and "latency: p99" in verdict
        and "a limit of" in verdict
    )
    # Nothing that cannot serve looks as if it could: every mark is hollow.
    marks = re.findall(r'class="point[^"]*"', page)
    assert marks and all("off" in mark for mark in marks)


@needs_browser
@pytest.mark.parametrize("address", ["", "#service=social-feed", "#service=streaming&axis=p99_s"])
def test_names_in_the_chart_do_not_lie_on_each_other(page_file, address):
    page = rendered(f"file://{page_file}{address}", page_file.parent)
    names = re.findall(r'<text class="name" x="([^"]+)" y="([^"]+)">([^<]+)<', page)
    assert len(names) > 1
    boxes = [(float(x), float(y), float(x) + 6 * len(text), text) for x, y, text in names]
    for i, (left, base, right, text) in enumerate(boxes):
        for other_left, other_base, other_right, other in boxes[:i]:
            apart = right < other_left or left > other_right or abs(base - other_base) >= 12
            assert apart, (text, other)


@needs_browser
def test_ids_are_unique_and_every_control_has_a_name(page_file):
    page = rendered(f"file://{page_file}", page_file.parent)
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids)) and "copy-link" in ids
    named = re.findall(r'<label for="([^"]+)"', page)
    for number in re.findall(r'<input type="text"[^>]* id="([^"]+)"', page):
        assert number in named
    assert all("aria-label" in slider for slider in re.findall(r'<input type="range"[^>]*>', page))


def test_the_page_is_one_file():
    page = explorer.page()
    assert "<!--NAVIGATION-->" not in page and "/*MODEL*/" not in page and "/*TABLES*/" not in page
    assert 'lang="en"' in page and 'aria-live="polite"' in page and "width=device-width" in page
    assert not re.search(r"(src|href)=[\"'](https?:)?//", page), "it must need nothing else"
