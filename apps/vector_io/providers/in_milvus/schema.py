"""A store's collection: its fields, how its words are found, and its indexes."""

from typing import Any

from apps.vector_io.providers.in_milvus.client import pymilvus
from apps.vector_io.providers.in_milvus.rows import MOST_BYTES

MOST_NUMBERS = 32_768  # https://milvus.io/docs/limitations.md
NAME_BYTES = 32
ANALYZER = {"tokenizer": "standard"}  # milvus-lite knows no stems: both are given words that are stems already
METRIC = "IP"  # vectors have length 1: their inner product is the cosine, and one of zeros is near to nothing


def schema(dimension: int, description: str) -> Any:
    package = pymilvus()
    kinds = package.DataType
    made = package.MilvusClient.create_schema(auto_id=False, enable_dynamic_field=True, description=description)
    made.add_field("key", kinds.VARCHAR, is_primary=True, max_length=NAME_BYTES)
    made.add_field("file", kinds.VARCHAR, max_length=NAME_BYTES)
    made.add_field("position", kinds.INT64)
    made.add_field("bytes", kinds.INT64)
    made.add_field("name", kinds.VARCHAR, max_length=MOST_BYTES)
    made.add_field("record", kinds.VARCHAR, max_length=MOST_BYTES)
    made.add_field("content", kinds.VARCHAR, max_length=MOST_BYTES)
    made.add_field("stems", kinds.VARCHAR, max_length=MOST_BYTES, enable_analyzer=True, analyzer_params=ANALYZER)
    made.add_field("embedding", kinds.FLOAT_VECTOR, dim=dimension)
    made.add_field("words", kinds.SPARSE_FLOAT_VECTOR)
    made.add_function(
        package.Function(
            name="bm25",
            function_type=package.FunctionType.BM25,
            input_field_names=["stems"],
            output_field_names=["words"],
        )
    )
    return made


def indexes(index_type: str) -> dict[str, Any]:
    """What `create_index` takes, for each field. An index has its field's name."""
    return {name: _index(name, settings) for name, settings in _settings(index_type).items()}


def _settings(index_type: str) -> dict[str, dict[str, Any]]:
    near = {"params": {"M": 24, "efConstruction": 200}} if index_type == "HNSW" else {}
    return {
        "embedding": {"index_type": index_type, "metric_type": METRIC, **near},
        "words": {
            "index_type": "SPARSE_INVERTED_INDEX",
            "metric_type": "BM25",
            "params": {"bm25_k1": 1.2, "bm25_b": 0.75},
        },
        "file": {"index_type": "INVERTED"},
    }


def _index(name: str, settings: dict[str, Any]) -> Any:
    made = pymilvus().MilvusClient.prepare_index_params()
    made.add_index(field_name=name, index_name=name, **settings)
    return made
