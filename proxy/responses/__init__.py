"""Stored responses: what a client may ask for again, kept in Redis under its own name.

store        READ THIS FIRST: save, load, chain, delete
document     what is stored of one response (pure)
sealing      compressed and encrypted bytes (pure)
keyspace     the names of the keys (pure)
outbox       what is to be stored while Redis is away (pure)
background   responses that run here without their client
following    how those stand that run anywhere, and their events
news         who waits for what in this replica
eviction     what a Redis does when it is full
scripts      the Lua
"""
