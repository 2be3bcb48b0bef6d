"""Does every accepted picture come, once, though the server is killed again and again?

    python benchmarks/crash.py --kills 10 --jobs 50

Asynchronous jobs are posted while the server is killed with SIGKILL at random moments and started
again on the same folder. At the end every accepted job must have succeeded exactly once: one
picture that opens, one row of usage.
"""

import io
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import httpx2
import typer
from PIL import Image

from flux1.settings import ServerSettings
from flux1.store.open import open_store
from measure.processes import Server, start_server


def post(base: str, model: str, headers: dict[str, str], number: int) -> str | None:
    """Ask for a picture; None if the server died before it answered."""
    body = {"prompt": f"picture {number}", "seed": number, "steps": 6, "output_format": "png"}
    key = {"Idempotency-Key": f"picture-{number}"}
    try:
        answer = httpx2.post(f"{base}/{model}", json=body, headers=headers | key, timeout=30)
    except httpx2.HTTPError:
        return None
    answer.raise_for_status()
    return answer.json()["id"]


def main(
    kills: Annotated[int, typer.Option(help="How often the server is killed.")] = 10,
    jobs: Annotated[int, typer.Option(help="How many pictures are asked for.")] = 50,
    model: Annotated[str, typer.Option(help="A model's name.")] = "tiny",
    seed: Annotated[int, typer.Option(help="Of the moments of the kills.")] = 0,
) -> None:
    """Kill, start again, count."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        store = open_store(ServerSettings(data=data))
        account = store.accounts.register("crash@example.com", "only for this run")
        _, secret = store.keys.create(account.id, "crash")
        headers = {"x-key": secret}
        waiting, accepted = list(range(jobs)), {}

        def start() -> Server:
            return start_server(data, "--model", model, "--device", "cpu")

        server = start()
        for kill in range(kills):
            share = -(-len(waiting) // max(1, kills - kill))
            for number in waiting[:share]:
                job = post(server.base_url, model, headers, number)
                if job is not None:
                    accepted[number] = job
            waiting = [n for n in waiting if n not in accepted]
            time.sleep(rng.uniform(0, 0.3))
            server.stop(kill=True)
            server = start()
        for number in waiting:
            accepted[number] = post(server.base_url, model, headers, number)
        deadline = time.monotonic() + 120
        try:
            pictures = [
                settled(server.base_url, headers, job, deadline) for job in accepted.values()
            ]
        finally:
            server.stop()
        rows = store.requests.search(account_id=account.id, limit=10 * jobs)
        used = store.usage.today(account.id)
        store.database.close()
    report = {
        "kills": kills,
        "asked": jobs,
        "accepted": len(accepted),
        "rows": len(rows),
        "succeeded": sum(row.status == "succeeded" for row in rows),
        "pictures that open": sum(pictures),
        "images billed": used.images,
    }
    print(json.dumps(report))
    wanted = {"accepted", "rows", "succeeded", "pictures that open", "images billed"}
    if any(report[name] != jobs for name in wanted):
        raise SystemExit("not every job ended exactly once")


def settled(base: str, headers: dict[str, str], job: str, deadline: float) -> bool:
    """Wait for a job's end; whether its picture opens."""
    while time.monotonic() < deadline:
        answer = httpx2.get(f"{base}/get_result", params={"id": job}, headers=headers).json()
        if answer["status"] != "Pending":
            break
        time.sleep(0.05)
    if answer["status"] != "Ready":
        print(answer, file=sys.stderr)
        return False
    data = httpx2.get(answer["result"]["sample"]).content
    Image.open(io.BytesIO(data)).load()
    return True


if __name__ == "__main__":
    typer.run(main)
