"""Sizing and cost: how large a model is, how fast it could be, what it draws and what it costs.

``architectures`` reads a configuration; ``sizing`` counts parameters, bytes, operations and bounds time; ``machines`` is the
table of machines and prices; ``energy`` measures or models joules; ``prices`` turns seconds into dollars. On them stand
``quality`` (what the studies recorded), ``deployments`` (ways to recommend, in works with their times) and ``decision`` (which to
take for a given traffic). Nothing here needs weights, and only ``energy`` runs anything.
"""

from recsys_lib.cost.architectures import Architecture, architecture, from_config, models
from recsys_lib.cost.assumptions import Assumptions
from recsys_lib.cost.choose import Decision, RankedOption, decide
from recsys_lib.cost.energy import Energy, measure_energy, model_energy
from recsys_lib.cost.machines import Hardware, hardware, published, table
from recsys_lib.cost.options import OPTIONS, DeploymentOption
from recsys_lib.cost.placement import Deployment
from recsys_lib.cost.prices import (
    Stack,
    TornadoRow,
    Traffic,
    Verdict,
    break_even_items_per_day,
    cheapest,
    joules_per_million,
    joules_per_month,
    joules_per_refresh,
    machines_serving,
    sensitivity,
    usd_of_energy,
    usd_per_hour_owned,
    usd_per_million,
    usd_per_month,
    usd_per_refresh,
)
from recsys_lib.cost.services import Service
from recsys_lib.cost.sizing import (
    FORMATS,
    Bound,
    Memory,
    activation_bytes,
    active_parameters,
    decode_bound,
    decode_flops,
    encode_bound,
    encode_flops,
    kv_cache_bytes,
    machines_needed,
    memory,
    parameters,
    prefill_bound,
    prefill_flops,
    read_bytes,
    weight_bytes,
)
from recsys_lib.cost.uncertainty import MethodQuality
from recsys_lib.cost.units import DAYS_PER_MONTH, HOURS_PER_MONTH, Quantity, convert

__all__ = [
    "DAYS_PER_MONTH",
    "FORMATS",
    "HOURS_PER_MONTH",
    "OPTIONS",
    "Architecture",
    "Assumptions",
    "Bound",
    "Decision",
    "Deployment",
    "DeploymentOption",
    "Energy",
    "Hardware",
    "Memory",
    "MethodQuality",
    "Quantity",
    "RankedOption",
    "Service",
    "Stack",
    "TornadoRow",
    "Traffic",
    "Verdict",
    "activation_bytes",
    "active_parameters",
    "architecture",
    "break_even_items_per_day",
    "cheapest",
    "convert",
    "decide",
    "decode_bound",
    "decode_flops",
    "encode_bound",
    "encode_flops",
    "from_config",
    "hardware",
    "joules_per_million",
    "joules_per_month",
    "joules_per_refresh",
    "kv_cache_bytes",
    "machines_needed",
    "machines_serving",
    "measure_energy",
    "memory",
    "model_energy",
    "models",
    "parameters",
    "prefill_bound",
    "prefill_flops",
    "published",
    "read_bytes",
    "sensitivity",
    "table",
    "usd_of_energy",
    "usd_per_hour_owned",
    "usd_per_million",
    "usd_per_month",
    "usd_per_refresh",
    "weight_bytes",
]
