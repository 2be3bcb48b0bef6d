"""`flux1 keys`: the service's API keys, from a shell on its machine."""

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from flux1.cli.console import say
from flux1.cli.users import AsJson, Data, Email, account_of, opened_store
from flux1.errors import RequestError, nearest

if TYPE_CHECKING:
    from flux1.store.keys import Key

app = typer.Typer(name="keys", help="The service's API keys.", no_args_is_help=True)


@app.command("create")
def create(
    email: Email,
    name: Annotated[str, typer.Argument(help="What tells it apart, such as 'laptop'.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(help="What it may do; may be repeated.", show_default="everything"),
    ] = None,
    days: Annotated[
        int | None,
        typer.Option(help="Days until it expires.", min=1, max=36500, show_default="never"),
    ] = None,
    requests_per_minute: Annotated[int | None, typer.Option(show_default="the server's")] = None,
    concurrency: Annotated[
        int | None, typer.Option(help="Requests at once.", show_default="the server's")
    ] = None,
    images_per_day: Annotated[int | None, typer.Option(show_default="the server's")] = None,
    megapixels_per_day: Annotated[float | None, typer.Option(show_default="the server's")] = None,
    tolerance: Annotated[
        int | None,
        typer.Option(help="Of unsafe content, 0 (strict) to 6.", show_default="the server's"),
    ] = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Make a key for EMAIL and print its secret, this once."""
    with opened_store(data) as store:
        from flux1.store.keys import SCOPES, KeyLimits

        limits = KeyLimits(
            requests_per_minute, concurrency, images_per_day, megapixels_per_day, tolerance
        )
        key, secret = store.keys.create(
            account_of(store, email).id,
            name,
            scopes=scope or SCOPES,
            expires=None if days is None else datetime.now(UTC) + timedelta(days=days),
            limits=limits,
        )
    if as_json:
        typer.echo(json.dumps(_facts(key) | {"secret": secret}))
        return
    say(f"key {key.id} for {email}; keep its secret, it is not shown again:")
    typer.echo(secret)


@app.command("list")
def list_keys(email: Email, data: Data = None, as_json: AsJson = False) -> None:
    """List the keys of EMAIL, newest first."""
    with opened_store(data) as store:
        keys = store.keys.list(account_of(store, email).id)
    if as_json:
        typer.echo(json.dumps({"keys": [_facts(key) for key in keys]}))
        return
    for key in keys:
        state = f"revoked {key.revoked:%Y-%m-%d}" if key.revoked else "never expires"
        if key.expires and not key.revoked:
            state = f"expires {key.expires:%Y-%m-%d}"
        typer.echo(
            f"{key.id}  {key.prefix}...  {key.name}  {state}  {' '.join(sorted(key.scopes))}"
        )


@app.command("revoke")
def revoke(
    email: Email,
    key_id: Annotated[str, typer.Argument(help="The key's id, as `flux1 keys list` shows it.")],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Refuse a key from now on."""
    with opened_store(data) as store:
        account = account_of(store, email)
        key = store.keys.revoke(account.id, key_id)
        if key is None:
            near = nearest(key_id, (known.id for known in store.keys.list(account.id)))
            raise RequestError("key", f"{key_id!r} is not the id of a key of {email}{near}")
    if as_json:
        typer.echo(json.dumps(_facts(key)))
    else:
        say(f"revoked {key.id} ({key.name})")


def _facts(key: "Key") -> dict[str, object]:
    times = ("created", "expires", "revoked", "last_used")
    times_text = {k: v and v.isoformat() for k, v in vars(key).items() if k in times}
    return vars(key) | times_text | {"scopes": sorted(key.scopes), "limits": vars(key.limits)}
