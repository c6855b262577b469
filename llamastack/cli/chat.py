"""`llama chat`: a conversation in the terminal with a running server, or one question through a pipe."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llamastack.cli import complete
from llamastack.cli.console import notes
from llamastack.errors import BadRequest, NotFound, StackError
from llamastack.near import did_you_mean

if TYPE_CHECKING:
    from llamastack.egress import Egress

# What a model says must not steer the terminal: of the control characters, line breaks and tabs pass.
CONTROLS = dict.fromkeys(code for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t")

ModelName = Annotated[
    str | None,
    typer.Argument(metavar="[MODEL]", help="The server's default, or asked for.", autocompletion=complete.served),
]
Url = Annotated[str, typer.Option(help="The server. A key for it is read from LLAMA_STACK_API_KEY.")]
System = Annotated[str | None, typer.Option(help="What the model is told before the conversation.")]


@dataclass
class Conversation:
    """With one model of a server; `url` ends in /v1."""

    url: str
    model: str
    messages: list[dict[str, str]] = field(default_factory=list)

    def ask(self, question: str) -> None:
        """Print the answer as it comes. One that is interrupted or fails raises; what was said of it is kept."""
        self.messages.append({"role": "user", "content": question})
        said: list[str] = []
        try:
            asyncio.run(self._answer(said))
        finally:
            print()
            if said:
                self.messages.append({"role": "assistant", "content": "".join(said)})
            else:
                self.messages.pop()

    async def _answer(self, said: list[str]) -> None:
        body = {"model": self.model, "messages": self.messages, "stream": True}
        async with connected(self.url) as server, aclosing(server.stream("chat/completions", body)) as events:
            async for event in events:
                text = "".join(choice["delta"].get("content") or "" for choice in event.get("choices", []))
                if text:
                    said.append(text)
                    show(text)


def chat(model: ModelName = None, url: Url = complete.URL, system: System = None) -> None:
    """Talk with a model of a running server. Ctrl-C stops an answer, Ctrl-D leaves; a pipe is one question."""
    base = base_of(url)
    question = None if sys.stdin.isatty() else piped()
    conversation = Conversation(base, model or choose(asyncio.run(chat_models(base)), asking=question is None))
    if system:
        conversation.messages.append({"role": "system", "content": encodable(system)})
    if question is None:
        converse(conversation)
    else:
        conversation.ask(question)


def base_of(url: str) -> str:
    """The address of the API, whether or not it was given with /v1."""
    return f"{url.rstrip('/').removesuffix('/v1')}/v1"


@asynccontextmanager
async def connected(url: str) -> "AsyncIterator[Egress]":
    from llamastack.egress import TOTAL_SECONDS, Egress, Timeouts

    key = os.environ.get("LLAMA_STACK_API_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    server = Egress(url, "The server", headers, Timeouts(first_byte=TOTAL_SECONDS, idle=TOTAL_SECONDS))
    try:
        yield server
    finally:
        await server.close()


async def chat_models(url: str) -> list[dict[str, Any]]:
    """The models that chat, as the server lists them: its default first."""
    async with connected(url) as server:
        listed = await server.get("models")
    if not isinstance(listed, dict) or not isinstance(listed.get("data"), list):
        raise BadRequest(f"What answers at {url} lists no models: give the address of a Llama Stack with --url.")
    return [model for model in listed["data"] if model.get("model_type", "llm") == "llm"]


def choose(models: list[dict[str, Any]], *, asking: bool) -> str:
    """The default model, or the only one, or the one that the user picks from a list."""
    names = [str(model["id"]) for model in models]
    if not names:
        raise NotFound("The server has no model to chat with. Add a provider in its admin.")
    if len(names) == 1 or models[0].get("default"):
        return names[0]
    if not asking:
        raise BadRequest(f"Which model? None is the default: llama chat MODEL, of {', '.join(names)}.")
    for number, name in enumerate(names, start=1):
        print(f"{number:>4}  {name}")
    while True:
        answer = line("Model: ")
        if answer is None:
            raise typer.Exit
        if answer.isdecimal() and 1 <= int(answer) <= len(names):
            return names[int(answer) - 1]
        if answer in names:
            return answer
        print(f"Give a number from 1 to {len(names)}{did_you_mean(answer, names)}")


def converse(conversation: Conversation) -> None:
    print(f"{conversation.model}: Ctrl-C stops an answer, Ctrl-D leaves.")
    while (question := line("> ")) is not None:
        try:
            if question:
                conversation.ask(question)
        except KeyboardInterrupt:
            continue
        except StackError as error:
            notes.print(error.message, markup=False)


def line(prompt: str) -> str | None:
    """What the user typed; empty where it was taken back with Ctrl-C, None at the end (Ctrl-D)."""
    import readline  # noqa: F401 - importing it gives `input` its editing and history

    try:
        return encodable(input(prompt).strip())
    except KeyboardInterrupt:
        print()
        return ""
    except EOFError:
        print()
        return None


def piped() -> str:
    question = sys.stdin.buffer.read().decode(errors="replace").strip()
    if not question:
        raise BadRequest("There is nothing to ask: standard input is empty.")
    return question


def encodable(text: str) -> str:
    """Text without what no UTF-8 can hold, as a terminal of another encoding may leave it."""
    return text.encode(errors="replace").decode()


def show(text: str) -> None:
    print(text.translate(CONTROLS) if sys.stdout.isatty() else text, end="", flush=True)
