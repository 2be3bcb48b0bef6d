"""The administrator's page: the queue, who uses it, what is served and how much is allowed."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from flux1.errors import AccountError
from flux1.server.ids import plain_id
from flux1.server.parts import parts_of
from flux1.server.problems import not_found
from flux1.server.web.render import page
from flux1.server.web.sessions import Administrator, Posted

router = APIRouter(include_in_schema=False)
# What the page shows of the settings: nothing that holds an address or a secret.
SHOWN = {
    "open_signup": "Strangers may sign up",
    "requests_per_minute": "Requests a minute, each key",
    "concurrency": "Open requests at once, each key",
    "images_per_day": "Pictures a day, each key",
    "megapixels_per_day": "Megapixels a day, each key",
    "tolerance": "Most tolerance, 0 (strict) to 6",
    "max_waiting": "Pictures that may wait",
    "max_wait_seconds": "Longest predicted wait, seconds",
    "tokens_per_call": "Image tokens in one model call",
    "retention_days": "Days that pictures are kept (0: for ever)",
    "session_days": "Days that a log-in lasts",
    "url_seconds": "Seconds that a picture's link works",
}


@router.get("/admin")
async def admin(request: Request, _: Administrator) -> Response:
    return await _show(request)


@router.post("/admin/accounts/{account_id}")
async def change(request: Request, account_id: str, _: Administrator, form: Posted) -> Response:
    """Turn an account on or off, or give it another share of the machine."""
    accounts = parts_of(request).store.accounts
    account = await run_in_threadpool(accounts.get, plain_id(account_id))
    if account is None:
        raise not_found("such account")
    try:
        match form.text("action"):
            case "weight":
                weight = _weight(form.text("weight"))
                await run_in_threadpool(accounts.set_weight, account.id, weight)
            case "enable":
                await run_in_threadpool(accounts.set_enabled, account.id, True)
            case "disable" if account.id == form.session.account.id:
                raise AccountError("action", "you cannot disable the account you are using")
            case "disable":
                await run_in_threadpool(accounts.set_enabled, account.id, False)
            case _:
                raise AccountError("action", "is not one of weight, enable, disable")
    except AccountError as wrong:
        return await _show(request, 422, wrong=(account.id, form.text("weight"), str(wrong)))
    return RedirectResponse("/admin#users", 303)


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise AccountError("weight", f"{text[:20]!r} is not a number") from None


async def _show(
    request: Request, status: int = 200, wrong: tuple[str, str, str] | None = None
) -> Response:
    parts = parts_of(request)
    store, settings = parts.store, parts.settings.model_dump()
    return page(
        request, "admin.html", status,
        engine=parts.engine.status(), counts=await run_in_threadpool(store.requests.counts),
        today=await run_in_threadpool(store.usage.today),
        accounts=await run_in_threadpool(store.accounts.list), wrong=wrong,
        models=list(parts.engine.models.values()),
        limits={label: settings[name] for name, label in SHOWN.items()},
    )  # fmt: skip
