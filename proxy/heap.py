"""The memory of a process that serves, once all that it starts with is there.

Both are done once, between the last of the start and the first request.
"""

import ctypes
import gc


def calm_collector() -> None:
    """What was made to start with stays: the garbage collector need not walk it for every few requests.

    Requests leave few cycles behind; with Python's own thresholds a full collection comes every some
    thousand requests and holds all of them up for tens of milliseconds. The youngest are looked at when there
    are 20,000 more of them, which takes two milliseconds: they are what is in flight, and it is no garbage.
    256 requests that come and go together are some 15,000; to look at them each time took a 14th of the core.
    What is older are open streams, at some 150 objects each: to walk a thousand takes 20 to 50 milliseconds,
    and is done after half a million more objects; all that is not frozen is walked at every fifth such time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 25, 5)


def give_back() -> None:
    """Give back to the system what the start has freed: about 8 MiB of 90, in some milliseconds.

    glibc returns by itself only what lies at the end of its heap, and there something always stays; what is
    free in the middle goes by malloc_trim(3). Where the C library has no such call, nothing is done.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
