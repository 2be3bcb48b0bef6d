"""How a server holds under many clients: failures, fair shares, throughput, waiting.

    python benchmarks/load.py --seconds 180 --clients 32

First one client asks for the mixture one picture at a time; then many clients of three accounts
(weights 1, 1 and 2) ask at once. Everything runs against one `flux1 serve` process on this machine.
"""

import asyncio
import json
import random
import statistics
import tempfile
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import httpx2
import openai
import typer

from flux1.settings import ServerSettings
from flux1.store.open import open_store
from measure.machine import about
from measure.processes import resident_mib, served
from measure.results import RESULTS, Label, Out, result_path, write_result

WEIGHTS = {"one": 1.0, "another": 1.0, "double": 2.0}
SIZES = {"128x128": 16, "256x256": 64, "512x512": 256}  # image tokens
TEXT_TOKENS = 32  # read with them in every row, and charged to the account


@dataclass(frozen=True)
class Drawn:
    """One answer. `work` is its token evaluations: tokens x steps x rows a step."""

    account: str
    size: str
    steps: int
    work: int
    seconds: float
    ended: float
    error: str | None = None


def mixture(rng: random.Random) -> dict:
    """A request: mostly small pictures, some four times as large."""
    size = rng.choices(list(SIZES), weights=(4, 4, 1))[0]
    return {"size": size, "steps": rng.choice((8, 12, 20, 24)), "guidance": rng.choice((1, 2, 3))}


async def ask(client: openai.AsyncOpenAI, model: str, account: str, rng: random.Random) -> Drawn:
    wanted, began = mixture(rng), time.monotonic()
    rows = 1 if wanted["guidance"] == 1 else 2
    work = (SIZES[wanted["size"]] + TEXT_TOKENS) * wanted["steps"] * rows
    extra = {"steps": wanted["steps"], "guidance": wanted["guidance"]}
    error = None
    try:
        answer = await client.images.generate(
            model=model,
            prompt=f"a fox {rng.random():.3f}",
            size=wanted["size"],
            extra_body=extra,
        )
        if not answer.data or not answer.data[0].b64_json:
            error = "no picture"
    except openai.APIError as failure:
        error = f"{type(failure).__name__}: {failure}"
    now = time.monotonic()
    return Drawn(account, wanted["size"], wanted["steps"], work, now - began, now, error)


async def crowd(
    base: str, model: str, keys: dict[str, str], clients: int, seconds: float
) -> tuple[list[Drawn], float]:
    """`clients` that ask again as soon as they are answered, for so many seconds, or until each has
    its first answer if that takes longer; what ended in that time, and the time."""
    drawn: list[Drawn] = []
    firsts: list[float] = []
    accounts, began = list(keys), time.monotonic()

    async def one(number: int) -> None:
        account, rng = accounts[number % len(accounts)], random.Random(number)
        async with openai.AsyncOpenAI(
            base_url=base, api_key=keys[account], max_retries=0
        ) as client:
            first = await ask(client, model, account, rng)
            drawn.append(first)
            firsts.append(first.ended - began)
            while time.monotonic() - began < seconds:
                drawn.append(await ask(client, model, account, rng))

    await asyncio.gather(*(one(number) for number in range(clients)))
    period = max(seconds, *firsts)
    return [d for d in drawn if d.error or d.ended - began <= period], period


def report(drawn: list[Drawn], seconds: float) -> dict:
    by_size: dict[str, list[float]] = defaultdict(list)
    for one in drawn:
        by_size[one.size].append(one.seconds)
    return {
        "seconds": round(seconds, 1),
        "pictures": len(drawn),
        "failures": [d.error for d in drawn if d.error][:20],
        "pictures_per_s": round(len(drawn) / seconds, 3),
        "token_evaluations_per_s": round(sum(d.work for d in drawn) / seconds, 1),
        "latency_s": {
            size: {
                "median": round(statistics.median(times), 2),
                "longest": round(max(times), 2),
            }
            for size, times in sorted(by_size.items())
        },
    }


def shares(drawn: list[Drawn]) -> dict:
    """Each account's part of the work against the part that its weight gives it."""
    total, weights = sum(d.work for d in drawn), sum(WEIGHTS.values())
    return {
        account: {
            "share": round(sum(d.work for d in drawn if d.account == account) / total, 4),
            "of_weight": round(weight / weights, 4),
        }
        for account, weight in WEIGHTS.items()
    }


def accounts(data: Path) -> dict[str, str]:
    """A key of each account, in a fresh data folder."""
    store, keys = open_store(ServerSettings(data=data)), {}
    for account, weight in WEIGHTS.items():
        made = store.accounts.register(f"{account}@example.com", "only for this run")
        store.accounts.set_weight(made.id, weight)
        _, keys[account] = store.keys.create(made.id, "load")
    store.database.close()
    return keys


def main(
    seconds: Annotated[float, typer.Option(help="Of the crowd.")] = 180.0,
    alone_seconds: Annotated[float, typer.Option(help="Of one client alone.")] = 60.0,
    clients: Annotated[int, typer.Option(help="At once.")] = 32,
    model: Annotated[str, typer.Option(help="What is served.")] = "flux-mini",
    label: Label = "",
    out: Out = RESULTS,
) -> None:
    """Serve, ask alone, ask in a crowd, write what was seen."""
    machine = about()
    with tempfile.TemporaryDirectory() as folder:
        keys = accounts(Path(folder))
        with served(Path(folder), "--model", model) as server:
            idle_mib = resident_mib(server.process.pid)
            base, warm = server.base_url, {"one": keys["one"]}
            asyncio.run(crowd(base, model, warm, 1, min(3.0, alone_seconds)))
            alone = asyncio.run(crowd(base, model, warm, 1, alone_seconds))
            many = asyncio.run(crowd(base, model, keys, clients, seconds))
            metrics = httpx2.get(base.removesuffix("/v1") + "/metrics").text
            peak_mib = resident_mib(server.process.pid)
    one, crowded = report(*alone), report(*many)
    gain = crowded["token_evaluations_per_s"] / one["token_evaluations_per_s"]
    figures = {
        "model": model,
        "ready_s": round(server.ready_s, 2),
        "idle_mib": idle_mib,
        "after_load_mib": peak_mib,
        "clients": clients,
        "one_at_a_time": one,
        "crowd": crowded,
        "throughput_gain": round(gain, 3),
        "shares": shares(many[0]),
        "drawn": [asdict(d) for d in many[0] if d.error][:20],
    }
    print(json.dumps(figures, indent=1))
    figures["metrics"] = [line for line in metrics.splitlines() if line.startswith("flux1_")][:40]
    write_result(result_path("load", label, out), machine, figures)


if __name__ == "__main__":
    typer.run(main)
