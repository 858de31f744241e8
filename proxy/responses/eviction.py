"""What a Redis does when it is full, looked at when the replica starts: one that evicts is warned about.

A server that evicts takes limits and breakers away from the cluster without telling anybody. Stored responses
may go where all of them would some day (`volatile-*`), but not before everything else.
"""

from typing import Literal

import structlog

from proxy.link import Link, ScriptError, Unavailable

Setting = Literal["redis.url", "redis.responses_url"]


def warning(info: str, setting: Setting) -> str | None:
    """What is wrong with the server of this setting, by the text of its INFO, and how to mend it."""
    fields = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
    policy = fields.get("maxmemory_policy", "noeviction").strip()
    if policy == "noeviction" or fields.get("maxmemory", "").strip() == "0":
        return None  # without a bound nothing is ever evicted
    if setting == "redis.url":
        return (
            f"{setting} evicts keys when it is full ({policy}), and limits and health with them: set its "
            "maxmemory-policy to noeviction, and give stored responses a Redis of their own with "
            "redis.responses_url"
        )
    if policy.startswith("volatile-"):
        return None
    return (
        f"{setting} evicts keys when it is full whether they expire or not ({policy}): set its "
        "maxmemory-policy to volatile-ttl, so that those go first that would go soonest"
    )


async def look(link: Link, setting: Setting) -> None:
    """Write a log line where something is wrong. A server that is away or does not say is left alone."""
    try:
        info: bytes = await link.call("INFO", [], ["memory"])
    except (Unavailable, ScriptError):
        return
    said = warning(info.decode("utf-8", "replace"), setting)
    if said is not None:
        structlog.get_logger("redis").warning("redis_evicts", what=said)
