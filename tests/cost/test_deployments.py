"""Fleets and deployments: by hand, at both ends of the regimes, and by properties."""

import math

import pytest

from recsys_lib import cost
from recsys_lib.core.errors import InputError
from recsys_lib.cost import deployments, fleet, workloads
from recsys_lib.cost.assumptions import Assumptions
from recsys_lib.cost.deployment_options import OPTIONS, option
from recsys_lib.cost.recorded_fractions import default_assumptions
from recsys_lib.cost.services import Service, service, services
from recsys_lib.cost.units import two_digits
from recsys_lib.cost.workloads import Workload

SHOP = service("shop")


def test_machines_follow_the_rate_or_the_memory_and_both_only_where_both_bind():
    # 100 requests a second, 50 a machine: the rate asks for two machines, a state of one machine for one,
    # of eight for eight.
    assert fleet.machines_held(100.0, 50.0, 1, 1.0) == (2, 2)
    assert fleet.machines_held(100.0, 50.0, 8, 1.0) == (8, 1)
    assert fleet.machines_held(400.0, 50.0, 8, 1.0) == (8, 1)
    assert fleet.machines_held(401.0, 50.0, 8, 1.0) == (16, 2)
    assert fleet.shards_for(0.0, cost.hardware("c7a-large")) == 1


def test_dense_ease_of_a_million_items_costs_its_memory_and_not_its_square():
    feed, a = service("social-feed"), default_assumptions()
    dense = deployments.cheapest(option("EASE"), feed, a).serving
    assert dense.machines == dense.shards * dense.groups and dense.groups <= 2
    assert dense.shards == math.ceil(2e12 / (dense.machine.memory_bytes * fleet.USABLE))
    cut = deployments.cheapest(option("EASE top 200"), feed, a)
    assert cut.serving.shards == 1 and cut.serving.usd_per_month < 0.1 * dense.usd_per_month


def test_workloads_of_a_request_by_hand():
    a = Assumptions(history=50, entries_kept=100)
    assert workloads.request_workloads(option("popularity"), 1e3, 10.0, a) == []
    assert workloads.request_workloads(option("ItemKNN"), 1e3, 10.0, a) == [Workload("lookup", 1e4, 4e4)]
    assert workloads.request_workloads(option("EASE"), 1e3, 10.0, a) == [Workload("dense rows", 5e4, 1e5)]
    scan = Workload("scan", 768e3, 0.0, 384e3, "int8")
    assert workloads.request_workloads(option("MiniLM"), 1e3, 10.0, a) == [scan]
    cold = workloads.request_workloads(option("ItemKNN + MiniLM"), 1e3, 10.0, a)[1]
    assert cold.batch_bytes == 3840
    fit = workloads.refit_workload(option("EASE"), 10.0, 100.0, a)
    assert fit.operations == 2 * 10 * 50 * 50 + 100**3
    assert workloads.refit_workload(option("MiniLM"), 10.0, 100.0, a).operations == 0


def test_a_batch_reads_shared_bytes_once():
    machine = cost.hardware("c7a-large")
    scan = Workload("scan", 1.0, 0.0, 64e9, "int8")
    assert scan.bound_s(machine, 1) == scan.bound_s(machine, 32) == pytest.approx(1.0)
    rows = Workload("lookup", 1.0, 64e9)
    assert rows.bound_s(machine, 32) == pytest.approx(32.0)


def test_eight_bits_where_the_machine_has_them():
    assert workloads.format_of(cost.hardware("h100-sxm"), "compact") == "float8"
    assert workloads.format_of(cost.hardware("a100-80"), "compact") == "bfloat16"
    assert workloads.format_of(cost.hardware("c7i-2xlarge"), "compact") == "int8"
    model = workloads.rerank_workloads("8B LLM, logits", 64, 20, 20, 60)[0]
    assert model.batch_bytes_16 == 2 * model.batch_bytes and 6.9e9 < model.batch_bytes < 7.6e9


def test_reading_logits_writes_nothing_and_the_instruction_is_cached():
    (logits,) = workloads.rerank_workloads("8B LLM, logits", 64, 20, 20, 60)
    read, write = workloads.rerank_workloads("8B LLM, written list", 64, 20, 20, 60)
    assert read == logits and write.repeats == 60 and write.kind == "decode"
    prompt = workloads.INSTRUCTION_TOKENS + 40 * 64
    whole = cost.prefill_flops(cost.architecture("llama-3-8b"), prompt, skip_masked=True)
    assert 0.9 * whole < logits.operations < whole


def test_an_option_is_placed_where_it_costs_least_within_the_limit():
    a = default_assumptions()
    for one in OPTIONS[:8]:
        found = deployments.cheapest(one, SHOP, a)
        plans = deployments.serving_fleets(one, SHOP, a)
        within = [p.usd_per_month for p in plans if p.p99_s <= SHOP.latency_limit_s]
        assert found.serving.usd_per_month == min(within) and not found.problem
        assert found.usd_per_month == pytest.approx(math.fsum(vars(found.bill).values()))
        assert found.usd_per_million * SHOP.lists_per_month / 1e6 == pytest.approx(found.usd_per_month)


def test_where_every_plan_breaks_the_limit_the_price_is_the_cheapest_plans_and_the_limit_is_named():
    a, hurried = default_assumptions(), SHOP.change(latency_limit_s=0.02)
    found = deployments.cheapest(option("8B LLM reranks, logits"), hurried, a)
    patient = deployments.cheapest(option("8B LLM reranks, logits"), SHOP.change(latency_limit_s=100.0), a)
    assert found.problem.startswith("latency: p99 ") and found.problem.endswith("limit 0.02 s")
    assert found.nearest.startswith("a limit of ") and found.usd_per_month == patient.usd_per_month
    needed = float(found.nearest.split()[3])
    assert not deployments.cheapest(
        option("8B LLM reranks, logits"), SHOP.change(latency_limit_s=needed * 1.01), a
    ).problem


def test_a_fit_that_outlasts_its_interval_names_the_refits_that_would_do():
    vast = Service(users=1000, requests_per_s=1.0, items=10_000_000, refits_per_month=300.0)
    found = deployments.cheapest(option("EASE top 200"), vast, default_assumptions())
    assert found.problem.startswith("refit: takes ") and found.nearest.startswith("at most ")
    assert not deployments.cheapest(option("ItemKNN"), vast, default_assumptions()).problem


def test_work_that_nobody_measured_makes_the_price_a_bound():
    assert deployments.cheapest(option("ItemKNN"), SHOP, Assumptions()).basis == "bound"
    assert deployments.cheapest(option("ItemKNN"), SHOP, default_assumptions()).basis == "model"
    slow = Assumptions(unmeasured_fraction=0.1)
    assert (
        deployments.cheapest(option("EASE"), SHOP, slow).p99_s
        > deployments.cheapest(option("EASE"), SHOP, Assumptions()).p99_s
    )


def test_the_second_pattern_encodes_a_text_for_every_request():
    a, feed = default_assumptions(), service("social-feed")
    ready, asked = (deployments.cheapest(option(n), feed, a) for n in ("MiniLM", "MiniLM, text per request"))
    assert asked.usd_per_month > ready.usd_per_month and asked.bill.encoding == ready.bill.encoding


def test_lists_made_nightly_are_paid_per_user_and_not_per_request():
    a, one = default_assumptions(), option("8B LLM, lists made nightly")
    few, many = (deployments.cheapest(one, SHOP.change(requests_per_s=r), a) for r in (5.0, 500.0))
    assert few.bill.nightly == many.bill.nightly > 0
    double = deployments.cheapest(one, SHOP.change(users=2 * SHOP.users), a)
    assert double.bill.nightly == pytest.approx(2 * few.bill.nightly)


@pytest.mark.parametrize("name", ["requests_per_s", "items", "users"])
def test_more_of_anything_never_costs_less(name):
    a = default_assumptions()
    for one in OPTIONS:
        bills = [
            deployments.cheapest(one, SHOP.change(**{name: factor * getattr(SHOP, name)}), a).usd_per_month
            for factor in (0.5, 1.0, 4.0)
        ]
        assert bills == sorted(bills) or name == "items", (one.name, bills)
        assert bills[0] <= bills[-1]


def test_services_change_by_named_fields_only():
    assert SHOP.change(items=5.4).items == 5
    assert services()["social-feed"].cold_share == pytest.approx(0.5, abs=0.01)
    assert Service(users=1, requests_per_s=1.0, items=10, cold_requests=0.3).cold_share == 0.3
    # A new item is cold until it has interactions and until a refit has read them.
    for refits, cold in ((1.0, 365.25 / 12 * 500), (4.0, 365.25 / 48 * 500), (30.0, 3500.0), (0.0, 3500.0)):
        assert SHOP.change(refits_per_month=refits).cold_items == pytest.approx(cold)
    with pytest.raises(InputError, match="no field catalogue"):
        SHOP.change(catalogue=5)
    with pytest.raises(InputError, match="expected one of shop"):
        service("bakery")
    with pytest.raises(InputError, match="expected one of popularity"):
        option("oracle")
    for wrong in ({"items": 0}, {"cold_requests": 1.5}, {"mean_to_peak": 0.0}):
        with pytest.raises(InputError):
            SHOP.change(**wrong)
    with pytest.raises(InputError, match="fraction of 'scan'"):
        Assumptions(fractions={"scan": 0.5})


def test_cards_are_told_apart_by_their_whole_names():
    names = {
        "NVIDIA L40S": "l40s",
        "NVIDIA L4": "l4",
        "NVIDIA A100-SXM4-80GB": "a100-80",
        "NVIDIA A100-SXM4-40GB": "a100-40",
        "NVIDIA H100 80GB HBM3": "h100-sxm",
        "NVIDIA H100 PCIe": "h100-pcie",
        "NVIDIA GeForce RTX 4090": "rtx-4090",
        "Tesla T4": "t4",
        "NVIDIA H200": "h200",
        "NVIDIA A10G": "a10g",
    }
    assert {name: cost.card(name).name for name in names} == names
    for other in (
        "NVIDIA RTX A6000",
        "NVIDIA A100-PCIE-40GB",
        "NVIDIA L40",
        "NVIDIA T400",
        "NVIDIA RTX 4090 Laptop GPU",
    ):
        assert cost.card(other) is None, other
    assert cost.card("NVIDIA L4", 48e9) is None and cost.card("NVIDIA L4", 23.7e9).name == "l4"


def test_modelled_numbers_have_two_digits():
    assert [two_digits(v) for v in (9.96, 1234567.0, 0.00123, 99.6)] == ["10", "1,200,000", "0.0012", "100"]
