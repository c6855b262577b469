"""The vector_io providers that are built: names and dotted paths, nothing heavy."""

from llamastack.provider_specs import ProviderSpec

INLINE = "apps.vector_io.providers.inline"
VECTORS = "requirements/vectors.txt"

FAISS = ProviderSpec(f"{INLINE}.faiss.provider.Faiss", pip_packages=("faiss-cpu", "numpy"), requirements=VECTORS)
SQLITE_VEC = ProviderSpec(f"{INLINE}.sqlite_vec.SQLiteVec", pip_packages=("sqlite-vec", "numpy"), requirements=VECTORS)
PGVECTOR = ProviderSpec(
    "apps.vector_io.providers.remote.pgvector.provider.PGVector", pip_packages=("numpy",), requirements=VECTORS
)
QDRANT = ProviderSpec(
    "apps.vector_io.providers.remote.qdrant.provider.Qdrant", pip_packages=("numpy",), requirements=VECTORS
)
QDRANT_HERE = ProviderSpec(
    f"{INLINE}.qdrant.provider.Qdrant",
    pip_packages=("qdrant-edge-py", "numpy"),
    requirements="requirements/qdrant.txt",
    exclusive=True,
)
ELASTICSEARCH = ProviderSpec(
    "apps.vector_io.providers.remote.elasticsearch.provider.Elasticsearch",
    pip_packages=("numpy",),
    requirements=VECTORS,
)
WEAVIATE = ProviderSpec(
    "apps.vector_io.providers.remote.weaviate.provider.Weaviate", pip_packages=("numpy",), requirements=VECTORS
)
MILVUS = "requirements/milvus.txt"
MILVUS_LITE = ProviderSpec(
    f"{INLINE}.milvus.MilvusLite", pip_packages=("pymilvus", "milvus-lite"), requirements=MILVUS, exclusive=True
)
REMOTE_MILVUS = ProviderSpec(
    "apps.vector_io.providers.remote.milvus.Milvus", pip_packages=("pymilvus",), requirements=MILVUS
)
INLINE_CHROMA = ProviderSpec(
    f"{INLINE}.chromadb.InlineChroma",
    pip_packages=("chromadb", "numpy"),
    requirements="requirements/chroma.txt",
    exclusive=True,
)
REMOTE_CHROMA = ProviderSpec(
    "apps.vector_io.providers.remote.chromadb.RemoteChroma", pip_packages=("numpy",), requirements=VECTORS
)
INFINISPAN = ProviderSpec(
    "apps.vector_io.providers.remote.infinispan.provider.Infinispan", pip_packages=("numpy",), requirements=VECTORS
)
ORACLE = ProviderSpec(
    "apps.vector_io.providers.remote.oci.provider.OracleDatabase",
    pip_packages=("oracledb", "numpy"),
    requirements="requirements/oci.txt",
)
PROVIDERS = {
    "inline::chromadb": INLINE_CHROMA,
    "inline::faiss": FAISS,
    "inline::meta-reference": FAISS,  # its old name
    "inline::milvus": MILVUS_LITE,
    "inline::sqlite-vec": SQLITE_VEC,
    "inline::sqlite_vec": SQLITE_VEC,  # its old name
    "inline::qdrant": QDRANT_HERE,
    "remote::qdrant": QDRANT,
    "remote::chromadb": REMOTE_CHROMA,
    "remote::elasticsearch": ELASTICSEARCH,
    "remote::milvus": REMOTE_MILVUS,
    "remote::infinispan": INFINISPAN,
    "remote::oci": ORACLE,
    "remote::pgvector": PGVECTOR,
    "remote::weaviate": WEAVIATE,
}
