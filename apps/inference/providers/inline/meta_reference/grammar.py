"""A constraint as llguidance reads it, and a trial in a process of its own.

Some grammars take llguidance minutes, gigabytes, or more stack than there is: a `multipleOf` of nine digits, an `allOf`
of patterns, a chain of thousands of rules. None of its limits bounds these. So a grammar is compiled first by this file
run as a program, which may die of it. It imports nothing of ours.
"""

import json
import resource
import sys
from typing import Any

from llguidance import LLMatcher, LLParserLimits, LLTokenizer, regex_to_lark

MEBIBYTE = 1 << 20
LEAVE = {  # what a trial may take
    resource.RLIMIT_AS: 256 * MEBIBYTE,  # of which Python takes 30
    resource.RLIMIT_CPU: 2,  # seconds
    resource.RLIMIT_STACK: 4 * MEBIBYTE,  # threads have 8: what passes here, passes there
    resource.RLIMIT_CORE: 0,
}

# Each state of a lexer takes 1 to 2 KiB. Large expressions are refused where they are met, and not sought beforehand.
LIMITS: dict[str, Any] = {"max_lexer_states": 50_000, "precompute_large_lexemes": False, "verbose_errors": False}
# Between the parts of JSON: nothing, a space, or a line break with its indentation. So no model can go on with blanks.
BLANKS = r" |\n[ \t]{0,20}"


def matcher(tokenizer: LLTokenizer, kind: str, text: str) -> LLMatcher:
    """Never raises for a bad grammar: the matcher is in error."""
    return LLMatcher(tokenizer, _grammar(kind, text), limits=LLParserLimits(**LIMITS), log_level=0)


def _grammar(kind: str, text: str) -> str:
    if kind == "json_schema":
        return LLMatcher.grammar_from_json_schema(text, overrides={"whitespace_pattern": BLANKS})
    if kind == "regex":  # \d and \w are ASCII, as in the patterns of a schema
        text = f"start: /{regex_to_lark(text, 'dw')}/"
    return LLMatcher.grammar_from_lark(text)


def flaw(compiled: LLMatcher) -> str:
    """What is wrong with a grammar, found with its first mask; empty where nothing is."""
    if compiled.is_error():
        return compiled.get_error()
    compiled.compute_bitmask()
    return f"no text fits, or it takes too much to find one ({compiled.get_error()})" if compiled.is_error() else ""


def _try() -> None:
    for limit, most in LEAVE.items():
        resource.setrlimit(limit, (most, most))
    kind, text = json.load(sys.stdin)
    json.dump(flaw(matcher(LLTokenizer("byte"), kind, text)), sys.stdout)


if __name__ == "__main__":
    _try()
