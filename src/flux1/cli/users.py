"""`flux1 users`: the service's accounts, from a shell on its machine."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flux1.cli.console import say
from flux1.errors import AccountError, DependencyError, StoreError, nearest

if TYPE_CHECKING:
    from flux1.store.accounts import Account
    from flux1.store.open import Store

app = typer.Typer(name="users", help="The service's accounts.", no_args_is_help=True)

Email = Annotated[str, typer.Argument(help="The account's e-mail.", show_default=False)]
Data = Annotated[
    Path | None,
    typer.Option(help="The service's data folder.", show_default="FLUX1_DATA, else ./flux1-data"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


@app.command("add")
def add(
    email: Email,
    administrator: Annotated[
        bool | None,
        typer.Option(
            "--administrator/--no-administrator",
            help="May see and change everything.",
            show_default="the first account is",
        ),
    ] = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Open an account for EMAIL."""
    password = _read_password(password_stdin)
    with opened_store(data, create=True) as store:
        account = store.accounts.register(email, password, administrator=administrator)
    _report(account, "added", as_json)


@app.command("list")
def list_users(data: Data = None, as_json: AsJson = False) -> None:
    """List the accounts, oldest first."""
    with opened_store(data) as store:
        accounts = store.accounts.list()
    if as_json:
        typer.echo(json.dumps({"users": [_facts(account) for account in accounts]}))
        return
    for account in accounts:
        marks = ["administrator"] * account.administrator + ["disabled"] * (not account.enabled)
        rest = f"{account.weight:g}  {account.created:%Y-%m-%d}  {' '.join(marks)}"
        typer.echo(f"{account.id}  {account.email}  weight {rest}".rstrip())


@app.command("disable")
def disable(email: Email, data: Data = None, as_json: AsJson = False) -> None:
    """Refuse the account's keys and log-ins from now on."""
    with opened_store(data) as store:
        store.accounts.set_enabled(account_of(store, email).id, False)
        _report(account_of(store, email), "disabled", as_json)


@app.command("enable")
def enable(email: Email, data: Data = None, as_json: AsJson = False) -> None:
    """Let a disabled account in again."""
    with opened_store(data) as store:
        store.accounts.set_enabled(account_of(store, email).id, True)
        _report(account_of(store, email), "enabled", as_json)


@app.command("promote")
def promote(email: Email, data: Data = None, as_json: AsJson = False) -> None:
    """Let the account see and change everything."""
    with opened_store(data) as store:
        store.accounts.set_administrator(account_of(store, email).id, True)
        _report(account_of(store, email), "promoted", as_json)


@app.command("demote")
def demote(email: Email, data: Data = None, as_json: AsJson = False) -> None:
    """Make an administrator an account like others; the last one cannot be."""
    with opened_store(data) as store:
        store.accounts.set_administrator(account_of(store, email).id, False)
        _report(account_of(store, email), "demoted", as_json)


@app.command("password")
def password(
    email: Email,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Give the account a new password; all of its log-ins end, its keys go on."""
    new = _read_password(password_stdin)
    with opened_store(data) as store:
        store.accounts.set_password(account_of(store, email).id, new)
        _report(account_of(store, email), "new password for", as_json)


@app.command("weight")
def weight(
    email: Email,
    share: Annotated[float, typer.Argument(help="Its share beside others'; they begin with 1.")],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Give the account a larger or smaller share of the machine."""
    with opened_store(data) as store:
        store.accounts.set_weight(account_of(store, email).id, share)
        _report(account_of(store, email), f"weight {share:g}:", as_json)


@contextmanager
def opened_store(data: Path | None, *, create: bool = False) -> Iterator["Store"]:
    """Return the store in `data`, or where the settings say. StoreError if there is none yet."""
    from flux1.settings import ServerSettings, read

    try:
        from flux1.store.open import open_store
    except ModuleNotFoundError as missing:
        raise DependencyError("the service", missing.name, "serve") from missing
    settings = read(ServerSettings) if data is None else read(ServerSettings, data=data)
    if not create and not settings.data.expanduser().is_dir():
        raise StoreError(f"data {settings.data}: is not there; name the folder with --data")
    store = open_store(settings)
    try:
        yield store
    finally:
        store.close()


def account_of(store: "Store", email: str) -> "Account":
    account = store.accounts.find(email)
    if account is None:
        near = nearest(email, (known.email for known in store.accounts.list()))
        raise AccountError("email", f"{email} has no account{near}")
    return account


def _read_password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    try:
        return typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    except typer.Abort:
        raise AccountError("password", "was not given; or use --password-stdin") from None


def _report(account: "Account", done: str, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(_facts(account)))
    else:
        say(f"{done} {account.email}{' (administrator)' if account.administrator else ''}")


def _facts(account: "Account") -> dict[str, object]:
    return asdict(account) | {"created": account.created.isoformat()}
