"use strict";
const WAYS = { "-1": "descending", 1: "ascending" };
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const rows = [...table.tBodies[0].rows];
  heads.forEach((head, column) => {
    const values = new Map(rows.map((row) => [row, row.cells[column].dataset.value]));
    const isText = [...values.values()].every((value) => value === undefined);
    const compare = (a, b) => {
      if (isText) return a.cells[column].textContent.localeCompare(b.cells[column].textContent, "en", { numeric: true });
      return Number(values.get(a)) - Number(values.get(b));
    };
    const missing = (row) => !isText && Number.isNaN(Number(values.get(row)));
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const before = head.getAttribute("aria-sort");
      const way = before ? (before === WAYS[1] ? -1 : 1) : isText ? 1 : -1;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", WAYS[way]);
      table.tBodies[0].append(...rows.sort((a, b) => missing(a) - missing(b) || way * compare(a, b) || 0));
    });
  });
}
