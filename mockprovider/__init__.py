"""A scripted provider of language models: three dialects, true wire formats, and every fault on demand.

It stands in for a provider in demos, tests, composed clusters and benchmarks. Rule: what it sends is what a
real provider sends, byte for byte where that matters; what it is sent and a real one would refuse, it refuses
in the same words; and it breaks exactly where and how the script says. It imports nothing of the proxy, so
neither can hide the other's mistakes.

    behaviour   all that one reply may do           script    which request gets which behaviour
    answer      what is said, in no dialect         errors    how refusals are worded
    reading     what requests have in common        models    the list of models
    chat  responses  messages  embeddings  compaction    the wire formats: pure functions to bytes
    strict_*    what a provider refuses             wording   how it says so
    flavours    what only one maker refuses         samples  logprobs    what is made up to fit
    seals       what only its issuer takes back     claude    what a model's name says it can do
    sse         events to bytes                     staging   bytes to timed writes, breaks included
    desk        one request to one act; no I/O      ledger    what was seen
    connection  the bare HTTP/1.1 server protocol   control   the `/_mock/` endpoints
    server      `MockProvider` and `run`
"""

from mockprovider.behaviour import Behaviour, Complaint, Delay, Flavour
from mockprovider.desk import DIALECTS
from mockprovider.ledger import Entry, key_id
from mockprovider.script import Match, Rule, Script, ScriptError, inline, load
from mockprovider.server import MockProvider, run

__all__ = [
    "DIALECTS",
    "Behaviour",
    "Complaint",
    "Delay",
    "Entry",
    "Flavour",
    "Match",
    "MockProvider",
    "Rule",
    "Script",
    "ScriptError",
    "inline",
    "key_id",
    "load",
    "run",
]
