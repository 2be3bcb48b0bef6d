"""`flux1 users` and `flux1 keys`: what they print, and what the service then finds."""

import json

import pytest
from typer.testing import CliRunner

from flux1.cli import keys, users
from flux1.errors import AccountError, KeyRefusedError, RequestError, StoreError
from flux1.settings import ServerSettings
from flux1.store.open import open_store

PASSWORD = "correct horse battery"
ADA, BOB = "ada@example.org", "bob@example.org"


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    """The data folder, as the environment names it."""
    for name in ServerSettings.model_fields:
        monkeypatch.delenv(f"FLUX1_{name.upper()}", raising=False)
    monkeypatch.setenv("FLUX1_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def run(app, *words, typed=None):
    done = CliRunner().invoke(app, [str(word) for word in words], input=typed)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def answer(app, *words, typed=None):
    return json.loads(run(app, *words, "--json", typed=typed).stdout)


@pytest.fixture
def ada(data):
    return answer(users.app, "add", ADA, "--password-stdin", typed=f"{PASSWORD}\n")


@pytest.fixture
def bob(ada):
    return answer(users.app, "add", BOB, "--password-stdin", typed=f"{PASSWORD}\n")


def test_an_account_can_log_in_with_the_password_that_was_piped(ada, data):
    assert (ada["email"], ada["administrator"], ada["weight"]) == (ADA, True, 1.0)
    store = open_store(ServerSettings(data=data))
    assert store.accounts.authenticate(ADA, PASSWORD).id == ada["id"]
    store.close()


def test_a_new_password_ends_every_log_in(ada, data):
    store = open_store(ServerSettings(data=data))
    token = store.accounts.open_session(ada["id"], 1)
    answer(users.app, "password", ADA, "--password-stdin", typed="another long password\n")
    assert store.accounts.authenticate(ADA, "another long password").id == ada["id"]
    assert store.accounts.session(token) is None
    with pytest.raises(AccountError):
        store.accounts.authenticate(ADA, PASSWORD)
    store.close()


def test_a_password_is_asked_for_twice_and_never_shown(data):
    done = run(users.app, "add", ADA, typed=f"{PASSWORD}\n{PASSWORD}\n")
    assert done.stdout.strip() == ""
    assert f"added {ADA} (administrator)" in done.stderr
    assert PASSWORD not in done.output
    with pytest.raises(AccountError, match="--password-stdin"):
        run(users.app, "add", "bob@example.org", typed="")


def test_accounts_can_be_disabled_enabled_and_weighed(ada, bob):
    assert answer(users.app, "disable", BOB)["enabled"] is False
    assert "disabled" in run(users.app, "list").stdout
    assert answer(users.app, "enable", BOB)["enabled"] is True
    assert answer(users.app, "weight", BOB, 2.5)["weight"] == 2.5
    assert answer(users.app, "list") == {"users": [ada, bob | {"weight": 2.5}]}
    with pytest.raises(AccountError, match=r"^weight: -1 "):
        run(users.app, "weight", ADA, "--", -1)


def test_the_last_administrator_cannot_be_disabled(ada, bob):
    with pytest.raises(AccountError) as refused:
        run(users.app, "disable", ADA)
    wanted = f"users: {ADA} is the last administrator; make another one first"
    assert str(refused.value) == wanted
    answer(users.app, "add", "eve@example.org", "--administrator", "--password-stdin",
           typed=f"{PASSWORD}\n")  # fmt: skip
    assert answer(users.app, "disable", ADA)["enabled"] is False


def test_administrators_are_made_and_unmade(ada, bob):
    with pytest.raises(AccountError, match="is the last administrator"):
        run(users.app, "demote", ADA)
    assert answer(users.app, "promote", BOB)["administrator"] is True
    assert answer(users.app, "demote", ADA)["administrator"] is False
    assert run(users.app, "list").stdout.count("administrator") == 1


def test_a_new_key_opens_the_service_until_it_is_revoked(ada, data):
    done = run(keys.app, "create", ADA, "laptop", "--scope", "images:read", "--concurrency", 2)
    secret = done.stdout.strip()
    assert secret not in done.stderr
    store = open_store(ServerSettings(data=data))
    key, account = store.keys.check(secret)
    assert (key.name, key.scopes, key.limits.concurrency) == ("laptop", {"images:read"}, 2)
    assert account.id == ada["id"]
    assert key.prefix in run(keys.app, "list", ADA).stdout
    assert answer(keys.app, "revoke", ADA, key.id)["revoked"]
    with pytest.raises(KeyRefusedError, match="revoked"):
        store.keys.check(secret)
    store.close()


def test_keys_are_told_as_json_and_their_secrets_once(ada):
    made = answer(keys.app, "create", ADA, "laptop", "--days", 30, "--megapixels-per-day", 0.5)
    assert made["secret"].startswith(made["prefix"])
    assert made["limits"]["megapixels_per_day"] == 0.5
    (listed,) = answer(keys.app, "list", ADA)["keys"]
    assert listed == {name: made[name] for name in made.keys() - {"secret"}}


def test_what_is_not_there_is_refused_and_the_nearest_named(ada, data):
    with pytest.raises(AccountError, match=f"did you mean '{ADA}'"):
        run(keys.app, "list", "ada@example.com")
    with pytest.raises(RequestError, match=r"^key: 'key_0' is not the id of a key"):
        run(keys.app, "revoke", ADA, "key_0")
    with pytest.raises(RequestError, match=r"^tolerance: 7 .* nearest: 6"):
        run(keys.app, "create", ADA, "laptop", "--tolerance", 7)
    with pytest.raises(StoreError, match="name the folder with --data"):
        run(users.app, "list", "--data", data.parent / "elsewhere")
    assert not (data.parent / "elsewhere").exists()
