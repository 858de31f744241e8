"""Stand-ins for the world around the request path: time, providers, clients, configurations.

Each keeps the contract of what it stands in for and records what was done to it. Nothing here sleeps or
opens a socket.
"""
