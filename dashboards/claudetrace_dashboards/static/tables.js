// Tables sort by a click on a head, and rows that wait come by a button. The pages work without this.
"use strict";
(() => {
  const LEAST = 3;

  function value(row, place) {
    const cell = row.cells[place];
    const data = cell?.querySelector("data[value]");
    if (data) return Number(data.value);
    const time = cell?.querySelector("time");
    if (time) return Date.parse(time.dateTime);
    const text = (cell?.textContent ?? "").trim();
    const number = /^[+−-]?[$<≥ ]*[\d,.]+/.exec(text.replace("−", "-"));
    if (!number) return text === "–" || text === "" ? NaN : text.toLowerCase();
    const sizes = { k: 1e3, M: 1e6, B: 1e9, T: 1e12 };
    return Number(number[0].replace(/[^\d.-]/g, "")) * (sizes[text.at(number[0].length)] ?? 1);
  }

  function compared(one, two) {
    const [first, second] = [Number.isNaN(one), Number.isNaN(two)];
    if (first || second) return first - second;
    return typeof one === "number" && typeof two === "number" ? two - one : String(one).localeCompare(String(two));
  }

  function sort(head) {
    const table = head.closest("table");
    const [body] = table.tBodies;
    const place = head.cellIndex;
    const first = body.rows[0] && typeof value(body.rows[0], place) === "number" ? "descending" : "ascending";
    const other = first === "descending" ? "ascending" : "descending";
    const order = head.getAttribute("aria-sort") === first ? other : first;
    for (const each of head.parentElement.cells) each.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", order);
    const rows = [...body.rows];
    const shown = rows.filter((row) => !row.classList.contains("more")).length;
    const keyed = rows.map((row) => [value(row, place), row]);
    keyed.sort(([one], [two]) => compared(one, two) * (order === first ? 1 : -1));
    keyed.forEach(([, row], number) => row.classList.toggle("more", number >= shown));
    body.append(...keyed.map(([, row]) => row));
  }

  function prepare() {
    for (const table of document.querySelectorAll("main .scroll table:not([data-sorts])")) {
      table.dataset.sorts = "";
      const body = table.tBodies[0];
      // A page of a longer list is sorted by its own links, as a whole.
      const linked = table.tHead?.querySelector("a");
      if (!body || linked || body.rows.length < LEAST || table.classList.contains("steps")) continue;
      for (const head of table.tHead?.rows[0]?.cells ?? []) {
        if (!head.textContent.trim()) continue;
        const button = document.createElement("button");
        button.type = "button";
        button.className = "sort";
        button.append(...head.childNodes);
        head.append(button);
      }
    }
  }

  document.addEventListener("click", (event) => {
    if (!(event.target instanceof Element)) return;
    const head = event.target.closest("th")?.querySelector(".sort") && event.target.closest("th");
    if (head) sort(head);
    const further = event.target.closest("[data-more]");
    if (further) {
      further.previousElementSibling.querySelector("table").classList.add("whole");
      further.remove();
    }
  });
  prepare();
  new MutationObserver(prepare).observe(document.querySelector("main") ?? document.body, { childList: true, subtree: true });
})();
