"""A whole cluster in one process and in virtual time, in which one seed decides everything.

world         READ THIS FIRST: one life of the cluster, from its first request to its rest
run           a seed replayed for people, or many in a row
settings      the cluster's configuration, and how long it may take to get well
faults        what goes wrong and when, drawn from the seed
replica       the real product of one replica between simulated ends
store link    Redis and the way to it
providers     who answers requests, or does not
clients       who makes them
ledger        what happened, in order
invariants    what must never happen
rest          what must be true when the faults are over
"""
