"""The commands of the command line, one a module, each imported when it is called.

Importing only what a command needs keeps `serve` quick to start and `--help` quicker. `process` is what
they share: what a command takes from its process.
"""
