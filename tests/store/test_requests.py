"""A request is a row before it is work, ends once, and can be found and forgotten."""

import os
import subprocess
import sys
from collections import Counter
from dataclasses import asdict
from datetime import timedelta

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from flux1.errors import RequestError
from flux1.store.keys import Keys
from flux1.store.requests import Requests, StoredPicture
from flux1.store.tables import PICTURES, USAGE
from flux1.store.usage import Usage, UsageTotal
from flux1.store.webhooks import Deliveries
from store.samples import new_picture, new_request, race


def test_what_is_accepted_is_there_word_for_word(database, requests, account, clock):
    key, _ = Keys(database).create(account.id, "laptop")
    new = new_request(
        account.id, key_id=key.id, idempotency_key="once", webhook_url="https://example.org/hook",
        webhook_secret="whsec", safety={"prompt": {"scores": {"violence": 0.25}}},
    )  # fmt: skip
    stored, is_new = requests.accept(new)
    assert is_new
    assert requests.get(new.id) == stored
    kept = asdict(stored)
    unseen = {"webhook_secret": "whsec", "images": 1, "pixels": 0}
    assert {**asdict(new), **kept} == kept | unseen
    assert (stored.status, stored.created, stored.started, stored.finished) == (
        "queued",
        clock.time,
        None,
        None,
    )
    assert (stored.error_code, stored.timings, stored.pictures) == (None, {}, ())
    assert requests.webhook_secret(new.id) == "whsec"
    assert requests.webhook_secret("req_0") is None
    assert "whsec" not in repr(new)


def test_a_second_request_of_the_same_idempotency_key_gets_the_first_one(requests, account, other):
    first, _ = requests.accept(new_request(account.id, "req_1", idempotency_key="once"))
    again, is_new = requests.accept(new_request(account.id, "req_2", idempotency_key="once"))
    assert (again, is_new) == (first, False)
    assert requests.get("req_2") is None
    assert requests.accept(new_request(other.id, "req_3", idempotency_key="once"))[1]
    assert requests.accept(new_request(account.id, "req_4"))[1]
    assert requests.accept(new_request(account.id, "req_5"))[1]


def test_of_racing_requests_of_one_idempotency_key_one_is_new(requests, account):
    raced = race(
        8, lambda k: requests.accept(new_request(account.id, f"req_{k}", idempotency_key="once"))
    )
    assert sorted(is_new for _, is_new in raced) == [False] * 7 + [True]
    assert len({stored.id for stored, _ in raced}) == 1
    assert sum(requests.counts().values()) == 1


def test_an_endless_idempotency_key_is_refused(requests, account):
    with pytest.raises(RequestError, match="Idempotency-Key: has 256 characters, at most 255"):
        requests.accept(new_request(account.id, idempotency_key="x" * 256))
    assert requests.accept(new_request(account.id, idempotency_key="é" * 255))[1]


def test_an_id_is_given_once(requests, account):
    requests.accept(new_request(account.id))
    with pytest.raises(IntegrityError):
        requests.accept(new_request(account.id))


def test_another_account_s_request_is_not_there(requests, account, other):
    stored, _ = requests.accept(new_request(account.id))
    assert requests.get(stored.id, account.id) == stored
    assert requests.get(stored.id, other.id) is None


def test_work_may_begin_again_but_not_after_the_end(requests, account, clock):
    stored, _ = requests.accept(new_request(account.id))
    assert requests.mark_running(stored.id)
    clock.advance(minutes=1)
    assert requests.mark_running(stored.id)  # after a restart
    assert (requests.get(stored.id).status, requests.get(stored.id).started) == (
        "running",
        clock.time,
    )
    assert requests.fail(stored.id, "cancelled", "cancelled", "nobody waits")
    assert not requests.mark_running(stored.id)
    assert requests.get(stored.id).status == "cancelled"
    assert not requests.mark_running("req_0")


def test_a_finished_request_has_its_pictures_and_usage(database, requests, account, clock):
    requests.accept(new_request(account.id))
    expires = clock.time + timedelta(days=30)
    pictures = [new_picture("img_b", 1, expires=expires), new_picture("img_a", 0)]
    assert requests.finish("req_1", pictures, {"draw_s": 1.5}, {"picture 0": {"nsfw": 0.01}})
    stored = requests.get("req_1")
    assert (stored.status, stored.finished, stored.timings) == (
        "succeeded",
        clock.time,
        {"draw_s": 1.5},
    )
    assert stored.safety == {"picture 0": {"nsfw": 0.01}}
    assert stored.pictures == tuple(
        StoredPicture(
            **asdict(picture), job_id="req_1", account_id=account.id, prompt="a red fox",
            created=clock.time, erased=None,
        )
        for picture in reversed(pictures)
    )  # fmt: skip
    assert requests.picture("img_b") == stored.pictures[1]
    assert requests.picture("img_0") is None
    assert Usage(database).today(account.id) == UsageTotal(2, 2 * 0.524288, 1)


def test_a_request_finishes_once_however_many_try(database, requests, account):
    requests.accept(new_request(account.id))
    raced = race(8, lambda k: requests.finish("req_1", [new_picture(f"img_{k}")], {"by": k}, {}))
    assert sorted(raced) == [False] * 7 + [True]
    stored, winner = requests.get("req_1"), raced.index(True)
    assert ([p.id for p in stored.pictures], stored.timings) == ([f"img_{winner}"], {"by": winner})
    assert Usage(database).today() == UsageTotal(1, 0.524288, 1)


def test_a_request_ends_one_way_however_many_try(database, requests, account):
    for turn in range(5):
        id = f"req_{turn}"
        requests.accept(new_request(account.id, id))
        ways = {
            0: lambda id=id: requests.finish(id, [new_picture(f"img_{id}")], {}, {}),
            1: lambda id=id: requests.fail(id, "failed", "engine_failed", "out of memory"),
            2: lambda id=id: requests.erase(id, account.id) is None,
        }
        finished, failed, _ = race(3, lambda k, ways=ways: ways[k]())
        assert finished + failed <= 1
        stored = requests.get(id)
        assert stored.status == ("succeeded" if finished else "failed" if failed else "cancelled")
        assert len(stored.pictures) == finished
    assert Usage(database).today().requests == requests.counts()["succeeded"]


def test_a_finish_that_breaks_off_leaves_nothing(database, requests, account):
    requests.accept(new_request(account.id))
    requests.mark_running("req_1")
    with pytest.raises(IntegrityError):
        requests.finish("req_1", [new_picture("img_1"), new_picture("img_1", 1)], {}, {})
    assert (requests.get("req_1").status, requests.get("req_1").pictures) == ("running", ())
    assert Usage(database).today().requests == 0
    assert requests.finish("req_1", [new_picture("img_1")], {}, {})


@pytest.mark.parametrize("status", ["failed", "cancelled", "blocked"])
def test_a_request_that_fails_says_why_and_is_not_counted(database, requests, account, status):
    requests.accept(new_request(account.id, safety={"prompt": 1}))
    assert requests.fail("req_1", status, "a_code", "Words.")
    stored = requests.get("req_1")
    assert (stored.status, stored.error_code, stored.error_message) == (status, "a_code", "Words.")
    assert stored.safety == {"prompt": 1}
    assert not requests.fail("req_1", "failed", "other", "Other words.", {"picture": 2})
    assert not requests.finish("req_1", [new_picture()], {}, {})
    assert requests.get("req_1") == stored
    assert Usage(database).today() == UsageTotal(0, 0.0, 0)


def test_what_a_crash_left_open_is_taken_up_or_failed(requests, account, clock):
    for k, asynchronous in enumerate([True, False, True, True, False, True]):
        requests.accept(new_request(account.id, f"req_{k}", asynchronous=asynchronous))
        clock.advance(seconds=1)
    requests.mark_running("req_2")
    requests.mark_running("req_4")
    requests.finish("req_3", [], {}, {})
    assert [stored.id for stored in requests.unfinished()] == ["req_0", "req_2", "req_5"]
    assert requests.abandon_synchronous() == 2
    assert requests.abandon_synchronous() == 0
    left = requests.get("req_4")
    assert (left.status, left.error_code, left.finished) == ("failed", "interrupted", clock.time)
    assert requests.counts() == {
        "queued": 2, "running": 1, "succeeded": 1, "failed": 2, "cancelled": 0, "blocked": 0,
    }  # fmt: skip


def test_a_search_narrows_by_each_field(requests, account, other, clock):
    begin = clock.time
    for k, changes in enumerate(
        [
            {"prompt": "Un Été rouge", "api": "openai"},
            {"prompt": "100% of a fox_trot", "api": "bfl"},
            {"prompt": "a blue door", "request_id": "fox"},
        ]
    ):
        requests.accept(new_request(account.id, f"req_{k}", **changes))
        clock.advance(hours=1)
    requests.accept(new_request(other.id, "req_3", prompt="été"))
    requests.fail("req_1", "failed", "x", "y")

    def found(**asked):
        return [stored.id for stored in requests.search(**asked)]

    assert found() == ["req_3", "req_2", "req_1", "req_0"]
    assert found(account_id=account.id) == ["req_2", "req_1", "req_0"]
    assert found(text="été") == ["req_3", "req_0"]
    assert found(text="FOX") == ["req_1"]  # of request ids, only whole ones
    assert found(text="fox") == ["req_2", "req_1"]
    assert found(text="req_2") == ["req_2"]
    assert found(text="%") == found(text="x_t") == ["req_1"]
    assert found(status="failed") == ["req_1"]
    assert found(api="bfl") == ["req_1"]
    hour = timedelta(hours=1)
    assert found(since=begin + hour, until=begin + 2 * hour) == ["req_1"]
    assert found(account_id=other.id, text="door") == []
    assert found(limit=2) == ["req_3", "req_2"]


def test_pages_miss_and_repeat_nothing_while_requests_come_in(requests, account, clock):
    for k in range(7):
        requests.accept(new_request(account.id, f"req_{k}"))  # all at the same moment
    seen, before = [], None
    while page := requests.search(account_id=account.id, before=before, limit=3):
        seen += [stored.id for stored in page]
        before = page[-1].cursor
        clock.advance(seconds=1)
        requests.accept(new_request(account.id, f"req_later_{len(seen)}"))
    assert seen == [f"req_{k}" for k in reversed(range(7))]


def test_a_cursor_that_leads_nowhere_finds_nothing(requests, account):
    requests.accept(new_request(account.id))
    assert requests.search(before="req_0") == requests.search(before="\0") == []
    assert requests.gallery(account.id, before="img_0") == []


def test_the_gallery_shows_what_is_there_newest_first(requests, account, other, clock):
    for k in range(5):
        owner = other.id if k == 4 else account.id
        expires = clock.time + timedelta(hours=1) if k == 1 else None
        requests.accept(new_request(owner, f"req_{k}", prompt=f"fox {k}"))
        pictures = [new_picture(f"img_{k}_{i}", i, expires=expires) for i in range(2)]
        requests.finish(f"req_{k}", pictures, {}, {})
        clock.advance(seconds=1)
    requests.mark_erased(["img_2_0"])
    clock.advance(hours=1)
    pages, before = [], None
    while page := requests.gallery(account.id, before, 2):
        pages.append([(picture.id, picture.prompt) for picture in page])
        before = page[-1].cursor
    assert pages == [
        [("img_3_1", "fox 3"), ("img_3_0", "fox 3")],
        [("img_2_1", "fox 2"), ("img_0_1", "fox 0")],
        [("img_0_0", "fox 0")],
    ]


def test_expired_pictures_are_erased_once(requests, account, clock):
    requests.accept(new_request(account.id))
    times = [timedelta(days=2), timedelta(days=1), None]
    pictures = [
        new_picture(f"img_{k}", k, expires=None if time is None else clock.time + time)
        for k, time in enumerate(times)
    ]
    requests.finish("req_1", pictures, {}, {})
    clock.advance(days=1, microseconds=-1)
    assert requests.expired_pictures(clock.time, 10) == []
    clock.advance(days=1, microseconds=1)
    assert [p.id for p in requests.expired_pictures(clock.time, 10)] == ["img_1", "img_0"]
    (first,) = requests.expired_pictures(clock.time, 1)
    requests.mark_erased([first.id])
    assert requests.picture("img_1").erased == clock.time
    assert [p.id for p in requests.expired_pictures(clock.time, 10)] == ["img_0"]
    assert requests.picture("img_2").erased is None


def test_an_erased_request_is_forgotten_but_not_its_usage(
    database, requests, account, other, clock
):
    deliveries = Deliveries(database)
    requests.accept(new_request(account.id))
    requests.finish(
        "req_1", [new_picture("img_1"), new_picture("img_2", 1)], {}, {"words": ["fox"]}
    )
    deliveries.add("req_1", "https://example.org/hook", '{"prompt": "a red fox"}')
    assert requests.erase("req_1", other.id) is None
    assert requests.get("req_1").prompt == "a red fox"
    assert sorted(requests.erase("req_1", account.id)) == ["img_1", "img_2"]
    stored = requests.get("req_1")
    assert (stored.status, stored.prompt, stored.parameters, stored.safety) == (
        "succeeded",
        "",
        {},
        {},
    )
    assert [(p.erased, p.prompt) for p in stored.pictures] == [(clock.time, "")] * 2
    (delivery,) = deliveries.for_request("req_1")
    assert (delivery.payload, delivery.next_attempt) == ("", None)
    assert Usage(database).today(account.id).images == 2
    assert requests.search(text="fox") == []


def test_erasing_an_open_request_ends_it(requests, account):
    requests.accept(new_request(account.id, asynchronous=True))
    assert requests.erase("req_1", account.id) == ()
    assert requests.get("req_1").status == "cancelled"
    assert requests.unfinished() == []
    assert not requests.finish("req_1", [new_picture()], {}, {})


WRITER = """
import sys
from flux1.store.database import Database
from flux1.store.requests import Requests
from store.samples import new_request, new_picture

requests = Requests(Database.open(sys.argv[1]))
for k in range(100_000):
    requests.accept(new_request(sys.argv[2], f"req_{k}", asynchronous=True))
    print("accepted", f"req_{k}", flush=True)
    pictures = [new_picture(f"img_{k}_{i}", i) for i in range(3)]
    requests.finish(f"req_{k}", pictures, {}, {})
    print("finished", f"req_{k}", flush=True)
"""


def test_what_was_told_survives_a_kill(url, database, account):
    command = [sys.executable, "-c", WRITER, url, account.id]
    path = {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=path) as writer:
        told = [writer.stdout.readline().split() for _ in range(25)]
        writer.kill()
        told += [words for line in writer.stdout if len(words := line.split()) == 2]
    requests = {stored.id: stored for stored in Requests(database).search(limit=200_000)}
    status = {id: word for word, id in told}
    for id, word in status.items():
        assert word == "accepted" or requests[id].status == "succeeded"
    assert all(
        len(stored.pictures) == 3 * (stored.status == "succeeded") for stored in requests.values()
    )
    billed = Counter(row["job_id"] for row in database.all(select(USAGE)))
    assert billed == Counter(id for id, stored in requests.items() if stored.status == "succeeded")
    assert database.one(select(func.count().label("n")).select_from(PICTURES))["n"] == 3 * len(
        billed
    )
