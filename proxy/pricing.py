"""Learns the prices of a configuration: the operator's at once, the others from another process.

Requests do not wait for it. Those that end before it has answered cost nobody knows what, as do those of
models that the package does not have.
"""

import asyncio
import sys
from collections.abc import Mapping, Sequence

import msgspec
import structlog

from proxy import prices
from proxy.fleet import Snapshot
from proxy.prices import Price, PriceList, Wanted
from proxy.targets import Target

PATIENCE = 30.0
"""Seconds that the other process may take: on a busy machine a start is slow."""

AGAIN = (60.0, 600.0, 3600.0)
"""Seconds until it is asked again, once for each, after it has failed."""

COMMAND = (sys.executable, "-P", "-m", "proxy.appraiser")


class Pricing:
    """Keeps a price list up to date. `environ` is the environment of the process that is asked."""

    def __init__(
        self,
        listed: PriceList,
        environ: Mapping[str, str],
        command: Sequence[str] = COMMAND,
        again: Sequence[float] = AGAIN,
    ) -> None:
        self._list = listed
        self._environ = environ
        self._command = command
        self._again = again
        self._given: Mapping[str, Price] = {}
        self._wanted: Sequence[Wanted] = ()
        self._known: dict[Wanted, Price | None] = {}
        self._log = structlog.get_logger("prices")

    async def learn(self, snapshot: Snapshot) -> None:
        """Make the list that of a configuration. What was looked up before is not looked up again.

        May be called while an earlier call still waits; the later configuration holds, whoever ends first.
        """
        lookup = snapshot.config.costs.lookup
        targets = {target.label: target for model in snapshot.models.values() for target in model.targets}
        self._given = {
            label: prices.configured(target.price) for label, target in targets.items() if target.price
        }
        others = [target for label, target in targets.items() if label not in self._given]
        wanted = self._wanted = [one for one in map(_wanted, others) if lookup and one.sold]
        self._renew()
        for pause in (*self._again, None):
            if await self._look_up([one for one in wanted if one not in self._known]) or pause is None:
                return
            await asyncio.sleep(pause)
            if self._wanted is not wanted:
                return

    async def _look_up(self, missing: Sequence[Wanted]) -> bool:
        """Whether of all that is `missing` the price is known now, or that nobody knows it."""
        found = await self._ask(missing) if missing else {}
        if found is None:
            return False
        self._known.update((one, found.get(one.label)) for one in missing)
        self._renew()
        return True

    def _renew(self) -> None:
        """The list is that of the latest configuration, as far as it is known."""
        known = {one.label: price for one in self._wanted if (price := self._known.get(one)) is not None}
        self._list.renew({**self._given, **known})

    async def _ask(self, wanted: Sequence[Wanted]) -> dict[str, Price] | None:
        """What the other process finds; None where it fails, and the log says so."""
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=dict(self._environ),
        )
        try:
            async with asyncio.timeout(PATIENCE):
                told, _ = await process.communicate(msgspec.json.encode(wanted))
            return msgspec.json.decode(told, type=dict[str, Price])
        except (msgspec.MsgspecError, TimeoutError) as error:
            self._log.warning("prices_unknown", error=str(error) or "it took too long")
            return None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


def _wanted(target: Target) -> Wanted:
    return Wanted(target.label, target.kind, target.origin, target.model)
