// The page of a vector store: files are sent with their progress, and how they are read is told without reloading.
const AT_ONCE = 2; // files that are sent side by side
const TOGETHER = 20; // files that are attached at once
const SOON = 1000; // milliseconds between two looks while files are read, and else
const LATER = 5000;

for (const page of document.querySelectorAll("[data-store]")) live(page);

function live(page) {
  const find = (name) => page.querySelector(`[data-${name}]`);
  const token = page.querySelector("[name=csrfmiddlewaretoken]").value;
  const follow = following(page, find);
  const press = pressing(find, token, follow);

  page.addEventListener("submit", (event) => {
    if (event.target.matches("[data-search]")) {
      event.preventDefault();
      search(event.target, find("searches"));
    } else if (event.target.matches("[data-buttons]")) {
      event.preventDefault();
      press(event.target, event.submitter);
    }
  });
  if (find("drop")) sending(page, find, token, follow);
}

// --- how the files are ---

function following(page, find) {
  let shown = new URLSearchParams(location.search).get("files") ?? "";
  let last = "";
  let timer = 0;
  let asked = 0;

  page.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-files]");
    if (!link) return;
    event.preventDefault();
    shown = link.dataset.files;
    look();
  });
  document.addEventListener("visibilitychange", () => document.hidden || look());
  timer = setTimeout(look, find("under-way").hidden ? LATER : SOON);
  return look;

  async function look() {
    clearTimeout(timer);
    const mine = ++asked;
    let live = false;
    try {
      const answer = await fetch(`${page.dataset.filesFrom}?files=${encodeURIComponent(shown)}`);
      if (mine !== asked) return; // another look has begun since
      live = answer.ok && !answer.redirected;
      if (live) draw(await answer.text());
      tell(live ? "" : "Not live: reload this page");
    } catch {
      if (mine === asked) tell("Not live: the server cannot be reached");
    }
    if (mine !== asked) return;
    timer = setTimeout(() => document.hidden || look(), live && !find("under-way").hidden ? SOON : LATER);
  }

  function draw(text) {
    if (text === last) return;
    last = text;
    const held = document.activeElement?.getAttribute("aria-label");
    find("listed").innerHTML = text;
    // Whoever stands on a button keeps their place.
    if (held) [...find("listed").querySelectorAll("button")].find((b) => b.ariaLabel === held)?.focus();
  }

  function tell(text) {
    find("live").textContent = text;
    find("live").toggleAttribute("data-off", text !== "");
  }
}

// --- its buttons ---

function pressing(find, token, follow) {
  return async (form, button) => {
    const body = new URLSearchParams();
    for (const [name, value] of new FormData(form, button)) if (name !== "csrfmiddlewaretoken") body.append(name, value);
    button.disabled = true;
    const problem = await post(button.getAttribute("formaction") ?? form.action, body, token);
    button.disabled = false;
    find("wrong").textContent = problem;
    find("wrong").hidden = problem === "";
    if (problem === "" && form.elements.file_id?.list) form.reset();
    await follow();
  };
}

/** Why it could not be done; empty where it was. */
async function post(address, body, token) {
  try {
    const headers = { "X-CSRFToken": token, Accept: "application/json" };
    const answer = await fetch(address, { method: "POST", body, headers });
    return answer.ok && !answer.redirected ? "" : problem(answer.status, await answer.text());
  } catch {
    return "The server cannot be reached.";
  }
}

function problem(status, text) {
  try {
    return JSON.parse(text).error.message;
  } catch {
    return status === 403 ? "You may not do this any more: reload this page." : `The server answered ${status}.`;
  }
}

// --- a search ---

async function search(form, into) {
  const query = new URLSearchParams(new FormData(form));
  const address = `${location.pathname}?${query}`;
  into.ariaBusy = "true";
  try {
    const answer = await fetch(address);
    const found = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("[data-searches]");
    if (!found) throw new Error(String(answer.status));
    into.replaceChildren(...found.children);
    history.replaceState(null, "", address);
  } catch {
    into.textContent = "The server did not answer: search again.";
  } finally {
    into.ariaBusy = "false";
  }
}

// --- files that are sent ---

function sending(page, find, token, follow) {
  const drop = find("drop");
  const { upload, attach } = drop.dataset;
  const largest = Number(drop.dataset.largest);
  let room = Number(drop.dataset.room);
  let all = []; // that were chosen and not refused
  const waiting = [];
  const under = new Set();
  let kept = []; // that were sent, and are not attached yet
  let attaching = false;

  find("choose").hasChangeListener = true; // else the theme adds one, which looks for a field beside it
  find("choose").addEventListener("change", ({ target }) => {
    add(target.files);
    target.value = "";
  });
  for (const name of ["dragenter", "dragover"]) drop.addEventListener(name, (event) => over(event, true));
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, (event) => over(event, false));
  drop.addEventListener("drop", (event) => add(event.dataTransfer.files));
  find("stop").addEventListener("click", stop);
  addEventListener("beforeunload", (event) => busy() && event.preventDefault());

  function over(event, over) {
    event.preventDefault();
    drop.toggleAttribute("data-over", over);
  }

  function busy() {
    return waiting.length > 0 || under.size > 0 || attaching;
  }

  function add(files) {
    if (!busy()) {
      all = [];
      find("lines").replaceChildren();
    }
    for (const file of files) {
      const item = { file, sent: 0, line: line(find("lines"), file) };
      const wrong = refusal(file);
      if (wrong) {
        fail(item, wrong);
      } else {
        room -= 1;
        all.push(item);
        waiting.push(item);
      }
    }
    find("sending").hidden = false;
    next();
  }

  /** What the server would say, before a byte is sent. */
  function refusal(file) {
    if (file.size === 0) return "The file is empty.";
    if (file.size > largest) return `The file has ${bytes(file.size)}, and ${bytes(largest)} may be sent.`;
    return room > 0 ? "" : "This vector store has no room for more files.";
  }

  function next() {
    while (under.size < AT_ONCE && waiting.length) send(waiting.shift());
    const over = waiting.length === 0 && under.size === 0;
    if (!attaching && (kept.length >= TOGETHER || (over && kept.length))) attachSome();
    tell();
  }

  function send(item) {
    const form = new FormData();
    form.append("purpose", "assistants");
    form.append("file", item.file);
    const request = new XMLHttpRequest();
    item.request = request;
    under.add(item);
    request.open("POST", upload);
    request.setRequestHeader("X-CSRFToken", token);
    request.setRequestHeader("Accept", "application/json");
    request.upload.addEventListener("progress", ({ loaded, total }) => {
      item.sent = total ? (loaded / total) * item.file.size : 0;
      item.line.bar.value = item.sent;
      tell();
    });
    request.addEventListener("loadend", () => {
      under.delete(item);
      end(item, request);
      next();
    });
    request.send(form);
  }

  function end(item, request) {
    if (request.status === 200 && request.getResponseHeader("Content-Type")?.startsWith("application/json")) {
      item.sent = item.file.size;
      item.line.told.textContent = "sent";
      item.line.bar.value = item.sent;
      kept.push({ item, id: JSON.parse(request.responseText).id });
    } else if (request.status === 0) {
      fail(item, item.stopped ? "Not sent: it was stopped." : "The server cannot be reached.");
    } else {
      fail(item, problem(request.status, request.responseText));
    }
  }

  /** From here on they stand in the list of files, which tells how they are read. */
  async function attachSome() {
    attaching = true;
    const some = kept.slice(0, TOGETHER);
    kept = kept.slice(TOGETHER);
    const body = new URLSearchParams(some.map(({ id }) => ["file_id", id]));
    const wrong = await post(attach, body, token);
    for (const { item } of some) wrong ? fail(item, wrong) : item.line.row.remove();
    attaching = false;
    await follow();
    next();
  }

  function fail(item, text) {
    const { row, bar, told } = item.line;
    if (all.includes(item)) {
      all = all.filter((other) => other !== item);
      room += 1;
    }
    bar.remove();
    told.textContent = "not sent";
    const error = document.createElement("p");
    error.className = "job-error";
    error.setAttribute("role", "alert");
    error.textContent = text;
    row.append(error);
  }

  function stop() {
    for (const item of waiting.splice(0)) fail(item, "Not sent: it was stopped.");
    for (const item of under) {
      item.stopped = true;
      item.request.abort();
    }
    next();
  }

  function tell() {
    const size = all.reduce((sum, { file }) => sum + file.size, 0);
    const sent = all.reduce((sum, item) => sum + item.sent, 0);
    const done = all.filter(({ file, sent }) => sent === file.size).length;
    find("sent").max = size || 1;
    find("sent").value = sent;
    find("sent").hidden = find("sent-told").hidden = all.length === 0;
    find("sent-told").textContent = `${bytes(sent)} of ${bytes(size)} sent, ${done} of ${all.length} files`;
    find("stop").hidden = waiting.length === 0 && under.size === 0;
    find("sending").hidden = !busy() && !find("lines").children.length && kept.length === 0;
  }
}

function line(list, file) {
  const row = document.createElement("li");
  const name = document.createElement("span");
  name.className = "store-name";
  name.textContent = file.name;
  const bar = document.createElement("progress");
  bar.className = "job-bar";
  bar.max = file.size || 1;
  bar.value = 0;
  bar.ariaLabel = `Sending ${file.name}`;
  const told = document.createElement("span");
  told.className = "store-faint";
  told.textContent = bytes(file.size);
  row.append(name, bar, told);
  list.append(row);
  return { row, bar, told };
}

/** As Django writes sizes. */
function bytes(count) {
  const units = ["bytes", "KB", "MB", "GB"];
  let unit = 0;
  while (count >= 1024 && unit < units.length - 1) {
    count /= 1024;
    unit += 1;
  }
  return `${unit ? count.toFixed(1) : Math.round(count)} ${units[unit]}`;
}
