
"use strict";
const UNITS = { k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15, E: 1e18, min: 60, h: 3600 };

/* The number a cell begins with, in its basic unit; texts stay texts, and what is missing is undefined. */
function keyOf(cell, isNumber) {
  const text = cell.textContent.trim().replace("\u2212", "-");
  if (text === "\u2013" || text === "") return undefined;
  if (!isNumber) return text.toLowerCase();
  const found = /^([+-]?\d[\d,]*\.?\d*)\s?([A-Za-z]*)/.exec(text);
  return found ? Number(found[1].replaceAll(",", "")) * (UNITS[found[2]] ?? 1) : undefined;
}

const WORDS = new Intl.Collator("en", { numeric: true });

function compare(a, b) {
  return typeof a === "string" ? WORDS.compare(a, b) : a - b;
}

/* Sort the rows of each group by one column; what is missing comes last, and the third click restores the order. */
function sortBy(table, header, index, isNumber) {
  const first = isNumber ? "descending" : "ascending";
  const other = isNumber ? "ascending" : "descending";
  const now = header.getAttribute("aria-sort");
  const next = now === first ? other : now === other ? "none" : first;
  for (const one of table.querySelectorAll("th[aria-sort]")) one.setAttribute("aria-sort", "none");
  header.setAttribute("aria-sort", next);
  const sign = next === "descending" ? -1 : 1;
  for (const body of [...table.tBodies]) {
    const rows = [...body.rows];
    rows.forEach((row, position) => { row.position ??= position; });
    const keyed = rows.map((row) => [keyOf(row.cells[index], isNumber), row]);
    keyed.sort(([a, one], [b, another]) => {
      if (next === "none") return one.position - another.position;
      if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
      return sign * compare(a, b) || one.position - another.position;
    });
    /* Out of the document, where moving rows costs no layout. */
    const following = body.nextSibling;
    body.remove();
    body.append(...keyed.map(([, row]) => row));
    table.insertBefore(body, following);
  }
}

function makeSortable(table) {
  const [upper, lower] = table.tHead.rows;
  const isGrouped = upper.querySelector("th[scope=colgroup]") !== null;
  const headers = isGrouped ? [...upper.querySelectorAll("th[scope=col]"), ...lower.cells] : [...upper.cells];
  headers.forEach((header, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    header.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => sortBy(table, header, index, header.classList.contains("number")));
  });
}

function makeFilter(table) {
  const rows = [...table.tBodies].flatMap((body) => [...body.rows]);
  if (rows.length < 8) return;
  const bar = document.createElement("div"), label = document.createElement("label");
  const input = document.createElement("input"), count = document.createElement("output");
  bar.className = "filter";
  input.type = "search";
  label.append("Filter rows ", input);
  bar.append(label, count);
  table.parentElement.before(bar);
  const texts = new Map();
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      if (!texts.has(row)) texts.set(row, row.textContent.toLowerCase());
      row.hidden = !words.every((word) => texts.get(row).includes(word));
      shown += !row.hidden;
    }
    count.textContent = words.length ? `${shown} of ${rows.length} rows` : "";
  });
}

/* Open what hides the row that a link leads to. */
function reveal() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  target.hidden = false;
  for (let element = target; element; element = element.parentElement) if (element.tagName === "DETAILS") element.open = true;
  target.scrollIntoView({ block: "center" });
}

for (const table of document.querySelectorAll("table")) {
  if (!("sortable" in table.dataset)) continue;
  makeSortable(table);
  makeFilter(table);
}
addEventListener("hashchange", reveal);
reveal();

let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  for (const one of closed) one.open = true;
});
addEventListener("afterprint", () => { for (const one of closed) one.open = false; });
