"""Who may come in."""

from pathlib import Path

import pytest
from pwdlib import PasswordHash
from sqlalchemy import select

from flux1.errors import AccountError
from flux1.store.accounts import Accounts
from flux1.store.database import Database
from flux1.store.keys import Keys
from flux1.store.tables import ACCOUNTS, METADATA
from passwords import recommended
from store.samples import PASSWORD, race


def test_the_first_account_and_no_later_one_becomes_the_administrator(accounts, clock):
    registered = []
    for name in ("ada", "bob"):
        registered.append(accounts.register(f" {name.title()}@Example.org", PASSWORD))
        clock.advance(seconds=1)
    assert [(a.email, a.administrator, a.enabled, a.weight) for a in registered] == [
        ("ada@example.org", True, True, 1.0),
        ("bob@example.org", False, True, 1.0),
    ]
    assert accounts.list() == tuple(registered)
    assert accounts.count() == 2


def test_an_administrator_may_be_named(accounts, account):
    named = accounts.register("bob@example.org", PASSWORD, administrator=True)
    assert named.administrator


def test_of_racing_first_accounts_one_becomes_the_administrator(accounts):
    raced = race(4, lambda k: accounts.register(f"user{k}@example.org", PASSWORD))
    assert sorted(account.administrator for account in raced) == [False, False, False, True]


def test_of_racing_equal_e_mails_one_is_registered(accounts):
    raced = race(4, lambda _: accounts.register("ada@example.org", PASSWORD))
    refused = [result for result in raced if isinstance(result, AccountError)]
    assert [error.field for error in refused] == ["email"] * 3
    assert accounts.count() == 1


def test_what_is_no_address_is_refused(accounts):
    for email in ("", "ada", "ada@", "@b.org", "a b@c", "a@b@c", "a\0@b", "é" * 250 + "@b.org"):
        with pytest.raises(AccountError, match=r"^email: ") as refused:
            accounts.register(email, PASSWORD)
        assert refused.value.field == "email"
    assert accounts.count() == 0


def test_passwords_out_of_bounds_are_refused(accounts):
    for password in ("", "9" * 9, "x" * 201, "\ud800" * 12):
        with pytest.raises(AccountError, match=r"^password: ") as refused:
            accounts.register("ada@example.org", password)
        assert refused.value.field == "password"
    assert accounts.count() == 0


def test_an_address_is_found_however_it_is_written(accounts, account):
    assert accounts.find(" ADA@Example.org ") == account
    assert accounts.get(account.id) == account
    assert accounts.authenticate("Ada@example.ORG", PASSWORD) == account
    assert accounts.find("nobody@example.org") is None
    assert accounts.get("acct_0") is None


def test_a_refused_log_in_does_not_tell_whether_the_address_is_known(
    accounts, account, monkeypatch
):
    verified = []
    verify = PasswordHash.verify
    monkeypatch.setattr(
        PasswordHash, "verify", lambda *given: verified.append(given) or verify(*given)
    )
    words = set()
    for email in (account.email, "nobody@example.org"):
        with pytest.raises(AccountError) as refused:
            accounts.authenticate(email, "not the password")
        words.add((refused.value.field, str(refused.value)))
    assert len(words) == 1
    assert len(verified) == 2  # the slow part is done for both


def test_a_password_that_is_no_text_does_not_belong(accounts, account):
    with pytest.raises(AccountError):
        accounts.authenticate(account.email, "\ud800")


def test_a_disabled_account_is_refused_and_its_sessions_end(accounts, account, deputy):
    token = accounts.open_session(account.id, 1)
    accounts.set_enabled(account.id, False)
    assert accounts.session(token) is None
    with pytest.raises(AccountError, match="disabled"):
        accounts.authenticate(account.email, PASSWORD)
    accounts.set_enabled(account.id, True)
    assert accounts.session(token) is None
    assert accounts.authenticate(account.email, PASSWORD) == account


def test_a_new_password_replaces_the_old_one_and_ends_sessions(accounts, account):
    token = accounts.open_session(account.id, 1)
    accounts.set_password(account.id, "another good password")
    assert accounts.session(token) is None
    assert accounts.authenticate(account.email, "another good password") == account
    with pytest.raises(AccountError):
        accounts.authenticate(account.email, PASSWORD)


def test_weight_and_rank_can_be_changed(accounts, account, deputy):
    accounts.set_weight(account.id, 2.5)
    accounts.set_administrator(account.id, False)
    changed = accounts.get(account.id)
    assert (changed.weight, changed.administrator) == (2.5, False)


def test_the_last_administrator_stays_one_and_stays_enabled(accounts, account, other):
    token = accounts.open_session(account.id, 1)
    refusal = r"^users: ada@example\.org is the last administrator; make another one first$"
    for weaken in (accounts.set_enabled, accounts.set_administrator):
        with pytest.raises(AccountError, match=refusal):
            weaken(account.id, False)
    assert accounts.session(token).account == account
    accounts.set_administrator(other.id, True)
    accounts.set_enabled(other.id, False)
    with pytest.raises(AccountError, match=refusal):  # who cannot log in does not count
        accounts.set_enabled(account.id, False)
    accounts.set_administrator(other.id, False)
    accounts.set_administrator(other.id, True)
    accounts.set_enabled(other.id, True)
    accounts.set_enabled(account.id, False)
    assert [a.enabled for a in accounts.list()] == [False, True]


def test_of_administrators_who_disable_each_other_at_once_one_is_left(accounts, account, deputy):
    ids = account.id, deputy.id
    raced = race(2, lambda k: accounts.set_enabled(ids[k], False))
    assert sorted(type(result) for result in raced if result) == [AccountError]
    assert sorted(a.enabled for a in accounts.list()) == [False, True]


def test_a_weight_that_is_no_share_is_refused(accounts, account):
    for weight in (0, -1, float("nan"), float("inf"), 1001):
        with pytest.raises(AccountError, match=r"^weight: "):
            accounts.set_weight(account.id, weight)
    assert accounts.get(account.id) == account


def test_changing_an_account_that_is_not_there_is_refused(accounts):
    for change in (
        lambda: accounts.set_enabled("acct_0", True),
        lambda: accounts.set_weight("acct_0", 1),
        lambda: accounts.set_administrator("acct_0", True),
    ):
        with pytest.raises(AccountError, match="no such account"):
            change()


def test_a_session_lasts_its_days_and_no_longer(accounts, account, clock):
    token, opened = accounts.open_session(account.id, 14), clock.time
    clock.advance(days=14, microseconds=-1)
    session = accounts.session(token)
    assert (session.account, session.created) == (account, opened)
    clock.advance(microseconds=1)
    assert session.expires == clock.time
    assert accounts.session(token) is None


def test_a_closed_session_is_closed_alone(accounts, account):
    tokens = [accounts.open_session(account.id, 1) for _ in range(2)]
    accounts.close_session(tokens[0])
    assert accounts.session(tokens[0]) is None
    assert accounts.session(tokens[1]).account == account


def test_the_form_word_is_the_session_s_own(accounts, account):
    one, two = (accounts.open_session(account.id, 1) for _ in range(2))
    assert accounts.session(one).csrf == accounts.session(one).csrf
    assert accounts.session(one).csrf != accounts.session(two).csrf
    assert one not in accounts.session(one).csrf


def test_what_is_no_token_opens_nothing(accounts, account):
    accounts.open_session(account.id, 1)
    for token in ("", "x", "\0", "\ud800", "é" * 10_000):
        assert accounts.session(token) is None
        accounts.close_session(token)


def test_no_secret_is_stored_in_the_clear(url):
    database = Database.open(url)
    accounts = Accounts(database)
    account = accounts.register("ada@example.org", PASSWORD)
    token = accounts.open_session(account.id, 1)
    csrf = accounts.session(token).csrf
    key, secret = Keys(database).create(account.id, "laptop")
    stored = "".join(repr(database.all(select(t))) for t in METADATA.sorted_tables).encode()
    if url.startswith("sqlite"):
        path = Path(url.removeprefix("sqlite:///"))
        stored += b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))
    database.close()
    assert key.prefix.encode() in stored
    for hidden in (PASSWORD, token, csrf, secret, secret.removeprefix(key.prefix)):
        assert hidden.encode() not in stored


def test_passwords_are_hashed_slowly(database, monkeypatch):
    """The parameters that RFC 9106 calls its second recommendation: 64 MiB, three passes."""
    monkeypatch.setattr(PasswordHash, "recommended", recommended)
    slow = Accounts(database)
    made = slow.register("ada@example.org", PASSWORD)
    with database.begin() as connection:
        kept = connection.execute(select(ACCOUNTS.c.password_hash)).scalar_one()
    assert kept.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert slow.authenticate("ada@example.org", PASSWORD) == made
