"""Ways to recommend, what they cost and what is decided: by hand, by properties, and against the same model in JavaScript."""

import json
import math
import random
import shutil
import subprocess
from dataclasses import replace

import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from recsys_lib import cost
from recsys_lib.core.errors import InputError
from recsys_lib.cost import decision, deployments, quality, roofline_fractions
from recsys_lib.cost.deployments import Assumptions, Work
from recsys_lib.experiments import notebooks
from recsys_lib.reporting import explorer
from recsys_lib.reporting.explorer import widget

SHOP = decision.scenario("shop")


def test_quality_is_what_the_studies_recorded():
    records = json.loads((quality.MEASUREMENTS / "ranking-study.json").read_text())
    ease = next(r for r in records if r["parameters"]["protocol"] == "ml-100k random")["metrics"]["ndcg"]["EASE"]
    seen, new = deployments.way("EASE").quality("ml-100k random")
    assert seen.value == ease and seen.row == "ndcg / EASE" and new.row == "strict / chance"
    assert quality.recorded("ranking-study", ("ndcg", "no such way"), "ml-100k random") == quality.UNKNOWN
    assert quality.recorded("ranking-study", ("ndcg",), "ml-100k random") == quality.UNKNOWN
    assert quality.recorded("ranking-study", ("ndcg", "EASE"), "no such protocol") == quality.UNKNOWN
    with pytest.raises(InputError, match="expected one of ranking-study"):
        quality.recorded("hearsay", ("ndcg",), "ml-100k random")


def test_what_was_not_measured_is_unknown_and_reaches_nothing():
    for name in ("8B encoder", "EASE + MiniLM, LLM reranks", "ItemKNN + MiniLM, LLM reranks"):
        assert deployments.way(name).quality("ml-100k random") == (quality.UNKNOWN, quality.UNKNOWN)
    seen, new = deployments.way("EASE + 8B encoder").quality("ml-100k random")
    assert seen.known and not new.known and str(new) == "unknown"
    assert not new.reaches(0.01) and new.reaches(0)


def test_works_of_a_request_by_hand():
    assumed = Assumptions(history=50, neighbours=100)
    assert deployments.request_works(deployments.way("popularity"), 1000.0, assumed) == {}
    assert deployments.request_works(deployments.way("ItemKNN"), 1000.0, assumed)["neighbours"] == Work(
        5e3, 4e4, "float32"
    )
    assert deployments.request_works(deployments.way("EASE"), 1000.0, assumed)["ease"] == Work(5e4, 2e5, "float32")
    assert deployments.request_works(deployments.way("MiniLM"), 1000.0, assumed)["scan"] == Work(768e3, 384e3, "int8")
    fit = deployments.refit_work(deployments.way("EASE"), 10.0, 100.0, assumed)
    assert fit.operations == 2 * 10 * 50 * 50 + 100**3
    assert deployments.refit_work(deployments.way("MiniLM"), 10.0, 100.0, assumed).operations == 0
    # EASE's matrix twice, in float32: while one serves the next is fitted.
    assert deployments.bytes_per_item(deployments.way("EASE"), 1000.0, assumed) == 8000
    assert deployments.bytes_per_item(deployments.way("ItemKNN + MiniLM"), 1000.0, assumed) == 800 + 384


def test_encoding_is_counted_as_sizing_counts_it():
    work = deployments.encode_work("minilm", 32, 64)
    assert work.operations == cost.encode_flops(cost.architecture("minilm"), 32, 64, skip_masked=True)
    assert work.precision == "half"
    assert work.bound(cost.hardware("l4")) == pytest.approx(work.operations / 121e12)
    # Turing has no bfloat16: half is what a card has.
    assert (
        deployments.half(cost.hardware("t4"), "half") == "float16"
        and deployments.half(cost.hardware("l4"), "half") == "bfloat16"
    )
    static = deployments.encode_work("wordllama", 32, 64)
    assert static.bytes == 64 * 32 * 256 * 4


def test_a_time_is_the_bound_over_the_share_and_says_so():
    machine = cost.hardware("c7a-large")
    work = Work(0.0, 64e9, "float32")
    assert Assumptions().seconds(work, "scan", machine) == pytest.approx(1.0)
    assert Assumptions(shares={"scan on c7a": 0.5}).seconds(work, "scan", machine) == pytest.approx(2.0)
    option = deployments.options(deployments.way("MiniLM"), 64, Assumptions())[0]
    assert option.stacks(SHOP.traffic, 64, Assumptions())[0].basis == "bound"
    known = Assumptions(shares={"scan on c7a": 0.5, "encode on gpu": 0.3})
    assert option.stacks(SHOP.traffic, 64, known)[0].basis == "model"
    for shares in ({"scan on c7a": 0.0}, {"scan on c7a": 1.1}, {"scan": 0.5}, {"scan on gpu": 0.5}):
        with pytest.raises(InputError):
            Assumptions(shares=shares)
    with pytest.raises(InputError, match="utilization"):
        Assumptions(utilization=0)


def test_recorded_shares_are_shares_of_known_works():
    shares = roofline_fractions.recorded_shares()
    assert shares and set(shares) <= set(deployments.works()) and all(0 < v <= 1 for v in shares.values())


def test_only_machines_with_a_price_in_stock_are_rented():
    names = {m.name for m in deployments.rentable()}
    assert "tpu-v5e" not in names and "mi300x" not in names and "h100-sxm" in names
    with pytest.raises(InputError, match="no price"):
        _ = cost.hardware("tpu-v5e").price


def test_price_factors_move_prices_of_their_kind_only():
    assumed = Assumptions(gpu_price=0.5)
    assert assumed.priced(cost.hardware("l4")).price.usd_per_hour == pytest.approx(0.4024)
    assert assumed.priced(cost.hardware("c7a-large")) is cost.hardware("c7a-large")


def test_a_way_is_housed_where_it_costs_least():
    choices = {c.name: c for c in decision.decide(SHOP)}
    assert len(choices) == len(deployments.WAYS)
    shop = choices["EASE"]
    for option in deployments.options(shop.way, SHOP.text_tokens, Assumptions()):
        found = option.stacks(SHOP.traffic, SHOP.text_tokens, Assumptions())
        if not decision.problem(found, SHOP.traffic):
            assert shop.usd_per_month.value <= cost.usd_per_month(found[0], SHOP.traffic).value
    assert shop.usd_per_month.unit == "USD/month" and shop.usd_per_million.unit == "USD/million"
    assert shop.usd_per_refresh.unit == "USD" and shop.joules_per_month.unit == "J/month"
    for name in ("usd_per_hour", "price_offer", "price_date", "machines", "utilization", "requests_per_s", "refit_s"):
        assert name in shop.usd_per_month.inputs, name
    parts = [shop.usd_per_month.inputs[k] for k in ("serving_usd", "refresh_usd", "new_items_usd")]
    assert shop.usd_per_month.value == pytest.approx(math.fsum(parts))


def test_encoding_is_paid_where_it_is_done_and_only_once():
    choice = next(c for c in decision.decide(SHOP) if c.name == "8B encoder")
    stack = choice.stacks[0]
    assert stack.machine.kind == "cpu" and stack.batch_machine.kind == "gpu"
    per_item = stack.batch_machine.price.usd_per_hour / 3600 * stack.item_s
    assert choice.usd_per_item().value == pytest.approx(per_item)
    assert choice.usd_per_month.inputs["new_items_usd"] == pytest.approx(per_item * 500 * cost.DAYS_PER_MONTH)
    assert choice.usd_per_month.inputs["refresh_usd"] == pytest.approx(per_item * 100_000 * 4)


def test_a_reranker_adds_its_cards_and_its_time():
    patient = SHOP.change(latency_limit_s=10.0)
    by = {c.name: c for c in decision.decide(patient)}
    plain, reranked = by["ItemKNN + MiniLM"], by["ItemKNN + MiniLM, LLM reranks"]
    serving, ranking = reranked.stacks
    assert ranking.machine.kind == "gpu" and reranked.request_s == pytest.approx(serving.request_s + ranking.request_s)
    assert reranked.usd_per_month.value > plain.usd_per_month.value
    assert reranked.usd_per_month.inputs["new_items_usd"] == plain.usd_per_month.inputs["new_items_usd"]
    assert not reranked.problem
    hurried = decision.house(reranked.way, SHOP, Assumptions())
    assert hurried.problem.startswith("answers in 0.") and hurried.problem.endswith("limit 0.1 s")


def test_a_fit_that_outlasts_its_refresh_is_a_problem():
    vast = SHOP.change(items=10_000_000)
    by = {c.name: c for c in decision.decide(vast)}
    assert by["EASE"].problem.startswith("takes ") and "days to fit" in by["EASE"].problem
    assert not by["ItemKNN"].problem
    once = decision.house(deployments.way("EASE"), vast.change(refreshes_per_month=0.0), Assumptions())
    assert not once.problem


def test_the_cheapest_that_reaches_a_target():
    choices = decision.decide(SHOP)
    best = decision.cheapest_reaching(choices, SHOP.seen, SHOP.new)
    assert best.reaches(SHOP.seen, SHOP.new)
    able = [c for c in choices if c.reaches(SHOP.seen, SHOP.new)]
    assert best.usd_per_month.value == min(c.usd_per_month.value for c in able)
    assert decision.cheapest_reaching(choices, 0.99, 0.0) is None
    assert decision.verdict(choices, SHOP) is best
    with pytest.raises(
        InputError, match=r"scenario shop: .* reaches NDCG 0\.99 on known .* lower its targets seen and new"
    ):
        decision.verdict(choices, SHOP.change(seen=0.99))
    with pytest.raises(InputError, match=r"reach 0\.000 and 0\.000"):
        decision.verdict([], SHOP)
    # Equal bills go to the better.
    cheap = [replace(c, usd_per_month=cost.Quantity(1.0, "USD/month")) for c in choices if not c.problem]
    first = decision.cheapest_reaching(cheap, 0.0, 0.0)
    assert (first.seen.value or 0) + (first.new.value or 0) == max(
        (c.seen.value or 0) + (c.new.value or 0) for c in cheap
    )


def test_pareto_keeps_what_nothing_beats():
    points = {"cheap": (1.0, 0.1), "good": (5.0, 0.4), "beaten": (6.0, 0.4), "same as good": (5.0, 0.4)}
    assert decision.pareto(points) == ["cheap", "good"]
    assert decision.pareto({}) == []


def test_quality_that_would_pay():
    by = {c.name: c for c in decision.decide(SHOP.change(latency_limit_s=10.0))}
    base, dear = by["EASE"], by["EASE + MiniLM, LLM reranks"]
    extra = dear.usd_per_month.value - base.usd_per_month.value
    # Ten million lists, a hundredth of NDCG earns `extra / 10 / 3` per million: three hundredths are needed.
    needed = decision.quality_to_pay(dear, base, 10e6, extra / 10 / 3)
    assert needed.value == pytest.approx(base.seen.value + 0.03)
    assert needed.inputs["base"] == "EASE" and needed.inputs["extra_usd_per_month"] == pytest.approx(extra)
    with pytest.raises(InputError, match="measured"):
        decision.quality_to_pay(base, dear, 10e6, 1.0)


def test_break_even_by_hand():
    by = {c.name: c for c in decision.decide(SHOP)}
    reader, base = by["EASE + MiniLM"], by["EASE"]
    value = 0.05 * (reader.new.value - base.new.value)
    extra = reader.usd_per_month.value - reader.usd_per_month.inputs["new_items_usd"] - base.usd_per_month.value
    wanted = extra / (cost.DAYS_PER_MONTH * (value - reader.usd_per_item().value))
    assert decision.break_even(reader, base, 0.05).value == pytest.approx(wanted)
    assert decision.break_even(reader, base, 0.05, gain=0.0).value == math.inf
    with pytest.raises(InputError, match="say what gain"):
        decision.break_even(by["EASE + 8B encoder"], base, 0.05)
    assert decision.break_even(by["EASE + 8B encoder"], base, 0.05, gain=0.1).unit == "1/day"


def test_scenarios_change_by_named_fields_only():
    assert SHOP.change(items=5, text_tokens=16, new=0.0).traffic.items == 5
    with pytest.raises(InputError, match="no field catalogue"):
        SHOP.change(catalogue=5)
    with pytest.raises(InputError, match="choose from shop"):
        decision.scenario("bakery")
    with pytest.raises(InputError, match="expected one of popularity"):
        deployments.way("oracle")
    with pytest.raises(InputError):
        SHOP.change(items=0)


# --- The same model in JavaScript


def drawn_cases(count, seed=1):
    """Scenarios and assumptions from corner to corner, and what Python makes of them."""
    draw, found = random.Random(seed), []
    for _ in range(count):
        case = draw.choice(list(decision.scenarios().values())).change(
            users=int(10 ** draw.uniform(2, 8)),
            requests_per_s=10 ** draw.uniform(-1, 4),
            items=int(10 ** draw.uniform(2, 7)),
            new_items_per_day=10 ** draw.uniform(0, 6),
            refreshes_per_month=draw.choice([0.0, draw.uniform(0, 60)]),
            latency_limit_s=10 ** draw.uniform(-2.9, 1),
            text_tokens=draw.choice(deployments.TEXT_LENGTHS),
        )
        moved = {name: draw.choice([1.0, draw.uniform(0.3, 3)]) for name in ("cpu_price", "gpu_price")}
        moved["utilization"] = draw.uniform(0.1, 1)
        shares = roofline_fractions.recorded_shares() | {
            w: draw.uniform(0.2, 1) for w in deployments.works() if draw.random() < 0.5
        }
        found.append((case, Assumptions(**moved, shares=shares), moved | {"shares": shares}))
    return found


def figures(choice):
    """What both languages must agree on to the last digit."""
    return [
        choice.name,
        choice.usd_per_month.value,
        choice.joules_per_month.value,
        choice.usd_per_million.value,
        choice.usd_per_refresh.value,
        choice.usd_per_item().value,
        choice.request_s,
        choice.problem,
        choice.stacks[0].basis,
        choice.stacks[-1].machine.name,
    ]


@pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")
def test_javascript_agrees_with_python_to_the_last_digit(tmp_path):
    cases = drawn_cases(25)
    tables = decision.tables()
    given = [
        [{**vars(case.traffic), "text_tokens": case.text_tokens}, {**tables["assumptions"], **moved}]
        for case, _, moved in cases
    ]
    script = f"""
      const T = {json.dumps(tables)}, model = require({json.dumps(str(explorer.FOLDER / "model.js"))})(T);
      console.log(JSON.stringify({json.dumps(given)}.map(([s, a]) => model.decide(s, a, T.protocol).map((c) => [
        c.name, c.usd_per_month, c.joules_per_month, c.usd_per_million, c.usd_per_refresh, c.usd_per_item, c.request_s,
        c.problem, c.stacks[0].basis, c.stacks.at(-1).machine.name]))));"""
    (tmp_path / "agree.js").write_text(script, encoding="utf-8")
    done = subprocess.run(["node", str(tmp_path / "agree.js")], capture_output=True, text=True, timeout=120, check=True)
    wanted = [[figures(c) for c in decision.decide(case, assumed)] for case, assumed, _ in cases]
    assert json.loads(done.stdout) == wanted


def test_shares_are_read_from_the_records_of_machines(tmp_path):
    environment = {"flags": ["avx512_bf16"], "cores_physical": 4, "cores_logical": 8, "gpus": []}
    # Four cores of Zen 4: 128 GB/s and 0.947 TFLOP/s in bfloat16 by the data sheet of c7a-large, which has two.
    scan = {"work": "scan", "precision": "int8", "compute": "int8", "device": "cpu", "shape": {"batch": 1}}
    scan |= {"operations": 1.0, "bytes": 128e9, "measurement": {"samples": [1.0, 4.0, 9.0]}}
    encode = {"work": "encode", "precision": "bfloat16", "compute": "bfloat16", "device": "cpu", "shape": {"batch": 64}}
    encode |= {"operations": 0.9472e12, "bytes": 1.0, "measurement": {"samples": [2.0]}}
    small = {**encode, "shape": {"batch": 1}, "measurement": {"samples": [50.0]}}
    reads = [{"name": f"streaming read {n}", "work": n, "samples": [n / 32e9]} for n in (1e6, 1e9)]
    reads[0]["samples"] = [1e6 / 120e9]
    part = {"environment": environment, "device": "cpu", "date": "2026-11-28", "method": "1", "seconds": 1.0}
    record = {
        "machine": "a",
        "parts": {"points": {**part, "rows": [scan, encode, small]}, "ceilings": {**part, "rows": reads}},
    }
    (tmp_path / "a.json").write_text(json.dumps(record))
    (tmp_path / "study.json").write_text("[]")
    found = roofline_fractions.recorded_shares(tmp_path)
    assert found["scan on c7a"] == pytest.approx(0.25) and found["encode on c7a"] == pytest.approx(0.5)
    assert found["ease on c7a"] == found["neighbours on c7a"] == pytest.approx(0.25)
    assert set(found) == {"scan on c7a", "encode on c7a", "ease on c7a", "neighbours on c7a", "decode on gpu"}
    # Whoever was measured is rented: a bound beside a measurement would always win.
    rented = deployments.options(deployments.way("MiniLM"), 64, Assumptions(shares=found))
    assert (
        {deployments.family(o.machine) for o in rented}
        == {deployments.family(o.batch_machine) for o in rented}
        == {"c7a"}
    )
    environment["flags"] = ["neon"]
    (tmp_path / "a.json").write_text(json.dumps(record))
    assert set(roofline_fractions.recorded_shares(tmp_path)) == {"decode on gpu"}


# --- Widgets


def test_widgets_follow_the_model():
    box = widget.explorer(SHOP)
    shown, sliders = box.children[-1], box.children[:-1]
    best = decision.cheapest_reaching(decision.decide(SHOP), SHOP.seen, SHOP.new)
    assert f"<b>{best.name}</b> at <b>{best.usd_per_month.value:,.2f} USD</b>" in shown.value
    assert shown.value.count("<tr") == len(deployments.WAYS) + 1
    items = next(s for s in sliders if s.description == "items")
    items.value = 3_000_000
    moved = SHOP.change(items=round(items.value))
    bill = decision.cheapest_reaching(decision.decide(moved), SHOP.seen, SHOP.new).usd_per_month.value
    assert f"{bill:,.2f} USD" in shown.value
    next(s for s in sliders if s.description == "NDCG, known items").value = 0.6
    assert shown.value.startswith("<p>No way that was measured reaches")


def test_a_widget_has_a_form_for_readers_without_a_kernel():
    bundle = widget.bundle(widget.explorer(SHOP))
    assert {"application/vnd.jupyter.widget-view+json", "text/html", "text/plain"} <= set(bundle)
    cell = new_code_cell("x", outputs=[new_output("display_data", data=bundle)])
    kept = notebooks.strip_volatile(new_notebook(cells=[cell])).cells[0].outputs[0].data
    assert set(kept) == {"text/html", "text/plain"}


def test_a_tornado_moves_one_input_and_names_the_verdict_at_both_ends():
    ranges = {"requests_per_s": (5.0, 50.0, 5000.0), "cpu_price": (0.5, 1.0, 2.0), "items": (1e5, 1e5, 1e5)}
    rows, ends = decision.tornado(SHOP, Assumptions(), ranges)
    assert {r.name for r in rows} == set(ranges) == set(ends)
    price = next(r for r in rows if r.name == "cpu_price")
    assert price.at_base == decision.verdict(decision.decide(SHOP), SHOP).usd_per_month.value
    assert price.at_low < price.at_base < price.at_high
    assert next(r for r in rows if r.name == "items").swing == 0
    slow, known = (
        decision.bill_at(SHOP, Assumptions(), {"unmeasured_share": 0.1})[0].value,
        Assumptions(shares={"scan on c7a": 1}),
    )
    assert slow >= price.at_base and decision.bill_at(SHOP, known, {"unmeasured_share": 0.1})[0].value > 0
    with pytest.raises(InputError, match="lower its targets"):
        decision.bill_at(SHOP, Assumptions(), {"latency_limit_s": 1e-9})
