"""How much is allowed: limits that hold over a whole cluster, with Redis and without it.

This room knows no LLM and no HTTP; the Redis link is handed to it. Read in this order: `quota` (the nouns),
`gauge` (their numbers), `bucket` (the arithmetic, twin of lua/*.lua), `scope` (where a limit lives), `store`
(what keeps it), `limiter` (the front).
"""
