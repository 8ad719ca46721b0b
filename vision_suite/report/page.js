"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const key = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.value === undefined ? cell.textContent.trim() : Number(cell.dataset.value);
  };
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const way = head.getAttribute("aria-sort") === "descending" ? 1 : -1;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", way === 1 ? "ascending" : "descending");
      const compare = (a, b) => {
        const [one, two] = [key(a, column), key(b, column)];
        if (typeof one === "string") return -way * one.localeCompare(two, "en", { numeric: true });
        return Number.isNaN(one) - Number.isNaN(two) || way * (one - two) || 0;
      };
      body.append(...[...body.rows].sort(compare));
    });
  });
}
