"""What is said about requests: one record each, rendered once to Prometheus and to one log line.

This package knows records, not requests: it imports nothing of the proxy.
"""
