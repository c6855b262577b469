"""The Stack reads documents whether or not a provider is listed for it."""

from apps.file_processors.protocol import Document
from llamastack.call import ANONYMOUS_ADMIN, Call
from llamastack.stack import LlamaStack


async def test_where_no_provider_is_listed_documents_are_read_all_the_same(running: LlamaStack) -> None:
    answer = await running.file_processors.parse(Call(ANONYMOUS_ADMIN), Document("a.txt", b"Hello."))
    assert [page.text for page in answer.pages] == ["Hello."]
