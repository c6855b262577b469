"""What our server has in its database once it has stopped: what was stored, and the usage that was recorded."""

import sqlite3
from collections import Counter
from contextlib import closing

import orjson

from benchmarks._targets import Target

DATABASE = "llamastack.db"
TOKENS = {"chat": (8, 8), "embedding": (64, 0)}  # of every call, as the upstream tells them


def told(target: Target) -> bool:
    """Whether there is a completion for each that was answered, as it was answered, and a usage record of each call."""
    assert target.home is not None
    [database] = target.home.rglob(DATABASE)
    with closing(sqlite3.connect(database)) as connection:
        rows = stored(connection)
        same = rows == target.said
        right = sum(rows.get(name) == content for name, content in target.said.items())
        print(f"{target.name}: stored {len(rows)} rows; {right} of the {len(target.said)} completions as answered")
        problems = usage_problems(connection, target.asked, target.lanes)
    for problem in problems:
        print(f"{target.name}: {problem}")
    return same and not problems


def stored(connection: sqlite3.Connection) -> dict[str, str]:
    """What was said, by the completion's id. Answers must repeat it."""
    found = {}
    rows = connection.execute("SELECT id, input_messages, completion FROM inference_storedcompletion")
    for name, messages, completion in rows:
        content = orjson.loads(messages)[-1]["content"]
        heard = orjson.loads(completion)["choices"][0]["message"]["content"]
        found[name] = content if heard.rstrip() == f"You said: {content}" else heard
    return found


def usage_problems(connection: sqlite3.Connection, asked: Counter[str], lanes: Counter[str]) -> list[str]:
    """What is wrong with the usage: a record for each call that was answered, with its tokens and its lane."""
    recorded: Counter[str] = Counter()
    problems = []
    columns = "operation, status, whole, input_tokens, coalesce(output_tokens, 0)"
    for *row, number in connection.execute(f"SELECT {columns}, count(*) FROM access_usage GROUP BY {columns}"):
        operation, status, whole, *tokens = row
        recorded[operation] += number
        if (status, whole) != (200, 1) or tuple(tokens) != TOKENS.get(operation):
            problems.append(f"{number} usage records are wrong: {columns} = {row}")
    print(f"usage: {recorded.total()} records of the {asked.total()} calls that were answered")
    if recorded != asked:
        problems.append(f"usage records {dict(recorded)}, calls {dict(asked)}")
    served = Counter(dict(connection.execute("SELECT lane, count(*) FROM access_usage GROUP BY lane")))
    if lanes and any(served[lane] < number for lane, number in lanes.items()):
        problems.append(f"lanes by their usage records {dict(served)}, by the answers {dict(lanes)}")
    return problems
