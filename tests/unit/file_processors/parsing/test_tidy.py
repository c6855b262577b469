"""What print does to words is undone, and nothing else."""

import pytest

from apps.file_processors.parsing.tidy import tidied


@pytest.mark.parametrize(
    ("text", "tidy"),
    [
        ("a con-\ntainer", "a container"),
        ("a con\u00ad\ntainer", "a container"),
        ("a con\ufffe\r\ntainer", "a container"),
        ("a con\x02tainer", "a container"),
        ("Jean-\nPaul", "Jean-\nPaul"),
        ("from 1990-\n1995", "from 1990-\n1995"),
        ("- one\n- two", "- one\n- two"),
        ("soft\u00adhyphen", "softhyphen"),
        ("e\ufb03cient \ufb01gures", "efficient figures"),
        ("x² and ½", "x² and ½"),
        ("a \t\nb\n\n\n\nc  ", "a\nb\n\nc"),
        ("nul\x00 and half \ud800", "nul and half"),
    ],
)
def test_text_of_a_page(text: str, tidy: str) -> None:
    assert tidied(text) == tidy
