"""The Redis link: the only room that owns Redis connections.

link          READ THIS FIRST: call, subscribe, what is observable
node          one server: connection, breaker, the task that mends both
connection    batches out, replies in, in order
dialler       socket, TLS, greeting
breaker       when to stop asking (pure)
cluster  sentinel   how servers are found
subscription  one channel
script  failure  counters   what is asked, what goes wrong, what is counted
journal       what the log says of it
"""

from proxy.config.redis_url import Address, AddressError, parse
from proxy.link.breaker import State
from proxy.link.counters import Counters
from proxy.link.dialler import Settings
from proxy.link.failure import Reason, ScriptError, Unavailable
from proxy.link.link import Change, Link, Request
from proxy.link.script import Argument, Script
from proxy.link.subscription import Subscription

__all__ = [
    "Address",
    "AddressError",
    "Argument",
    "Change",
    "Counters",
    "Link",
    "Reason",
    "Request",
    "Script",
    "ScriptError",
    "Settings",
    "State",
    "Subscription",
    "Unavailable",
    "parse",
]
