"""Dialects as bytes: what is read of a body, what is changed in it, and how streams and errors look.

Pure: nothing here awaits, reads a clock or knows a connection. Loosely typed dictionaries live only in
this room; everything that leaves it is typed.
"""
