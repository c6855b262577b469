"""The inference providers that are built: names and dotted paths, nothing heavy."""

from llamastack.provider_specs import ProviderSpec

LOCAL = ("torch", "transformers", "tokenizers", "safetensors", "gguf")
CONSTRAINED = ("llguidance", "numpy")
INLINE = "apps.inference.providers.inline"
REMOTE = "apps.inference.providers.remote"

ENGINE = ProviderSpec(
    f"{INLINE}.meta_reference.MetaReference",
    pip_packages=(*LOCAL, *CONSTRAINED),
    requirements="requirements/local.txt",
    exclusive=True,
)

PROVIDERS = {
    "inline::meta-reference": ENGINE,
    "inline::sentence-transformers": ProviderSpec(
        f"{INLINE}.sentence_transformers.SentenceTransformers",
        pip_packages=LOCAL,
        requirements="requirements/local.txt",
        exclusive=True,
    ),
    "inline::transformers": ENGINE,  # OGX's name of an engine in this process
    "remote::anthropic": ProviderSpec(f"{REMOTE}.anthropic.Anthropic"),
    "remote::azure": ProviderSpec(f"{REMOTE}.azure.Azure"),
    "remote::bedrock": ProviderSpec(
        f"{REMOTE}.bedrock.Bedrock", pip_packages=("botocore",), requirements="requirements/aws.txt", optional=True
    ),
    "remote::cerebras": ProviderSpec(f"{REMOTE}.cerebras.Cerebras"),
    "remote::databricks": ProviderSpec(f"{REMOTE}.databricks.Databricks"),
    "remote::fireworks": ProviderSpec(f"{REMOTE}.fireworks.Fireworks"),
    "remote::gemini": ProviderSpec(f"{REMOTE}.gemini.Gemini"),
    "remote::groq": ProviderSpec(f"{REMOTE}.groq.Groq"),
    "remote::hf::endpoint": ProviderSpec(f"{REMOTE}.hf_endpoint.HFEndpoint"),
    "remote::hf::serverless": ProviderSpec(f"{REMOTE}.hf_serverless.HFServerless"),
    "remote::llama-cpp-server": ProviderSpec(f"{REMOTE}.llama_cpp_server.LlamaCppServer"),
    "remote::llama-openai-compat": ProviderSpec(f"{REMOTE}.llama_openai_compat.LlamaOpenAICompat"),
    "remote::llamastack": ProviderSpec(f"{REMOTE}.llamastack.LlamaStackServer"),
    "remote::nvidia": ProviderSpec(f"{REMOTE}.nvidia.Nvidia"),
    "remote::oci": ProviderSpec(
        f"{REMOTE}.oci.OCI", pip_packages=("oci",), requirements="requirements/oci.txt", optional=True
    ),
    "remote::ollama": ProviderSpec(f"{REMOTE}.ollama.Ollama"),
    "remote::openai": ProviderSpec(f"{REMOTE}.openai.OpenAI"),
    "remote::passthrough": ProviderSpec(f"{REMOTE}.passthrough.Passthrough"),
    "remote::runpod": ProviderSpec(f"{REMOTE}.runpod.RunPod"),
    "remote::sambanova": ProviderSpec(f"{REMOTE}.sambanova.SambaNova"),
    "remote::tgi": ProviderSpec(f"{REMOTE}.tgi.TGI"),
    "remote::together": ProviderSpec(f"{REMOTE}.together.Together"),
    "remote::vertexai": ProviderSpec(
        f"{REMOTE}.vertexai.VertexAI",
        pip_packages=("google-auth",),
        requirements="requirements/google.txt",
        optional=True,
    ),
    "remote::vllm": ProviderSpec(f"{REMOTE}.vllm.VLLM"),
    "remote::watsonx": ProviderSpec(f"{REMOTE}.watsonx.WatsonX"),
}
