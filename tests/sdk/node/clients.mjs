// What npm's llama-stack-client and openai see: node clients.mjs URL CHAT_MODEL EMBEDDING_MODEL
import LlamaStackClient from "llama-stack-client";
import OpenAI from "openai";

const [url, chat, embedding] = process.argv.slice(2);
const client = new LlamaStackClient({ baseURL: url, maxRetries: 0 });
const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: "any", maxRetries: 0 });
const asked = {
  model: chat,
  messages: [{ role: "user", content: "What is the capital of France?" }],
  temperature: 0,
  max_tokens: 20,
};

async function joined(stream) {
  let text = "";
  for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? "";
  return text;
}

const models = await client.models.list();
const missing = await client.chat.completions.create({ ...asked, model: "nobody" }).catch((error) => error.status);
console.log(
  JSON.stringify({
    models: (models.data ?? models).map((model) => model.identifier ?? model.id),
    providers: (await client.providers.list()).map((provider) => provider.provider_id),
    chat: (await client.chat.completions.create(asked)).choices[0].message.content,
    stream: await joined(await client.chat.completions.create({ ...asked, stream: true })),
    openai: await joined(await openai.chat.completions.create({ ...asked, stream: true })),
    dimension: (await openai.embeddings.create({ model: embedding, input: "one" })).data[0].embedding.length,
    missing,
  }),
);
