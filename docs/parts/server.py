"""What a server stands under load."""

from __future__ import annotations

from parts.common import missing, stored, table


def server() -> str:
    """Pictures a second, how long clients wait, and what it holds in memory."""
    found = stored("server.json")
    if found is None:
        return missing("server.json", "python tools/soak_server.py")
    good = found["answers"]["good 200"]
    lines = [
        ("pictures", f"{good:,} in {found['seconds'] / 60:g} minutes, {found['pictures_a_second']:.1f} a second"),
        ("a picture, with waiting", f"{found['seconds_median']:.2f} s median, {found['seconds_p99']:.2f} s at p99"),
        ("`/healthz`", f"{1000 * found['health_p99']:.0f} ms at p99, {1000 * found['health_most']:.0f} ms at most"),
        (
            "memory, with its processes",
            f"{found['memory_mib_after_warm_up']} MiB after warm-up, {found['memory_mib_at_the_end']} at the end",
        ),
        ("other faults", str(len(found["faults"]))),
    ]
    said = (
        f"{found['clients']} clients, each of which asks anew when it has its answer; {found['broken']:.0%} of what "
        f"they send is broken. {found['request'].replace(', ', ' pixels, `')}`; {found['processor']}, "
        f"{found['threads']} cores, which the clients share."
    )
    return table(("", "measured"), lines) + f"\n\n{said}"
