// The photos of a project: table or grid, sorting by a list, and what is done with chosen photos.

const { words } = JSON.parse(document.getElementById("data").textContent);
const find = (selector) => document.querySelector(selector);
const box = find("[data-widget=table]");

async function remove(photos, question, tell) {
  if (!confirm(question.replace("{count}", photos.length))) return;
  let left = photos.length;
  for (const photo of photos) {
    const answer = await fetch(`/api/photos/${photo}`, { method: "DELETE" }).catch(() => null);
    if (!answer || (!answer.ok && answer.status !== 404)) {
      const reason = (await answer?.json().catch(() => null))?.error ?? "–";
      tell(words.not_deleted.replace("{count}", left).replace("{reason}", reason));
      return;
    }
    left -= 1;
  }
  location.reload();
}

for (const button of document.querySelectorAll(".delete-all")) {
  button.addEventListener("click", () => remove(button.dataset.photos.split(" "), words.delete_question, alert));
}

if (box) {
  const table = box.querySelector("table");
  const heads = [...table.tHead.rows[0].cells];
  const places = heads.map((head) => head.textContent.trim());
  const sort = find("#sort");
  const chosen = () => [...document.querySelectorAll(".choose:checked")].map((one) => one.value);

  // What a card of the grid shows beside the photo: scores, the place in the moment, and what is sorted by
  const cards = () => {
    const sorted = heads.findIndex((head) => head.hasAttribute("aria-sort"));
    for (const row of table.tBodies[0].rows) {
      [...row.cells].forEach((cell, column) => {
        const shown = column > 0 && (column === sorted || cell.dataset.card !== undefined);
        cell.classList.toggle("on-card", shown);
        if (shown) cell.dataset.title = places[column];
      });
    }
    if (sorted >= 0) sort.value = String(sorted);
  };
  heads.forEach((head, column) => sort.append(element("option", { value: column }, places[column])));
  table.tHead.addEventListener("click", () => setTimeout(cards));
  sort.addEventListener("change", () => {
    const head = heads[sort.value];
    const group = [...box.querySelectorAll(".groups input")].find((one) => one.value === head.dataset.group);
    if (group && !group.checked) group.click();
    head.querySelector("button").click();
  });
  find("#turn").addEventListener("click", () => heads[sort.value].querySelector("button").click());
  cards();

  const view = (name) => {
    box.classList.toggle("as-grid", name === "grid");
    document.querySelector(`[name=view][value=${name}]`).checked = true;
  };
  for (const radio of document.querySelectorAll("[name=view]")) {
    radio.addEventListener("change", () => {
      view(radio.value);
      try {
        localStorage.setItem("piqa-view", radio.value);
      } catch { /* the browser keeps nothing */ }
    });
  }
  try {
    if (localStorage.getItem("piqa-view") === "grid") view("grid");
  } catch { /* likewise */ }

  const count = find("#count");
  const tell = () => {
    const number = chosen().length;
    count.textContent = count.dataset.words.replace("{count}", number);
    find("#compare").disabled = number !== 2;
    find("#delete").disabled = number === 0;
  };
  table.addEventListener("change", tell);
  find("#compare").addEventListener("click", () => {
    const [a, b] = chosen();
    location.href = `/two?a=${a}&b=${b}`;
  });
  find("#delete").addEventListener("click", () => remove(chosen(), words.delete_question, (text) => (count.textContent = text)));
  tell();
}
