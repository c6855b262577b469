"""A server that speaks Weaviate's REST, GraphQL and gRPC-Web as documented, and refuses what Weaviate refuses.

https://docs.weaviate.io/weaviate/api/rest · https://docs.weaviate.io/weaviate/api/graphql
"""
