"""The usage page: pictures by day and by key."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from flux1.server.limits import Limits
from flux1.server.parts import parts_of
from flux1.server.problems import Problem
from flux1.server.web.render import page
from flux1.server.web.requests import csv_file
from flux1.server.web.sessions import SignedIn
from flux1.store.usage import DayUsage

router = APIRouter(include_in_schema=False)
SPANS = (7, 30, 90)


@dataclass(frozen=True)
class Bar:
    """In a chart of 100 by 100: where it stands, how wide and how high it is."""

    x: float
    y: float
    width: float
    height: float
    label: str


def bars(days: list[DayUsage], values: list[float], unit: str) -> list[Bar]:
    """A bar for each day; the highest fills the chart."""
    most = max(values) or 1
    step = 100 / len(days)
    return [
        Bar(
            round(place * step + step * 0.1, 3), round(100 - 100 * value / most, 3),
            round(step * 0.8, 3), round(100 * value / most, 3),
            f"{day.date}: {value:.4g} {unit}",
        )
        for place, (day, value) in enumerate(zip(days, values, strict=True))
    ]  # fmt: skip


@router.get("/usage")
async def usage(request: Request, session: SignedIn, days: int = 30) -> Response:
    parts = parts_of(request)
    store, account_id = parts.store.usage, session.account.id
    by_day = await run_in_threadpool(store.by_day, account_id, _span(days))
    pictures = [float(day.images) for day in by_day]
    megapixels = [day.megapixels for day in by_day]
    charts = [
        ("Pictures", f"{sum(pictures):.0f}", f"{max(pictures):.0f}",
         bars(by_day, pictures, "pictures")),
        ("Megapixels", f"{sum(megapixels):.2f}", f"{max(megapixels):.2f}",
         bars(by_day, megapixels, "megapixels")),
    ]  # fmt: skip
    return page(
        request, "usage.html", days=days, spans=SPANS, by_day=by_day, charts=charts,
        by_key=await run_in_threadpool(store.by_key, account_id, days),
        today=await run_in_threadpool(store.today, account_id),
        limits=Limits.of(parts.settings, None),
    )  # fmt: skip


@router.get("/usage.csv")
async def export(request: Request, session: SignedIn, days: int = 30) -> Response:
    """Each request that drew something, as comma-separated values."""
    until = datetime.now(UTC).date()
    since = until - timedelta(days=_span(days) - 1)
    find, account_id = parts_of(request).store.usage.export, session.account.id
    rows = await run_in_threadpool(lambda: list(find(account_id, since, until)))
    return csv_file(f"usage-{since}-{until}", rows)


def _span(days: int) -> int:
    if days not in SPANS:
        raise Problem(400, f"days: {days} is not one of {', '.join(map(str, SPANS))}",
                      "invalid_value", param="days")  # fmt: skip
    return days
