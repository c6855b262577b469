"""Amazon Bedrock.

provider.py      the provider: addresses, keys, models
config.py        what it can be told
request.py, conversation.py, content.py, tools.py   a chat completion as Converse takes it
answer.py        what Converse answers, whole or streamed
families.py      what each model can do, as its id tells
claude.py        how Claude thinks and samples
invoked.py       embeddings and reranking
credentials.py   AWS credentials and signatures
"""

from apps.inference.providers.remote.bedrock.provider import Bedrock

__all__ = ["Bedrock"]
