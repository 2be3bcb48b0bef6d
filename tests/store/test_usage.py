"""What was drawn adds up, and days begin at midnight UTC."""

from datetime import UTC, date, datetime

import pytest

import flux1.store.usage
from flux1.store.keys import Keys
from flux1.store.usage import Usage, UsageTotal
from store.samples import new_picture, new_request


@pytest.fixture
def usage(database):
    return Usage(database)


@pytest.fixture
def draw(requests, clock):
    """Finish a request of `images` pictures of half a megapixel at a given time."""
    drawn = []

    def draw(account, images, time=None, key=None):
        clock.time = time or clock.time
        drawn.append(f"req_{len(drawn):03}")
        id = drawn[-1]
        requests.accept(new_request(account.id, id, key_id=key and key.id))
        requests.finish(
            id, [new_picture(f"{id}_{k}", k, width=1000, height=500) for k in range(images)], {}, {}
        )
        return id

    return draw


def test_totals_are_of_the_account_and_of_the_key(database, usage, draw, account, other):
    one, two = (Keys(database).create(account.id, name)[0] for name in ("one", "two"))
    draw(account, 1, key=one)
    draw(account, 2, key=two)
    draw(account, 4, key=two)
    draw(account, 8)
    draw(other, 16)
    assert usage.today() == UsageTotal(31, 15.5, 5)
    assert usage.today(account.id) == UsageTotal(15, 7.5, 4)
    assert usage.today(account.id, two.id) == UsageTotal(6, 3.0, 2)
    assert usage.today(key_id=one.id) == UsageTotal(1, 0.5, 1)
    assert usage.today(other.id, one.id) == UsageTotal(0, 0.0, 0)
    assert usage.by_key(account.id, 1) == [
        (None, None, 8, 4.0, 1),
        (two.id, "two", 6, 3.0, 2),
        (one.id, "one", 1, 0.5, 1),
    ]


def test_days_begin_at_midnight_utc(usage, draw, account, clock):
    draw(account, 1, datetime(2030, 2, 27, 23, 59, 59, 999999, tzinfo=UTC))
    assert usage.today(account.id).images == 1
    clock.time = datetime(2030, 2, 28, 0, 0, tzinfo=UTC)
    assert usage.today(account.id).images == 0
    draw(account, 2)
    draw(account, 4, datetime(2030, 2, 28, 23, 59, 59, 999999, tzinfo=UTC))
    assert usage.today(account.id).images == 6
    draw(account, 8, datetime(2030, 3, 2, 0, 0, tzinfo=UTC))
    assert usage.by_day(account.id, 4) == [
        (date(2030, 2, 27), 1, 0.5, 1),
        (date(2030, 2, 28), 6, 3.0, 2),
        (date(2030, 3, 1), 0, 0.0, 0),
        (date(2030, 3, 2), 8, 4.0, 1),
    ]
    assert [day.images for day in usage.by_day(account.id, 1)] == [8]
    assert [day.images for day in usage.by_day(account.id, 2, key_id="key_0")] == [0, 0]
    assert [key.images for key in usage.by_key(account.id, 3)] == [14]


def test_the_export_is_every_request_in_order(
    database, usage, draw, account, other, clock, monkeypatch
):
    monkeypatch.setattr(flux1.store.usage, "_PAGE", 2)
    key, _ = Keys(database).create(account.id, "laptop")
    days = [datetime(2030, 3, day, 12, tzinfo=UTC) for day in (1, 2, 2, 2, 3, 4)]
    ids = [draw(account, k + 1, day, key) for k, day in enumerate(days)]
    draw(other, 1, days[1])
    mine = list(usage.export(account.id, date(2030, 3, 2), date(2030, 3, 3)))
    assert [(row["job_id"], row["images"]) for row in mine] == [
        (id, k + 2) for k, id in enumerate(ids[1:5])
    ]
    assert mine[0] == {
        "time": "2030-03-02T12:00:00+00:00", "job_id": ids[1], "request_id": f"http_{ids[1]}",
        "api": "openai", "model": "flux-mini", "email": account.email, "key_id": key.id,
        "key_name": "laptop", "images": 2, "megapixels": 1.0,
    }  # fmt: skip
    assert len(list(usage.export(None, date(2030, 3, 1), date(2030, 3, 4)))) == 7
