// The page of a job, live: what happens comes over /ws/jobs/{id}, and is drawn over what the server has rendered.
const SVG = "http://www.w3.org/2000/svg";
const LOGGED = 500;
const DRAWN = 2000;
const WIDTH = 300;
const HEIGHT = 90;
const RENEWS = 2000; // milliseconds
const OVER = 4000; // codes of sockets from here on: to come again would not help

for (const page of document.querySelectorAll("[data-job]")) live(page);

function live(page) {
  const find = (name) => page.querySelector(`[data-${name}]`);
  const points = new Map(Object.entries(JSON.parse(page.querySelector("#job-metrics").textContent)));
  let after = Number(page.dataset.after);
  let pause = 1000;

  for (const name of points.keys()) draw(page, name, points.get(name));
  follow(find("log"));
  connect();

  function connect() {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}/ws/jobs/${page.dataset.job}?after=${after}`);
    socket.addEventListener("message", ({ data }) => heard(JSON.parse(data)));
    socket.addEventListener("close", ({ code }) => left(code));
  }

  function heard(told) {
    if (told.object === "job") {
      pause = 1000;
      tell("Live");
      show(told);
    } else if (told.object === "job.event") {
      after = told.number;
      if (told.kind === "log") log(told);
      if (told.kind === "metric") measure(told);
    }
  }

  function left(code) {
    if (code === 1000) {
      tell("");
    } else if (code >= OVER) {
      tell("Not live: reload this page", true);
    } else {
      tell("Not live: the server cannot be reached", true);
      setTimeout(connect, pause);
      pause = Math.min(2 * pause, 10_000);
    }
  }

  function tell(text, off = false) {
    find("live").textContent = text;
    find("live").toggleAttribute("data-off", off);
  }

  function show(job) {
    for (const state of page.querySelectorAll("[data-state]")) state.hidden = state.dataset.state !== job.status;
    const ended = job.ended_at !== null;
    find("ending").hidden = ended || !job.cancel_requested;
    find("error").hidden = job.error === null;
    find("error").textContent = job.error ?? "";
    find("attempt").textContent = job.attempt;
    for (const time of page.querySelectorAll("[data-time]")) time.textContent = moment(job[`${time.dataset.time}_at`]);
    progress(job);
    renew();
    if (!find("cancel")) return;
    find("cancel").hidden = ended || job.cancel_requested;
    if (!find("retry")) return; // a page of a job that has ended for good
    if (!ended) find("retry").hidden = true;
    else if (find("retry").hidden && job.status !== "completed") offer(find("retry"));
  }

  // Whether it may be tried again, the page itself knows.
  async function offer(button) {
    try {
      const fresh = (await fetched()).querySelector("[data-retry]");
      button.hidden = fresh === null || fresh.hidden;
    } catch {
      button.hidden = false; // the server says it where it is pressed
    }
  }

  function progress(job) {
    const { done, total } = job.progress;
    const known = typeof done === "number" && total !== 0;
    find("progress").hidden = !known;
    if (!known) return;
    const bar = page.querySelector("progress");
    if (total > 0) {
      bar.max = total;
      bar.value = done;
    } else {
      bar.removeAttribute("value");
    }
    find("count").textContent = typeof total === "number" ? `${done} of ${total}` : String(done);
    find("left").textContent = job.expected_at === null ? "" : remaining(job.expected_at - Date.now() / 1000);
  }

  function log(told) {
    const list = find("log");
    const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 24;
    find("empty")?.remove();
    const line = document.createElement("li");
    const time = document.createElement("time");
    time.textContent = moment(told.created_at);
    line.append(time, ` ${told.data.message ?? ""}`);
    list.append(line);
    while (list.children.length > LOGGED) list.firstElementChild.remove();
    if (atEnd) follow(list);
  }

  function measure(told) {
    for (const [name, value] of Object.entries(told.data)) {
      if (typeof value !== "number") continue;
      const line = points.get(name) ?? [];
      line.push([told.created_at, value]);
      if (line.length > DRAWN) line.shift();
      points.set(name, line);
      draw(page, name, line);
    }
    find("plots").hidden = points.size === 0;
  }
}

// --- what only the server renders, such as the batch of a job: taken anew, at most every two seconds ---

let renewing = false;
let stale = false;

async function renew() {
  stale = true;
  if (renewing || !document.querySelector("[data-fresh]")) return;
  renewing = true;
  while (stale) {
    stale = false;
    try {
      const page = await fetched();
      for (const old of document.querySelectorAll("[data-fresh]")) {
        const fresh = page.querySelector(`[data-fresh="${old.dataset.fresh}"]`);
        if (fresh) old.replaceWith(fresh);
      }
    } catch {
      // it is taken with the next word of the job
    }
    await new Promise((resolve) => setTimeout(resolve, RENEWS));
  }
  renewing = false;
}

async function fetched() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

function follow(list) {
  list.scrollTop = list.scrollHeight;
}

// --- plots ---

function draw(page, name, line) {
  const figure = figureOf(page.querySelector("[data-plots]"), name);
  const times = line.map(([time]) => time);
  const values = line.map(([, value]) => value);
  const [first, last] = [times[0], times.at(-1)];
  const high = Math.max(...values, 0);
  const low = Math.min(...values, 0);
  const x = (time) => (last > first ? ((time - first) / (last - first)) * WIDTH : WIDTH);
  const y = (value) => 4 + (1 - (value - low) / (high - low || 1)) * (HEIGHT - 8);
  const path = line.map(([time, value]) => `${x(time).toFixed(1)},${y(value).toFixed(1)}`);
  if (line.length === 1) path.unshift(`0,${y(values[0]).toFixed(1)}`); // one point alone would not be seen
  figure.querySelector("polyline").setAttribute("points", path.join(" "));
  figure.querySelector("[data-latest]").textContent = short(values.at(-1));
  const [from, until] = figure.querySelectorAll(".job-range span");
  from.textContent = `${clock(first)} – ${clock(last)}`;
  until.textContent = `${short(low)} to ${short(high)}`;
}

function figureOf(plots, name) {
  let figure = [...plots.children].find((found) => found.dataset.plot === name);
  if (!figure) {
    figure = made("figure", plots);
    figure.dataset.plot = name;
    const title = made("figcaption", figure);
    title.append(`${name.replaceAll("_", " ")} `);
    made("strong", title).dataset.latest = "";
  }
  if (!figure.querySelector("svg")) {
    const picture = document.createElementNS(SVG, "svg");
    picture.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    picture.setAttribute("preserveAspectRatio", "none");
    picture.setAttribute("role", "img");
    picture.setAttribute("aria-label", name.replaceAll("_", " "));
    picture.append(document.createElementNS(SVG, "polyline"));
    figure.append(picture);
    const range = made("div", figure);
    range.className = "job-range";
    made("span", range);
    made("span", range);
  }
  return figure;
}

function made(tag, inside) {
  const element = document.createElement(tag);
  inside.append(element);
  return element;
}

// --- words ---

function short(value) {
  return String(Number(value.toPrecision(4)));
}

function moment(seconds) {
  return seconds === null ? "–" : `${new Date(seconds * 1000).toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

function clock(seconds) {
  return moment(seconds).slice(11, 19);
}

function remaining(seconds) {
  const all = Math.max(0, Math.round(seconds));
  const minutes = Math.floor(all / 60);
  if (minutes === 0) return `about ${all} s left`;
  return minutes < 60 ? `about ${minutes} min left` : `about ${Math.floor(minutes / 60)} h ${minutes % 60} min left`;
}
