"""Quotas: counted where they are reserved, so that no race gets past them."""

import pytest

from flux1.errors import QuotaError
from flux1.store.keys import Keys
from flux1.store.quotas import Quota
from store.samples import new_picture, new_request, race

ROOMY = {"requests": 100, "images": 100, "megapixels": 100.0}


def quota(key_id: str | None = None, **changes) -> Quota:
    return Quota(key_id, **ROOMY | changes)


@pytest.mark.parametrize(
    ("limit", "code"),
    [
        ({"images": 5}, "image_quota_exceeded"),
        ({"megapixels": 2.7}, "megapixel_quota_exceeded"),
        ({"requests": 5}, "concurrency_limit_exceeded"),
    ],
)
def test_of_many_at_once_as_many_are_taken_as_are_allowed(requests, account, limit, code):
    def ask(k: int):
        new = new_request(account.id, f"req_{k}", images=1, pixels=524_288)
        return requests.accept(new, [quota(**limit)])

    raced = race(12, ask)
    refused = [one for one in raced if isinstance(one, QuotaError)]
    assert (len(refused), {one.code for one in refused}) == (7, {code})
    assert requests.counts()["queued"] == 5


def test_what_was_drawn_and_what_is_open_count_together_and_nothing_twice(requests, account, clock):
    def take(id: str, images: int = 1):
        return requests.accept(new_request(account.id, id, images=images), [quota(images=5)])

    take("req_1", 2)
    requests.finish("req_1", [new_picture("img_1"), new_picture("img_2", 1)], {}, {})
    take("req_2", 3)
    with pytest.raises(QuotaError, match="5 pictures a day are allowed, 2 were drawn and 3 are"):
        take("req_3")
    requests.fail(
        "req_2", "failed", "engine_failed", "out of memory"
    )  # gives back what it reserved
    take("req_4", 3)
    requests.fail("req_4", "cancelled", "cancelled", "gone", delivered=2)  # two of three were seen
    take("req_5")
    with pytest.raises(QuotaError):
        take("req_6")
    clock.advance(days=1)
    take("req_7", 4)  # yesterday's are forgotten, what is open is not


def test_a_key_has_its_own_and_its_account_s(database, requests, account, other):
    key, _ = Keys(database).create(account.id, "laptop")
    both = [quota(images=3), quota(key.id, images=2)]
    for k in range(2):
        requests.accept(new_request(account.id, f"req_{k}", key_id=key.id), both)
    with pytest.raises(QuotaError, match="2 pictures"):
        requests.accept(new_request(account.id, "req_3", key_id=key.id), both)
    requests.accept(new_request(account.id, "req_4"), both[:1])
    with pytest.raises(QuotaError, match="3 pictures"):
        requests.accept(new_request(account.id, "req_5"), both[:1])
    requests.accept(new_request(other.id, "req_6"), both[:1])


def test_a_request_that_is_known_needs_no_quota(requests, account):
    first, _ = requests.accept(new_request(account.id, idempotency_key="once"), [quota(images=1)])
    again = new_request(account.id, "req_2", idempotency_key="once")
    assert requests.accept(again, [quota(images=1)]) == (first, False)
