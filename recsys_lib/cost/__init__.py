"""Sizing and cost: how large a model is, how fast it could be, what it costs to serve, and which option to
choose.

``architectures`` reads a configuration; ``sizing`` counts parameters, bytes, operations and bounds time;
``machines`` is the table of machines and prices; ``energy`` measures or models joules. ``deployment_options``
lists the options, ``workloads`` what each asks of a machine, ``fleet`` and ``queueing`` how many machines
that takes, ``deployments`` the cheapest of them. ``measured_quality`` is what the studies
recorded, ``uncertainty`` draws what nobody knows exactly, ``choose.decide`` ranks, ``decision_map`` and
``turning_points`` say where the choice changes, ``validation`` holds the model against measurements.
Nothing here needs weights, and only ``energy`` runs anything.
"""

from recsys_lib.cost.architectures import Architecture, architecture, from_config, models
from recsys_lib.cost.assumptions import Assumptions
from recsys_lib.cost.choose import Decision, RankedOption, decide
from recsys_lib.cost.deployment_options import OPTIONS, DeploymentOption
from recsys_lib.cost.deployments import Deployment
from recsys_lib.cost.energy import Energy, measure_energy, model_energy
from recsys_lib.cost.machines import Hardware, card, hardware, published, table
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
    "activation_bytes",
    "active_parameters",
    "architecture",
    "card",
    "convert",
    "decide",
    "decode_bound",
    "decode_flops",
    "encode_bound",
    "encode_flops",
    "from_config",
    "hardware",
    "kv_cache_bytes",
    "machines_needed",
    "measure_energy",
    "memory",
    "model_energy",
    "models",
    "parameters",
    "prefill_bound",
    "prefill_flops",
    "published",
    "read_bytes",
    "table",
    "weight_bytes",
]
