from startup import compiling


def test_starts_are_measured_with_the_bytecode_that_an_installation_has() -> None:
    environ = {"PATH": "/bin", "PYTHONDONTWRITEBYTECODE": "1"}
    assert compiling(environ) == {"PATH": "/bin"}
