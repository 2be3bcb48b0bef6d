"""The smallest run of benchmarks/attack.py: every kind of hostile request, to a real server."""

import sys
from pathlib import Path

import httpx2 as httpx

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import attack


def test_no_kind_of_hostile_request_is_an_answer_500_or_holds_up_the_loop(service, caller):
    _, url = service
    answers = attack.fuzz(url, caller.key, cases=5 * len(attack.KINDS), seed=7)
    assert all(sum(counted.values()) >= 5 for counted in answers.values())
    assert not any(500 in counted for counted in answers.values())
    assert httpx.get(f"{url}/health/live").status_code == 200
    assert set(attack.event_loop_ms(url)) == {"pause", "work"}
