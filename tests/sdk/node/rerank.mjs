// What npm's llama-stack-client sees of reranking: node rerank.mjs URL MODEL QUERY ITEM…
import LlamaStackClient from "llama-stack-client";

const [url, model, query, ...items] = process.argv.slice(2);
const client = new LlamaStackClient({ baseURL: url, maxRetries: 0 });
const refused = await client.alpha.inference.rerank({ model: "nobody", query, items }).catch((error) => error.status);
console.log(JSON.stringify({ ranked: await client.alpha.inference.rerank({ model, query, items }), refused }));
