"""The wire types of vector stores: OpenAI's, and Llama Stack's own beside them."""
