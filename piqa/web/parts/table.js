// Tables: sorted by the buttons in their heads, searched, and filtered column by column.

const ENGLISH = { contains: "contains", from: "from", to: "to", rows: "{count} rows", some: "{shown} of {count} rows" };

function cellValue(row, column) {
  const cell = row.cells[column];
  const text = cell.dataset.value ?? cell.textContent.trim();
  const value = text === "" || text === "–" || text === "nan" ? null : Number(text);
  return Number.isNaN(value) ? text : value;
}

function compare(a, b) {
  return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
}

function sortBy(table, column) {
  const head = table.tHead.rows[0].cells[column];
  const first = head.classList.contains("text") ? "ascending" : "descending";
  const second = first === "ascending" ? "descending" : "ascending";
  const direction = head.getAttribute("aria-sort") === first ? second : first;
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", direction);
  const sign = direction === "ascending" ? 1 : -1;
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => [cellValue(row, column), row]);
  rows.sort(([a], [b]) => (a === null ? (b === null ? 0 : 1) : b === null ? -1 : sign * compare(a, b))); // unknown last
  body.append(...rows.map(([, row]) => row));
}

// The fields below a head: a part of the text, or the least and the greatest number

function filterFields(head, title, words) {
  const cell = element("td", { class: head.className, "data-title": title });
  const field = (placeholder, label, type) => {
    const input = element("input", { type, placeholder, "aria-label": label, autocomplete: "off" });
    if (type === "number") input.step = "any";
    cell.append(input);
    return input;
  };
  if (head.classList.contains("image")) return [cell, () => null];
  if (head.classList.contains("text")) {
    const input = field(words.contains, `${title} ${words.contains}`, "search");
    return [cell, () => containing(input.value)];
  }
  const low = field(words.from, `${title} ${words.from}`, "number");
  const high = field(words.to, `${title} ${words.to}`, "number");
  return [cell, () => between(low.value, high.value)];
}

function containing(text) {
  const wanted = text.trim().toLowerCase();
  return wanted === "" ? null : (value) => value !== null && String(value).toLowerCase().includes(wanted);
}

function between(low, high) {
  if (low === "" && high === "") return null;
  const [from, to] = [low === "" ? -Infinity : Number(low), high === "" ? Infinity : Number(high)];
  return (value) => typeof value === "number" && value >= from && value <= to;
}

function makeFilters(box, table) {
  const heads = [...table.tHead.rows[0].cells];
  const rows = [...table.tBodies[0].rows];
  const wordy = [...heads.keys()].filter((column) => heads[column].classList.contains("text"));
  const texts = rows.map((row) => wordy.map((column) => row.cells[column].textContent).join(" ").toLowerCase());
  const search = box.querySelector(".search");
  const count = box.querySelector(".count");
  const reset = box.querySelector(".reset");
  const opener = box.querySelector(".show-filters");
  const words = { ...ENGLISH, ...JSON.parse(box.dataset.words ?? "{}") };
  const line = element("tr", { class: "filters", hidden: "" });
  const fields = heads.map((head) => filterFields(head, head.textContent, words));
  line.append(...fields.map(([cell]) => cell));
  table.tHead.append(line);
  const apply = () => {
    const wanted = search.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const tests = fields.map(([, test], column) => [column, test()]).filter(([, test]) => test);
    let shown = 0;
    rows.forEach((row, i) => {
      const fits = wanted.every((word) => texts[i].includes(word)) && tests.every(([column, test]) => test(cellValue(row, column)));
      row.hidden = !fits;
      shown += fits;
    });
    const every = wanted.length === 0 && tests.length === 0;
    count.textContent = (every ? words.rows : words.some).replace("{count}", rows.length).replace("{shown}", shown);
    reset.hidden = every;
    for (const [cell, test] of fields) cell.classList.toggle("active", test() !== null);
  };
  for (const part of [search, line]) part.addEventListener("input", apply);
  opener.addEventListener("click", () => {
    line.hidden = !line.hidden;
    opener.setAttribute("aria-expanded", String(!line.hidden));
  });
  reset.addEventListener("click", () => {
    for (const input of [search, ...line.querySelectorAll("input")]) input.value = "";
    apply();
    search.focus();
  });
  apply();
}

// Columns of a group are shown or not

function makeGroups(box, table) {
  const heads = [...table.tHead.rows[0].cells];
  for (const choice of box.querySelectorAll(".groups input")) {
    const show = () => {
      heads.forEach((head, column) => {
        if (head.dataset.group !== choice.value) return;
        for (const row of table.rows) row.cells[column].hidden = !choice.checked;
      });
    };
    choice.addEventListener("change", show);
    if (!choice.checked) show();
  }
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    head.querySelector("button")?.addEventListener("click", () => sortBy(table, column));
  });
  const box = table.closest("[data-widget=table]");
  if (box && "filters" in box.dataset) makeFilters(box, table);
  if (box) makeGroups(box, table);
}
