"""API keys open what they should, for as long as they should."""

import re
from datetime import timedelta

import pytest

from flux1.errors import KeyRefusedError, RequestError
from flux1.store.keys import SCOPES, KeyLimits, Keys
from store.samples import race


@pytest.fixture
def keys(database):
    return Keys(database)


def test_a_key_opens_its_account(keys, account):
    limits = KeyLimits(60, 4, 100, 12.5, 2)
    key, secret = keys.create(account.id, " laptop ", scopes=["images:read"], limits=limits)
    assert (key.name, key.scopes, key.limits) == ("laptop", {"images:read"}, limits)
    assert re.fullmatch(r"fx1_[0-9A-Za-z]{43}", secret)
    assert secret.startswith(key.prefix)
    assert len(key.prefix) == 10
    assert keys.check(secret) == (key, account)


def test_a_key_may_do_everything_unless_it_is_told_otherwise(keys, account):
    key, _ = keys.create(account.id, "laptop")
    assert key.scopes == SCOPES.keys()
    assert (key.limits, key.expires) == (KeyLimits(), None)


def test_what_a_key_cannot_be_is_refused(keys, account):
    for name in (" ", "x" * 101, "lap\0top"):
        with pytest.raises(RequestError, match=r"^name: "):
            keys.create(account.id, name)
    with pytest.raises(RequestError, match="scopes: is empty"):
        keys.create(account.id, "laptop", scopes=[])
    with pytest.raises(RequestError, match=r"scopes: .*did you mean 'images:write'"):
        keys.create(account.id, "laptop", scopes=["images:read", "images:writ"])
    assert keys.list(account.id) == ()


@pytest.mark.parametrize(
    "limits",
    [
        {"requests_per_minute": 0},
        {"concurrency": -1},
        {"images_per_day": 10**10},
        {"megapixels_per_day": float("nan")},
        {"tolerance": 7},
    ],
)
def test_limits_that_cannot_be_meant_are_refused(limits):
    (field,) = limits
    with pytest.raises(RequestError, match=f"^{field}: .*nearest: ") as refused:
        KeyLimits(**limits)
    assert refused.value.field == field


def test_a_key_expires_at_its_time(keys, account, clock):
    key, secret = keys.create(account.id, "laptop", expires=clock.time + timedelta(days=1))
    clock.advance(days=1, microseconds=-1)
    assert keys.check(secret)[0].id == key.id
    clock.advance(microseconds=1)
    with pytest.raises(KeyRefusedError, match="expired on 2030-06-16"):
        keys.check(secret)
    with pytest.raises(RequestError, match=r"^expires: "):
        keys.create(account.id, "laptop", expires=clock.time)


def test_a_revoked_key_opens_nothing_ever_again(keys, account, clock):
    key, secret = keys.create(account.id, "laptop")
    revoked = keys.revoke(account.id, key.id)
    assert revoked.revoked == clock.time
    clock.advance(days=1)
    assert keys.revoke(account.id, key.id) == revoked
    with pytest.raises(KeyRefusedError, match="revoked on 2030-06-15"):
        keys.check(secret)


def test_a_disabled_account_s_key_opens_nothing(keys, accounts, other):
    _, secret = keys.create(other.id, "laptop")
    accounts.set_enabled(other.id, False)
    with pytest.raises(KeyRefusedError, match="disabled"):
        keys.check(secret)


def test_a_refusal_holds_no_more_of_the_secret_than_its_prefix(keys, account):
    _, secret = keys.create(account.id, "laptop")
    guess = secret[:-1] + ("a" if secret[-1] != "a" else "b")
    with pytest.raises(KeyRefusedError, match="unknown") as refused:
        keys.check(guess)
    assert guess[:10] in str(refused.value)
    assert guess[:11] not in str(refused.value)


def test_what_is_no_key_is_refused_and_not_repeated(keys):
    for secret in ("sk-somebody-elses", "fx1_short", "fx1_" + "é" * 43, "\0", "\ud800"):
        with pytest.raises(KeyRefusedError) as refused:
            keys.check(secret)
        assert secret not in str(refused.value)
    with pytest.raises(KeyRefusedError):
        keys.check("")


def test_last_use_is_kept_to_the_minute(keys, account, clock):
    key, secret = keys.create(account.id, "laptop")
    keys.check(secret)
    first = clock.time
    clock.advance(seconds=59)
    keys.check(secret)
    assert keys.get(account.id, key.id).last_used == first
    clock.advance(seconds=1)
    keys.check(secret)
    assert keys.get(account.id, key.id).last_used == clock.time


def test_keys_are_listed_newest_first(keys, account, clock):
    made = []
    for name in ("one", "two", "three"):
        made.insert(0, keys.create(account.id, name)[0])
        clock.advance(seconds=1)
    assert keys.list(account.id) == tuple(made)


def test_another_account_s_key_is_not_there(keys, account, other):
    key, secret = keys.create(account.id, "laptop")
    assert keys.list(other.id) == ()
    assert keys.get(other.id, key.id) is None
    assert keys.revoke(other.id, key.id) is None
    assert keys.rotate(other.id, key.id) is None
    assert keys.check(secret)[0].id == key.id


def test_a_rotated_key_is_the_same_with_another_secret(keys, account, clock):
    limits = KeyLimits(concurrency=2)
    old, old_secret = keys.create(account.id, "laptop", scopes=["usage:read"], limits=limits)
    clock.advance(days=3)
    new, secret = keys.rotate(account.id, old.id)
    assert (new.name, new.scopes, new.limits) == (old.name, old.scopes, old.limits)
    assert (new.created, new.expires) == (clock.time, None)
    assert keys.check(secret) == (new, account)
    with pytest.raises(KeyRefusedError, match="revoked"):
        keys.check(old_secret)
    assert keys.rotate(account.id, old.id) is None


def test_a_rotated_key_lives_as_long_again(keys, account, clock):
    old, _ = keys.create(account.id, "laptop", expires=clock.time + timedelta(days=30))
    clock.advance(days=29)
    new, _ = keys.rotate(account.id, old.id)
    assert new.expires == clock.time + timedelta(days=30)


def test_of_racing_rotations_one_makes_a_key(keys, account):
    key, _ = keys.create(account.id, "laptop")
    raced = race(4, lambda _: keys.rotate(account.id, key.id))
    assert raced.count(None) == 3
    assert len(keys.list(account.id)) == 2
