// The table of a model's homes: without this script it has one empty line; with it, as many as are wanted.
for (const table of document.querySelectorAll("[data-homes]")) {
  const add = table.querySelector("[data-add]");
  if (!add) continue;
  const lines = table.querySelector("tbody");
  const empty = lines.lastElementChild.cloneNode(true);
  const first = lines.children.length;
  add.hidden = false;
  add.addEventListener("click", () => {
    const number = lines.children.length + 1;
    const line = empty.cloneNode(true);
    for (const field of line.querySelectorAll("[name]")) {
      field.name = field.name.replace(`-${first}-`, `-${number}-`);
      field.removeAttribute("id");
      field.setAttribute("aria-label", field.getAttribute("aria-label").replace(/\d+$/, number));
    }
    lines.append(line);
    line.querySelector("select").focus();
  });
}
