"""What torch allocates while something runs."""

import json

from torch.profiler import ProfilerActivity, profile


def peak(action, folder):
    """The most bytes that are allocated at once while it runs, by torch's profiler."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        action()
    seen.export_chrome_trace(str(folder / "trace.json"))
    trace = json.loads((folder / "trace.json").read_text())["traceEvents"]
    changes = [event for event in trace if event["name"] == "[memory]"]
    now = most = 0
    for change in sorted(changes, key=lambda event: event["ts"]):
        now += change["args"]["Bytes"]
        most = max(most, now)
    return most
