"""Apex AI Proxy: one address in front of many LLM providers.

The nouns, each with its module:

- Tenant       a client of the proxy, known by the digest of its key (`tenants`)
- Model        a public alias that clients name, and the targets behind it (`targets`, `routing`)
- Provider     an upstream account as configured (`config`), of a kind with a profile (`profiles`)
- Target       provider x key x upstream model: what one attempt is sent to (`targets`)
- Dialect      a wire format: chat, responses, messages (`wire`)
- Envelope     what is read of a request body before any full decode (`wire.envelope`)
- Exchange     all state of one request, from its headers to its record (`exchange`)
- Plan         the order in which targets are tried, decided one pick at a time (`routing`)
- Attempt      one try on one target (`exchange`)
- Fault        why an attempt failed; a Refusal is what a caller is told (`errors`)
- Snapshot     config, tenants, models and health behind one reference, swapped whole (`fleet`)
- Record       what is said about a request when it is over (`metrics.record`)

Read `pipeline` first.
"""

__version__ = "0.1.0"
