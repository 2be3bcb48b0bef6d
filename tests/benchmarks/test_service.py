"""The service's benchmarks, in their smallest run, on real servers."""

import json

import pytest

import crash
import load
from benchmark_results import written


@pytest.mark.slow
def test_accepted_jobs_end_exactly_once_though_the_server_is_killed(capsys):
    crash.main(kills=1, jobs=6, model="tiny", seed=0)
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["succeeded"] == report["images billed"] == report["pictures that open"] == 6


def test_every_client_of_every_account_is_served(tmp_path):
    load.main(seconds=0.5, alone_seconds=0.5, clients=4, model="tiny", out=tmp_path)
    figures = written(tmp_path, "load")
    crowd = figures["crowd"]
    assert crowd["failures"] == figures["one_at_a_time"]["failures"] == []
    assert crowd["pictures"] >= figures["clients"] == 4
    shares = figures["shares"]
    assert sum(one["share"] for one in shares.values()) == pytest.approx(1, abs=1e-3)
    assert shares["double"]["of_weight"] == 0.5
    assert any(line.startswith("flux1_") for line in figures["metrics"])
