"""Many at once over HTTP: never one picture more than is allowed, never one twice."""

import asyncio

import httpx2 as httpx

from flux1.store.keys import KeyLimits

SMALL = {"model": "tiny", "prompt": "a fox", "steps": 1, "size": "32x32"}


def limited(caller, **limits) -> dict[str, str]:
    _, key = caller.parts.store.keys.create(caller.account_id, "few", limits=KeyLimits(**limits))
    return {"x-key": key}


def ask_at_once(caller, count: int, headers: dict[str, str]) -> list[httpx.Response]:
    async def all_of_them():
        async with httpx.AsyncClient(base_url=caller.url, timeout=60) as client:
            asked = (
                client.post("/v1/images/generations", json=SMALL, headers=headers)
                for _ in range(count)
            )
            return await asyncio.gather(*asked)

    return asyncio.run(all_of_them())


def test_a_race_draws_no_picture_more_than_the_quota(caller):
    answers = ask_at_once(caller, 12, limited(caller, images_per_day=5))
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [429] * 7
    assert caller.parts.store.usage.today(caller.account_id).images == 5


def test_an_idempotency_key_that_comes_many_times_at_once_is_one_request(caller):
    headers = {"x-key": caller.key, "idempotency-key": "once"}
    answers = ask_at_once(caller, 8, headers)
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len({answer.json()["data"][0]["b64_json"] for answer in answers}) == 1
    assert caller.parts.store.usage.today(caller.account_id).images == 1


def test_a_picture_that_was_seen_coming_is_a_picture(caller):
    headers = limited(caller, images_per_day=1)
    asked = SMALL | {"steps": 200, "stream": True, "partial_images": 3}
    for status in (200, 429):
        with httpx.stream(
            "POST", f"{caller.url}/v1/images/generations", json=asked, headers=headers, timeout=60
        ) as answer:
            assert answer.status_code == status
            if status == 200:
                next(line for line in answer.iter_lines() if "partial_image" in line)
        requests = caller.parts.store.requests
        while any(
            stored.finished is None for stored in requests.search(account_id=caller.account_id)
        ):
            pass
    assert caller.parts.store.usage.today(caller.account_id).images == 1
