import pytest

from proxy.config.document import parsed, substituted
from proxy.config.problems import ConfigError


def faults(text: str) -> list[tuple[tuple[str | int, ...], str]]:
    """Path and finding of each fault in a text."""
    return [(fault.path, fault.found) for fault in parsed(text).faults]


def test_plain_data_and_lines() -> None:
    """A document gives plain data, and the line of each value."""
    document = parsed("a:\n  - 1\n  - {b: text}\nc: null\n")
    assert document.data == {"a": [1, {"b": "text"}], "c": None}
    assert document.lines[("a", 1, "b")] == 3
    assert not document.faults


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("2024-10-21", "2024-10-21"),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("False", False),
        ("12", 12),
        ("010", "010"),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("0x1f", "0x1f"),
        ("1.5", 1.5),
        ("-1.0e3", "-1.0e3"),
        ("-1.0e+3", -1000.0),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("12345678901234567890123", "12345678901234567890123"),
        ("~", None),
        ("''", ""),
        ('"12"', "12"),
        ("!!str 12", "12"),
        ("=", "="),
    ],
)
def test_values_are_what_they_look_like(written: str, value: object) -> None:
    """Dates, sexagesimals, octals and yes or no stay text; numbers, true and false do not."""
    data = parsed(f"a: {written}").data
    assert data == {"a": value}
    assert isinstance(data, dict)
    assert type(data["a"]) is type(value)


def test_an_empty_text_is_nothing() -> None:
    """A file of comments only holds nothing, and that is no fault."""
    document = parsed("# nothing yet\n")
    assert document.data is None
    assert not document.faults


def test_a_repeated_key_is_a_fault_and_the_first_one_stays() -> None:
    """The second of two equal keys is named with both lines."""
    document = parsed("a: {b: 1}\nc: 2\na: 3\n")
    assert document.data == {"a": {"b": 1}, "c": 2}
    [fault] = document.faults
    assert fault.path == ("a",)
    assert fault.found == "`a` again (first on line 1)"
    assert fault.mend == "see line 3"


def test_merges_bring_in_what_is_not_there() -> None:
    """`<<` fills in from one mapping or several, the first going before the rest."""
    text = "x: &x {a: 1, b: 1}\ny: &y {b: 2, c: 2}\nz: {<<: [*x, *y], a: 0}\nw: {<<: *y}\n"
    data = parsed(text).data
    assert isinstance(data, dict)
    assert data["z"] == {"a": 0, "b": 1, "c": 2}
    assert data["w"] == {"b": 2, "c": 2}


@pytest.mark.parametrize(
    ("text", "path", "found"),
    [
        ("a: !key x", ("a",), "a YAML tag"),
        ("a: {? [b] : c}", ("a",), "a list or mapping as a key"),
        ("a: {<<: 1}", ("a",), "`<<` before something else"),
    ],
)
def test_what_plain_data_cannot_hold_is_a_fault(text: str, path: tuple[str, ...], found: str) -> None:
    """Tags, complex keys and misused merges are named with their path."""
    assert faults(text) == [(path, found)]


def test_excess_is_told_once() -> None:
    """A value that holds itself, and aliases that multiply, end in one fault."""
    [itself] = faults("a: &a [*a]")
    assert "too deeply" in itself[1]
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)
    )
    assert len(faults(bomb)) == 1


@pytest.mark.parametrize(
    ("text", "line"),
    [("a: [1, 2\nb: 3\n", 2), ("a: b: c", 1), ("a: 'canary", 1), ("a: *canary", 1), ("a: @canary", 1)],
)
def test_a_syntax_error_has_line_and_column_and_no_text(text: str, line: int) -> None:
    """What is no YAML is one problem that says where, and repeats nothing of the text."""
    with pytest.raises(ConfigError) as caught:
        parsed(text, "f.yaml")
    [problem] = caught.value.problems
    assert problem.line == line
    assert "column" in problem.found
    assert "canary" not in str(problem)
    assert caught.value.source == "f.yaml"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "a: [1, 2\nb: 3\n",
            "line 2: not YAML at column 2: did not find expected ',' or ']', in the `[` opened on line 1",
        ),
        (
            "é: é\na:\n  b: {c: {d: 1},\n",
            "line 4: not YAML at column 1: did not find expected node content, in the `{` opened on line 3",
        ),
        (
            "a: {\n  b: 1,\n  c: [2, 3]\n",
            "line 4: not YAML at column 1: did not find expected ',' or '}', in the `{` opened on line 1",
        ),
        (
            "a: 'canary\nb: 1",
            "line 2: not YAML at column 5: found unexpected end of stream, in the `'` opened on line 1",
        ),
        (
            "'a': {b: 1}\nc: d: e",
            "line 2: not YAML at column 5: mapping values are not allowed in this context",
        ),
        ("a:\n\tb: 1\n", "line 2: not YAML at column 1: a tab; YAML is indented with spaces"),
        ("a:\n  b: 1\n\tc: 2\n", "line 3: not YAML at column 1: a tab; YAML is indented with spaces"),
        ("--- a\n--- b\n", "line 2: not YAML at column 1: found another document"),
        (
            "a: *canary",
            "line 1: not YAML at column 4: found undefined alias; put what begins with `*` in quotes",
        ),
    ],
)
def test_a_syntax_error_can_be_understood(text: str, said: str) -> None:
    """Punctuation that is missing is shown, for it is no secret; a tab, which nobody sees, is named."""
    with pytest.raises(ConfigError) as caught:
        parsed(text)
    assert str(caught.value) == said


@pytest.mark.parametrize("text", ["a: {b: ${X}}", "a: [${X}, ${Y}]", "a:\n  - {b: x${X}}"])
def test_a_bare_variable_in_flow_style_wants_quotes(text: str) -> None:
    """There its brace is a sign of YAML's; elsewhere it is none."""
    with pytest.raises(ConfigError) as caught:
        parsed(text)
    assert str(caught.value).endswith('; within { } and [ ] write "${NAME}" in quotes')
    assert parsed("a: ${X}\nb:\n  - ${Y}").data == {"a": "${X}", "b": ["${Y}"]}


@pytest.mark.parametrize(
    ("text", "sign"),
    [
        ("a: [*]", "*"),
        ("a: *", "*"),
        ("a: [&]", "&"),
        ("a: @x", "@"),
        ("a: {@x: 1}", "@"),
        ("a:\n  %x: 1", "%"),
        ("a: `x`", "`"),
    ],
)
def test_a_sign_of_yamls_own_wants_quotes(text: str, sign: str) -> None:
    """An alias, an anchor, a directive, or what is reserved."""
    with pytest.raises(ConfigError) as caught:
        parsed(text)
    assert str(caught.value).endswith(f"; put what begins with `{sign}` in quotes")


@pytest.mark.parametrize(
    "key", ["key:canary", "key:'can ary'", '"key:canary"', "key:a:canary", "? key:canary"]
)
def test_a_key_without_a_space_after_its_colon_keeps_its_value_back(key: str) -> None:
    """It may be a secret; the word before the colon is known, so that nobody says it was lacking."""
    document = parsed(f"a:\n  - {{b: 1,\n     {key}}}")
    [fault] = document.faults
    assert (fault.path, fault.found) == (("a", 0, "key"), "there is no space after the colon")
    assert fault.mend == "write `key: ...`"
    assert document.lines[fault.path] == 3
    assert document.data == {"a": [{"b": 1, "key": None}]}


def test_a_key_that_stands_there_rightly_too_is_kept() -> None:
    """Whichever of them comes first."""
    assert parsed("{key: right, key:canary}").data == {"key": "right"}
    assert faults("{key: right, key:canary}") == [(("key",), "there is no space after the colon")]


@pytest.mark.parametrize("text", ["{a: 1, canary}", "a: 1\n? canary", "{a: 1, key=canary}"])
def test_a_word_without_a_value_is_kept_back(text: str) -> None:
    """It is no key, so it may be anything."""
    assert faults(text) == [(("***",), "a word alone")]
    assert parsed(text).data == {"a": 1}


def test_an_alias_is_no_key() -> None:
    """What it stands for was meant as a value."""
    assert faults("{a: &x canary, *x : 1}") == [(("***",), "a word alone")]


def test_a_word_where_a_secret_stands_may_be_meant_as_a_variable() -> None:
    """`{NAME}` for `${NAME}`."""
    [fault] = parsed("api_key: {canary}").faults
    assert fault.mend == 'write a variable as "${NAME}", in quotes'


@pytest.mark.parametrize(
    "text",
    [
        "é: {ü : 1, '😀': 2, \"x\" : 3}\r\n",
        "\ufeffa: {b: , c: null}\nd:\n",
        "? a\n: {? b\n : c}",
        "&k a: &v {b: 1}\nc: *v\nd: {<<: *v, !!str e : 2}\n",
        '{"a":{"b":[]}}',
        "a: [b: 1, 'c' : 2]",
    ],
)
def test_a_key_with_its_colon_is_seen_however_it_is_written(text: str) -> None:
    """Behind spaces, tags, quotes and signs of more than one byte."""
    assert not faults(text)


@pytest.mark.parametrize("text", ["a: \x00", "--- a\n--- b\n", "[" * 100_000])
def test_other_texts_are_one_problem_too(text: str) -> None:
    """Control characters, two documents and endless nesting are refused in one problem."""
    with pytest.raises(ConfigError) as caught:
        parsed(text)
    assert len(caught.value.problems) == 1


def nothing(name: str) -> str:
    """There are no files."""
    raise FileNotFoundError(2, "No such file or directory", name)


def test_variables_are_replaced_in_values() -> None:
    """Every text value takes part, keys and other values do not, and `$${` escapes."""
    data = {"${A}": ["${A}", "x${A}y${B}", 5, None], "c": {"d": "$${A} $A $$ ${A}"}}
    result = substituted(data, {"A": "1", "B": "[2]"}, nothing)
    assert result.data == {"${A}": ["1", "x1y[2]", 5, None], "c": {"d": "${A} $A $$ 1"}}
    assert result.templates[("c", "d")] == "$${A} $A $$ ${A}"
    assert not result.faults


def test_what_a_variable_holds_is_text() -> None:
    """A value is not looked at again: neither as YAML nor for further variables."""
    result = substituted({"a": "${A}"}, {"A": "{b: ${B}}"}, nothing)
    assert result.data == {"a": "{b: ${B}}"}


def test_each_unset_variable_is_named_with_its_path() -> None:
    """A variable that is not set is a fault; one that is set but empty is none here."""
    result = substituted({"a": ["${NO}", "${EMPTY}"], "b": "${NO} ${NEITHER}"}, {"EMPTY": ""}, nothing)
    assert [(fault.path, fault.found) for fault in result.faults] == [
        (("a", 0), "the variable `NO` is not set"),
        (("b",), "the variable `NO` is not set"),
        (("b",), "the variable `NEITHER` is not set"),
    ]


@pytest.mark.parametrize(("name", "named"), [("OPENAI_KEY_1", True), ("canary", False), ("sk_Canary", False)])
def test_a_name_that_may_be_the_secret_itself_is_not_shown(name: str, named: bool) -> None:
    """`${sk...}` where `sk...` was meant; a variable with a secret has its name in capitals."""
    [fault] = substituted({"token": f"${{{name}}}"}, {}, nothing).faults
    assert (name in fault.found) is named
    assert "is not set" in fault.found


@pytest.mark.parametrize("text", ["${A", "${}", "${A-B}", "${1}"])
def test_malformed_variables_are_faults(text: str) -> None:
    """Something that begins like a variable must be one; a secret is not repeated."""
    [fault] = substituted({"a": text}, {"A": "1"}, nothing).faults
    assert fault.allowed == "${NAME} for a variable, ${file:PATH} for a file"
    assert text in fault.found
    [hidden] = substituted({"api_key": text}, {}, nothing).faults
    assert hidden.found == "a malformed variable"


def test_files_are_replaced_in_values() -> None:
    """By what they hold, which is text and nothing else."""
    held = {"/run/secrets/a": "one", "b": "${A} {c: d}"}
    result = substituted({"k": ["${file:/run/secrets/a}", "x ${file:b} $${file:b}"]}, {}, held.__getitem__)
    assert result.data == {"k": ["one", "x ${A} {c: d} ${file:b}"]}
    assert not result.faults


def test_a_file_that_cannot_be_used_is_a_fault() -> None:
    """Because it is not there, is empty, or is what nobody would call a secret."""

    def files(name: str) -> str:
        if name == "empty":
            return ""
        if name == "large":
            raise ValueError("it is larger than 65536 bytes")
        return nothing(name)

    result = substituted({"a": "${file:gone}", "b": "${file:empty}", "c": "${file:large}"}, {}, files)
    assert [(fault.path, fault.found) for fault in result.faults] == [
        (("a",), "the file `gone` cannot be used (no such file or directory)"),
        (("b",), "the file `empty` cannot be used (it is empty)"),
        (("c",), "the file `large` cannot be used (it is larger than 65536 bytes)"),
    ]
