import { ApiError, chat, chatModels } from "./chat.js";
import { HINTS, snippet } from "./snippets.js";

const LOOK_EVERY_MS = 1500;
const KEY = "llamastack.api_key";
const NUMBERS = ["temperature", "top_p", "max_tokens", "seed"];
const AUTH_REQUIRED = document.body.dataset.authRequired === "true";

const $ = (id) => document.getElementById(id);

/** The messages of this chat, as the API takes them. */
let talk = [];
let running = null; // the AbortController of the answer that streams
let listed = ""; // the model list that is shown, as JSON

// --- models ---

async function lookForModels() {
  if (AUTH_REQUIRED && !$("api_key").value) {
    notify("This server needs an API key: enter one in the settings.");
    return;
  }
  try {
    showModels(await chatModels($("api_key").value));
  } catch (error) {
    notify(sentence(error));
  }
}

function showModels(models) {
  const news = JSON.stringify(models.map((model) => [model.id, model.default]));
  if (news !== listed) {
    fillSelect(models, listed !== "");
    listed = news;
  }
  if (models.length) notify("");
  else notify("No model is there to chat with yet. ", "Add a provider in the admin.", "/admin/");
}

/** One option a model. The chosen one stays chosen; before there is one, the default is. */
function fillSelect(models, chosenBefore) {
  const select = $("model");
  const ids = models.map((model) => model.id);
  const preferred = models.find((model) => model.default)?.id ?? ids[0] ?? "";
  const chosen = chosenBefore && ids.includes(select.value) ? select.value : preferred;
  select.replaceChildren(...(ids.length ? ids : [""]).map((id) => new Option(id || "No model", id)));
  select.value = chosen;
  select.disabled = !ids.length;
}

function keepLooking() {
  if (document.visibilityState === "visible" && !keyRefused) lookForModels();
}

let keyRefused = false;

function sentence(error) {
  if (error instanceof ApiError && error.status === 401) {
    keyRefused = true;
    return `${error.message} Enter a valid API key in the settings.`;
  }
  return error.message;
}

function notify(text, link = "", href = "") {
  const notice = $("notice");
  if (notice.textContent === text + link) return;
  notice.textContent = text;
  if (link) notice.append(Object.assign(document.createElement("a"), { textContent: link, href }));
  notice.hidden = !text;
}

// --- the request ---

/** The chat completion that the page describes now, with `prompt` as the next message; without one, the last again. */
function requestOf(prompt) {
  const system = $("system").value.trim();
  const messages = system ? [{ role: "system", content: system }] : [];
  if (prompt || !talk.length) messages.push(...talk, { role: "user", content: prompt || "Hello!" });
  else messages.push(...talk.slice(0, -1)); // up to the question that the last answer is to
  const request = { model: $("model").value, messages };
  for (const name of NUMBERS) if ($(name).value !== "") request[name] = Number($(name).value);
  const stop = $("stop_sequences").value.split("\n").filter(Boolean);
  if (stop.length) request.stop = stop.map((text) => text.replaceAll("\\n", "\n"));
  return { ...request, stream: true, stream_options: { include_usage: true } };
}

// --- the chat ---

async function send() {
  const prompt = $("prompt").value;
  if (running || !prompt.trim() || !$("model").value) return;
  const ours = talk;
  const request = requestOf(prompt);
  running = new AbortController();
  $("prompt").value = "";
  bubble("user", prompt);
  const answer = new Answer();
  showRunning(true);
  try {
    for await (const chunk of chat(request, $("api_key").value, running.signal)) answer.add(chunk);
    answer.end("");
  } catch (error) {
    if (error.name === "AbortError") answer.end("stopped");
    else answer.fail(sentence(error));
  }
  if (answer.text) ours.push({ role: "user", content: prompt }, { role: "assistant", content: answer.text });
  else if (ours === talk && !$("prompt").value) $("prompt").value = prompt; // to be sent once more
  running = null;
  showRunning(false);
}

/** An answer that grows in the conversation, with its speed below. */
class Answer {
  constructor() {
    this.text = "";
    this.began = performance.now();
    this.first = this.last = 0;
    this.pieces = 0;
    this.usage = null;
    this.reason = null;
    this.element = bubble("assistant", "");
    this.said = this.element.querySelector(".text");
    this.stats = this.element.appendChild(document.createElement("p"));
    this.stats.className = "stats";
  }

  add(chunk) {
    this.usage = chunk.usage ?? this.usage;
    const choice = chunk.choices.find((one) => one.index === 0);
    this.reason = choice?.finish_reason ?? this.reason;
    const thought = choice?.delta?.reasoning_content;
    if (thought) keepInSight(() => this.thoughts().append(thought));
    const piece = (choice?.delta?.content ?? "") + called(choice?.delta?.tool_calls ?? []);
    if (thought || piece) this.count();
    if (piece) {
      this.text += piece;
      keepInSight(() => this.said.append(piece));
    }
  }

  count() {
    this.last = performance.now();
    this.first ||= this.last;
    this.pieces += 1;
    this.stats.textContent = this.measured("");
  }

  /** Where a reasoning model thinks aloud, folded away. */
  thoughts() {
    let details = this.element.querySelector("details");
    if (!details) {
      details = document.createElement("details");
      details.append(Object.assign(document.createElement("summary"), { textContent: "Reasoning" }));
      details.append(Object.assign(document.createElement("div"), { className: "text" }));
      this.said.before(details);
    }
    return details.lastElementChild;
  }

  end(remark) {
    this.stats.textContent = this.measured(remark || (this.reason === "length" ? "cut off at max tokens" : ""));
    this.element.removeAttribute("aria-busy");
  }

  fail(message) {
    this.end("");
    if (!this.text) this.said.remove();
    const problem = Object.assign(document.createElement("p"), { className: "problem", textContent: message });
    problem.setAttribute("role", "alert");
    keepInSight(() => this.stats.before(problem));
  }

  measured(remark) {
    const tokens = this.usage?.completion_tokens ?? this.pieces;
    const parts = remark ? [remark] : [];
    if (this.usage) parts.push(`${this.usage.prompt_tokens} prompt + ${tokens} completion tokens`);
    else if (tokens) parts.push(`${tokens} tokens`);
    if (tokens > 1) parts.push(`${speed(tokens, this.began, this.first, this.last)} tokens/s`);
    if (this.first) parts.push(`first after ${((this.first - this.began) / 1000).toFixed(2)} s`);
    return parts.join(" · ");
  }
}

/** What a chunk says of tool calls, as text: a call's name on a line of its own, and then its arguments. */
function called(calls) {
  return calls.map(({ function: tool }) => (tool?.name ? `\n${tool.name} ` : "") + (tool?.arguments ?? "")).join("");
}

/** Tokens a second after the first one, or over all where they came in one go. */
function speed(tokens, began, first, last) {
  const seconds = (last - first) / 1000;
  const rate = seconds >= 0.02 ? (tokens - 1) / seconds : (tokens * 1000) / Math.max(last - began, 1);
  return rate.toFixed(rate < 10 ? 1 : 0);
}

function bubble(role, text) {
  $("empty").hidden = true;
  const element = document.createElement("article");
  element.className = role;
  element.append(Object.assign(document.createElement("h3"), { textContent: role === "user" ? "You" : $("model").value }));
  element.append(Object.assign(document.createElement("div"), { className: "text", textContent: text }));
  if (role === "assistant") element.setAttribute("aria-busy", "true");
  $("conversation").append(element);
  $("conversation").scrollTop = $("conversation").scrollHeight;
  return element;
}

/** Change the conversation; who reads its end goes on seeing the end. */
function keepInSight(change) {
  const log = $("conversation");
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  change();
  if (atEnd) log.scrollTop = log.scrollHeight;
}

function showRunning(is) {
  $("send").hidden = is;
  $("stop").hidden = !is;
  if (!is) $("prompt").focus();
}

function stop() {
  running?.abort();
}

function newChat() {
  stop();
  talk = [];
  for (const element of $("conversation").querySelectorAll("article")) element.remove();
  $("empty").hidden = false;
  $("prompt").focus();
}

// --- copy as code ---

function showSnippet() {
  const language = document.querySelector("input[name=language]:checked").value;
  const key = $("api_key").value;
  const request = requestOf($("prompt").value.trim());
  $("snippet").textContent = snippet(language, location.origin, request, AUTH_REQUIRED || Boolean(key));
  $("snippet_hint").textContent = HINTS[language];
  $("copy").textContent = "Copy";
}

async function copy() {
  try {
    await navigator.clipboard.writeText($("snippet").textContent);
    $("copy").textContent = "Copied";
  } catch {
    getSelection().selectAllChildren($("snippet")); // no clipboard without HTTPS: the text is marked, the user copies
    $("copy").textContent = "Press Ctrl+C";
  }
}

// --- events ---

$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
$("prompt").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  if (!running) $("composer").requestSubmit();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !$("snippets").open) stop();
});
for (const id of ["system", "stop_sequences", ...NUMBERS]) {
  $(id).addEventListener("invalid", () => ($("settings").open = true));
}
$("stop").addEventListener("click", stop);
$("new").addEventListener("click", newChat);
$("refresh").addEventListener("click", lookForModels);
$("model").addEventListener("focus", keepLooking);
$("code").addEventListener("click", () => {
  showSnippet();
  $("snippets").showModal();
});
$("close_snippets").addEventListener("click", () => $("snippets").close());
$("snippets").addEventListener("change", showSnippet);
$("copy").addEventListener("click", copy);
$("api_key").addEventListener("change", () => {
  sessionStorage.setItem(KEY, $("api_key").value);
  keyRefused = false;
  lookForModels();
});

$("api_key").value = sessionStorage.getItem(KEY) ?? "";
if (matchMedia("(max-width: 760px)").matches && !AUTH_REQUIRED) $("settings").open = false;
lookForModels();
setInterval(keepLooking, LOOK_EVERY_MS);
document.addEventListener("visibilitychange", keepLooking);
