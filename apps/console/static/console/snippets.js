// A chat completion's request as code that asks the same.

const KEY = "LLAMA_STACK_API_KEY";

export const HINTS = {
  curl: "",
  python: "Needs: pip install openai",
  javascript: "Needs: npm install openai",
};

/** Code in `language`; `withKey` reads the API key from an environment variable. */
export function snippet(language, origin, request, withKey) {
  return { curl, python, javascript }[language](`${origin}/v1`, request, withKey);
}

function curl(base, request, withKey) {
  const lines = [`curl --no-buffer ${quoted(`${base}/chat/completions`)}`, "  -H 'Content-Type: application/json'"];
  if (withKey) lines.push(`  -H "Authorization: Bearer $${KEY}"`);
  lines.push(`  -d ${quoted(JSON.stringify(request, null, 2))}`);
  return lines.join(" \\\n") + "\n";
}

function python(base, request, withKey) {
  const fields = Object.entries(request).map(([name, value]) => `    ${name}=${literal(value, 1)},\n`);
  const key = withKey ? `os.environ["${KEY}"]` : '"none"';
  return `${withKey ? "import os\n\n" : ""}from openai import OpenAI

client = OpenAI(base_url=${JSON.stringify(base)}, api_key=${key})
stream = client.chat.completions.create(
${fields.join("")})
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
print()
`;
}

function javascript(base, request, withKey) {
  const key = withKey ? `process.env.${KEY}` : '"none"';
  return `import OpenAI from "openai";

const client = new OpenAI({ baseURL: ${JSON.stringify(base)}, apiKey: ${key} });
const stream = await client.chat.completions.create(${JSON.stringify(request, null, 2)});
for await (const chunk of stream) {
  process.stdout.write(chunk.choices[0]?.delta?.content ?? "");
}
process.stdout.write("\\n");
`;
}

/** A text as one word of a POSIX shell. */
function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** A JSON value as Python writes it, with its items indented below `depth` levels. */
function literal(value, depth) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const items = Array.isArray(value)
    ? value.map((item) => literal(item, depth + 1))
    : Object.entries(value).map(([name, item]) => `${JSON.stringify(name)}: ${literal(item, depth + 1)}`);
  if (!Array.isArray(value)) return `${open}${items.join(", ")}${close}`;
  const indent = "    ".repeat(depth + 1);
  return `${open}\n${items.map((item) => `${indent}${item},\n`).join("")}${"    ".repeat(depth)}${close}`;
}
