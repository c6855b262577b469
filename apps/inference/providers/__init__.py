"""The inference providers that are built: names and dotted paths, nothing heavy."""

from llamastack.providers import ProviderSpec

LOCAL = ("torch", "transformers", "tokenizers", "safetensors", "gguf")
CONSTRAINED = ("llguidance", "numpy")
INLINE = "apps.inference.providers.inline"
REMOTE = "apps.inference.providers.remote"

PROVIDERS = {
    "inline::meta-reference": ProviderSpec(
        f"{INLINE}.meta_reference.MetaReference",
        pip_packages=(*LOCAL, *CONSTRAINED),
        requirements="requirements/local.txt",
        exclusive=True,
    ),
    "inline::sentence-transformers": ProviderSpec(
        f"{INLINE}.sentence_transformers.SentenceTransformers",
        pip_packages=LOCAL,
        requirements="requirements/local.txt",
        exclusive=True,
    ),
    "remote::llama-openai-compat": ProviderSpec(f"{REMOTE}.llama_openai_compat.LlamaOpenAICompat"),
    "remote::ollama": ProviderSpec(f"{REMOTE}.ollama.Ollama"),
    "remote::openai": ProviderSpec(f"{REMOTE}.openai.OpenAI"),
    "remote::vllm": ProviderSpec(f"{REMOTE}.vllm.VLLM"),
}
