"""The tables in results/ are still those that their scripts write, and each tells where it came from."""

import importlib
import json
from pathlib import Path

import pytest

from lic_jax.io.tables import read_csv

RESULTS = Path(__file__).parents[2] / "results"

KINDS = {
    "annealing": "questions.annealing.StepPoint",
    "annealing_end": "questions.annealing.EndPoint",
    "architectures": "questions.architectures.ArchitecturePoint",
    "channel_ceiling": "questions.channel_ceiling.Row",
    "decoder_cost": "questions.decoder_cost.CostPoint",
    "deployment_cost": "questions.deployment_cost.Quantity",
    "domains": "questions.domains.DomainPoint",
    "initialization": "questions.initialization.StartPoint",
    "iterative_encoding": "questions.iterative_encoding.Row",
    "kernel_size": "questions.kernel_size.KernelPoint",
    "quantizer_options": "questions.quantizer_options.OptionPoint",
    "shrunk_decoder": "lab.measurements.MeasuredPoint",
    "tanh_count": "questions.tanh_count.CountPoint",
    "tanh_count_staircases": "questions.tanh_count.Step",
    "training_trials": "questions.training_trials.Row",
    "variable_rate_penalty": "questions.variable_rate_penalty.PenaltyPoint",
    "image_by_image": "tools.image_by_image.ImageRow",
    "kodak_reference": "lab.curves.CodecPoint",
}


@pytest.mark.parametrize("table", sorted(path.stem for path in RESULTS.glob("*.csv")))
def test_a_table_tells_where_it_came_from(table):
    told = json.loads((RESULTS / f"{table}.json").read_text())
    assert told["platform"] and told["device"]
    assert {"commit", "settings", "settings_digest"} <= told.keys() or {"recorded", "table_committed_in"} <= told.keys()


@pytest.mark.parametrize("table", KINDS)
def test_a_table_of_results_is_read_as_its_kind(table):
    module, kind = KINDS[table].rsplit(".", 1)
    rows = read_csv(RESULTS / f"{table}.csv", getattr(importlib.import_module(f"experiments.{module}"), kind))
    header = (RESULTS / f"{table}.csv").read_text().partition("\n")[0]
    assert ",".join(rows[0]._fields) == header
