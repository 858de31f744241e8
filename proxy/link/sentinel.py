"""Which server is the primary, by the word of the sentinels.

Each search starts with the next sentinel: if one was cut off and names a primary that is none any more,
the attempt after it asks another one. Whether the named server is a primary it must say itself
(https://valkey.io/topics/sentinel-clients/).
"""

from proxy.config.redis_url import Endpoint
from proxy.link.dialler import Dialler
from proxy.link.failure import Reason, Unavailable


class Sentinels:
    """The sentinels that watch one service."""

    def __init__(self, endpoints: tuple[Endpoint, ...], service: str, dialler: Dialler) -> None:
        self._endpoints = endpoints
        self._service = service
        self._dialler = dialler
        self._first = 0

    async def locate(self) -> Endpoint:
        """The primary's endpoint.

        Raises:
            Unavailable: no sentinel can be reached, or none knows the service.
        """
        count = len(self._endpoints)
        first, self._first = self._first, (self._first + 1) % count
        said = ""
        for turn in range(count):
            try:
                found = await self._ask(self._endpoints[(first + turn) % count])
            except Unavailable as error:
                said = error.detail
                continue
            if found is not None:
                return found
            said = f"no sentinel knows {self._service}"
        raise Unavailable(Reason.CONNECTION, said)

    async def _ask(self, sentinel: Endpoint) -> Endpoint | None:
        found = await self._dialler.ask(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)
        return Endpoint(found[0].decode(), int(found[1])) if found else None
