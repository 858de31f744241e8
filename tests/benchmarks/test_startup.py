from startup import compiling


def test_starts_are_measured_with_the_bytecode_that_an_installation_has() -> None:
    """Else a checkout would be compiled at each start, and the libraries beside it would not."""
    environ = {"PATH": "/bin", "PYTHONDONTWRITEBYTECODE": "1"}
    assert compiling(environ) == {"PATH": "/bin"}
