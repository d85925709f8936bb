"use strict";
const table = document.getElementById("cases");
const body = table.tBodies[0];
const headings = [...table.tHead.rows[0].cells];
const filter = document.getElementById("filter");
const viewer = document.getElementById("viewer");
const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

function sortBy(column, direction) {
  const numeric = headings[column].dataset.kind === "number";
  const keyed = [...body.rows].map((row) => [row.cells[column].dataset.value, row]);
  keyed.sort(([one], [other]) => {
    if (one === "" || other === "") return (one === "") - (other === ""); // what has no value stays below
    return direction * (numeric ? parseFloat(one.replace("inf", "Infinity")) - parseFloat(other.replace("inf", "Infinity")) || 0
      : collator.compare(one, other));
  });
  body.append(...keyed.map(([, row]) => row));
  for (const heading of headings) heading.removeAttribute("aria-sort");
  headings[column].setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
}

headings.forEach((heading, column) => {
  heading.querySelector("button")?.addEventListener("click", () => {
    const now = heading.getAttribute("aria-sort");
    const first = heading.dataset.kind === "text" ? "ascending" : "descending";
    const next = now === null ? first : now === "ascending" ? "descending" : "ascending";
    sortBy(column, next === "ascending" ? 1 : -1);
  });
});

function show() {
  const wanted = filter.value.trim().toLowerCase();
  let shown = 0;
  for (const row of body.rows) {
    row.hidden = !row.textContent.toLowerCase().includes(wanted);
    shown += !row.hidden;
  }
  document.getElementById("shown").textContent = wanted ? `${shown} of ${body.rows.length}` : "";
}
filter.addEventListener("input", show);
for (const button of document.querySelectorAll("[data-filter]")) {
  button.addEventListener("click", () => {
    filter.value = filter.value === button.dataset.filter ? "" : button.dataset.filter;
    show();
    if (filter.value) table.scrollIntoView({ behavior: "smooth", block: "nearest" });
  });
}

let current = null;
function open(link) {
  current = link;
  const picture = document.getElementById("viewer-picture");
  const note = document.getElementById("viewer-note");
  const small = link.querySelector("img");
  note.textContent = "";
  document.getElementById("viewer-name").textContent = link.dataset.name;
  picture.onerror = () => { // the page was moved away from its folder
    picture.onerror = null;
    note.textContent = "the large picture is not beside this page";
    if (small) picture.src = small.src;
  };
  picture.src = link.href;
  if (!viewer.open) viewer.showModal();
}
function step(by) {
  const links = [...body.rows].filter((row) => !row.hidden).map((row) => row.querySelector("a.open")).filter(Boolean);
  const next = links[links.indexOf(current) + by];
  if (next) open(next);
}
body.addEventListener("click", (event) => {
  const link = event.target.closest("a.open");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  open(link);
});
viewer.addEventListener("click", (event) => {
  const by = event.target.dataset?.step;
  if (by === "0" || event.target === viewer) viewer.close();
  else if (by) step(Number(by));
});
viewer.addEventListener("keydown", (event) => {
  if (event.key === "ArrowRight" || event.key === "ArrowDown") step(1);
  if (event.key === "ArrowLeft" || event.key === "ArrowUp") step(-1);
});
