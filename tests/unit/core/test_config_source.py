"""Reading YAML: lines, syntax, and files that are no configuration."""

from pathlib import Path

import pytest

from llamastack.config import ConfigError
from llamastack.config.source import MAX_BYTES, MOST_TOLD, Problem, Source


def fail(text: str) -> str:
    with pytest.raises(ConfigError) as raised:
        Source.parse(text, "run.yaml")
    return str(raised.value)


def test_every_place_has_its_line() -> None:
    source = Source.parse("a: 1\nb:\n  - x: 1\n    y: 2\n  - 3\n", "run.yaml")
    places: list[tuple[str | int, ...]] = [("a",), ("b",), ("b", 0), ("b", 0, "y"), ("b", 1)]
    assert [source.line(place) for place in places] == [1, 2, 3, 4, 5]


def test_a_place_that_is_not_there_has_the_line_of_what_is_around_it() -> None:
    source = Source.parse("a: 1\nb:\n  c: 1\n", "run.yaml")
    assert source.line(("b", "missing", 3)) == 2


def test_a_syntax_error_names_file_and_line() -> None:
    assert fail("a: 1\nb: [1, 2\nc: 3\n").startswith("run.yaml:3: while parsing a flow sequence")
    assert fail("a: 1\n\tb: 2\n").startswith("run.yaml:2: ")


def test_a_key_that_stands_twice_is_an_error_with_the_second_line() -> None:
    assert fail("a:\n  b: 1\n  c: 2\n  b: 3\n") == "run.yaml:4: a.b: this key stands here twice"


def test_two_documents_are_an_error() -> None:
    assert fail("a: 1\n---\nb: 1\n").startswith("run.yaml:2: expected a single document")


@pytest.mark.parametrize("text", ["", "# nothing\n", "- a\n", "text"])
def test_what_is_no_mapping_is_an_error(text: str) -> None:
    assert fail(text) == "run.yaml:1: expected a mapping with keys such as version and providers"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: !!python/object:os.system x\n", "run.yaml:2: b: the tag !!python/object:os.system is not supported"),
        ("a: !!int x\n", "run.yaml:1: a: not a value of the type !!int"),
        ("a: !!bool x\n", "run.yaml:1: a: not a value of the type !!bool"),
        ("a: " + "9" * 5000 + "\n", "run.yaml:1: a: not a value of the type !!int"),
        ("a: .nan\n", "run.yaml:1: a: not a value of the type !!float"),
        ('a: "\\0"\n', "run.yaml:1: a: a NUL character, which the database cannot hold"),
        ('a: "\\ud800"\n', "run.yaml:1: a: not a value of the type !!str"),
        ("[a]: 1\n", "run.yaml:1: a key must be text"),
        ("a: *b\n", "run.yaml:1: found undefined alias 'b'"),
        ("a: \x00\n", "run.yaml:1: a character that YAML does not allow"),
        ("a: &b\n  c: *b\n", "nested deeper than 50 levels"),
        ("a: " + "[" * 5000, "nested deeper than 50 levels"),
        ("a: " + "[" * 60 + "]" * 60, "nested deeper than 50 levels"),
    ],
)
def test_what_is_no_sane_value_is_an_error_with_its_line(text: str, said: str) -> None:
    assert said in fail(text)


def test_an_alias_bomb_is_refused_before_it_grows() -> None:
    levels = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 10))
    assert "more than 50,000 values" in fail("l0: &l0 [x]\n" + levels)


def test_aliases_and_merges_work() -> None:
    source = Source.parse("base: &base {a: 1, b: 2}\nuse:\n  <<: *base\n  b: 3\nagain: *base\n", "run.yaml")
    assert source.data["use"] == {"a": 1, "b": 3}
    assert source.data["again"] == {"a": 1, "b": 2}


def test_a_date_stays_text_and_a_number_as_a_key_becomes_text() -> None:
    assert Source.parse("api_version: 2024-10-21\n8: x\n", "run.yaml").data == {"api_version": "2024-10-21", "8": "x"}


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(ConfigError, match="larger than 1,000,000 bytes"):
        Source.read(path)


def test_bytes_that_are_no_text_are_an_error_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(ConfigError, match=r"run\.yaml:2: not UTF-8 text"):
        Source.read(path)


def test_of_thousands_of_problems_a_message_tells_the_first() -> None:
    error = ConfigError(*(Problem(f"wrong {number}") for number in range(2_000)))
    assert error.message.splitlines()[-2:] == [f"wrong {MOST_TOLD - 1}", "… and 1,950 more"]
    assert len(error.problems) == 2_000
    assert ConfigError(*error.problems[:MOST_TOLD]).message.splitlines()[-1] == f"wrong {MOST_TOLD - 1}"
