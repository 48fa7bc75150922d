// The contact sheet: keys, filters, two shots side by side, and choices that stay in the browser until they are exported.

const { id, moments } = JSON.parse(document.getElementById("data").textContent);
const KEY = `piqa sheet ${id}`;
const NOTHING = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA=";
const byId = (name) => document.getElementById(name);
const sections = [...document.querySelectorAll(".moment")];
const items = sections.map((section) => [...section.querySelectorAll(".shot")]);
const picks = moments.map((moment) => moment.shots.map((shot) => shot[1]));
const labels = items.map((shots) => shots.map((item) => item.querySelector(".open").getAttribute("aria-label")));
const base = (file) => file.slice(file.lastIndexOf("/") + 1);
const isChanged = (m, s) => picks[m][s] !== moments[m].shots[s][1];
const isTouched = (m) => picks[m].some((_, s) => isChanged(m, s));
let here = [0, 0]; // the moment and the shot that the keys act on

// Choices

function paint(m, s) {
  const item = items[m][s];
  const picked = picks[m][s] === 1;
  item.classList.toggle("picked", picked);
  item.classList.toggle("changed", isChanged(m, s));
  item.querySelector(".pick").checked = picked;
  item.querySelector(".open").setAttribute("aria-label", labels[m][s] + (picked ? ", picked" : ""));
}

function load() {
  try {
    for (const [m, kept] of Object.entries(JSON.parse(localStorage.getItem(KEY) ?? "{}"))) {
      if (picks[m]?.length === kept.length) picks[m] = [...kept].map(Number);
    }
  } catch { /* nothing is kept where the browser does not allow it */ }
}

function save() {
  const kept = {};
  moments.forEach((_, m) => { if (isTouched(m)) kept[m] = picks[m].join(""); });
  try {
    if (Object.keys(kept).length) localStorage.setItem(KEY, JSON.stringify(kept));
    else localStorage.removeItem(KEY);
  } catch { /* the choices last as long as the page */ }
}

function choose(m, wanted) { // `wanted`: a value for each shot of the moment
  picks[m] = wanted;
  wanted.forEach((_, s) => paint(m, s));
  save();
  count();
  if (compare.open) caption();
}

function pick(m, s) {
  choose(m, picks[m].map((value, other) => (other === s ? 1 - value : value)));
}

function pickOnly(m, s) {
  choose(m, picks[m].map((_, other) => (other === s ? 1 : 0)));
}

function count() {
  const shown = sections.filter((section) => !section.hidden).length;
  const all = picks.flat();
  const changed = picks.reduce((sum, shots, m) => sum + shots.filter((_, s) => isChanged(m, s)).length, 0);
  const of = shown === moments.length ? `${shown}` : `${shown} of ${moments.length}`;
  const words = [`${of} moments`, `${all.length} shots`, `${all.filter(Boolean).length} picks`];
  if (changed) words.push(`${changed} changed by you`);
  byId("count").textContent = words.join(", ");
  byId("reset").hidden = !changed;
  byId("nothing").hidden = shown > 0;
}

// A cell of CSV, with an apostrophe in front where a spreadsheet might run it; piqa's reader takes that away again.
function cell(text) {
  const safe = /^'*[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

function download() {
  const rows = moments.flatMap((moment, m) => moment.shots.map(([file], s) => `${cell(file)},${cell(moment.name)},${picks[m][s]}\n`));
  const address = URL.createObjectURL(new Blob(["file,moment,pick\n", ...rows], { type: "text/csv" }));
  element("a", { href: address, download: "choices.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

// Filters

const search = byId("search");
const texts = moments.map((moment) => [moment.name, ...moment.shots.map((shot) => shot[0])].join("\n").toLowerCase());

function filter() {
  const words = search.value.trim().toLowerCase();
  const folder = byId("folder")?.value ?? "";
  sections.forEach((section, m) => {
    const fits = texts[m].includes(words) && (!folder || section.dataset.folder === folder.slice(1));
    section.hidden = !fits || (byId("undecided").checked && (!moments[m].close || isTouched(m)));
  });
  if (sections[here[0]].hidden) place(nextMoment(-1, 1) ?? here[0], 0);
  count();
}

// Where the keys act: one shot of the page is reached by Tab

function place(m, s) {
  tabStops("-1");
  here = [m, s];
  tabStops("0");
}

function tabStops(value) {
  for (const stop of items[here[0]][here[1]].querySelectorAll(".open, .pick")) stop.setAttribute("tabindex", value);
}

function focusShot(m, s) {
  place(m, s);
  const target = items[m][s].querySelector(".open");
  target.focus({ preventScroll: true });
  items[m][s].scrollIntoView({ block: "nearest" });
}

function nextMoment(from, step) { // the next one that the filters show; null at the end
  for (let m = from + step; m >= 0 && m < sections.length; m += step) if (!sections[m].hidden) return m;
  return null;
}

function move(m, s) {
  if (m !== null && moments[m].shots[s]) focusShot(m, s);
}

const moves = {
  ArrowLeft: () => move(here[0], here[1] - 1),
  ArrowRight: () => move(here[0], here[1] + 1),
  ArrowUp: () => move(nextMoment(here[0], -1), 0),
  ArrowDown: () => move(nextMoment(here[0], 1), 0),
  Home: () => move(nextMoment(-1, 1), 0),
  End: () => move(nextMoment(sections.length, -1), 0),
};

// Two shots side by side

const compare = byId("compare");
const viewer = compare.querySelector(".viewer");
const sides = [...compare.querySelectorAll(".side")];
let [shown, side] = [[0, 0], 0]; // the shots of the sides, and the side that the keys act on

function open(m, s) {
  focusShot(m, s);
  compare.showModal();
  show(m, s);
}

function show(m, s) { // a shot, beside the best of the others
  here = [m, here[0] === m ? here[1] : 0];
  const other = s === 0 ? 1 : 0;
  const alone = moments[m].shots.length < 2;
  shown = alone ? [s, s] : [Math.min(s, other), Math.max(s, other)];
  sides[1].hidden = alone;
  compare.querySelector(".panes").classList.toggle("one", alone);
  byId("compared").textContent = moments[m].name;
  select(alone ? 0 : shown.indexOf(s));
  fill(true);
  sides[side].querySelector(".pane").focus({ preventScroll: true });
}

function fill(whole) { // put the images into the panes; `whole`: from the start, not with the zoom as it is
  sides.forEach((figure, at) => {
    const [file, , image] = moments[here[0]].shots[shown[at]];
    const pane = figure.querySelector(".pane");
    const picture = pane.querySelector("img");
    const [address, width, height] = image ?? [NOTHING, 1, 1];
    pane.dataset.size = `${width} ${height}`;
    if (picture.getAttribute("src") !== address) picture.src = address;
    picture.alt = image ? base(file) : "";
    pane.setAttribute("aria-label", `Image ${"AB"[at]}: ${base(file)}. Arrows show other shots, plus and minus zoom, Shift and arrows move`);
  });
  caption();
  if (whole) viewer.dataset.sharp = "0";
  viewer.dispatchEvent(new CustomEvent("change-images", { detail: { whole } }));
}

function caption() {
  const [m] = here;
  sides.forEach((figure, at) => {
    const s = shown[at];
    const picture = moments[m].shots[s][2];
    const words = [...items[m][s].querySelectorAll(".place, .reason")].map((one) => one.textContent);
    figure.querySelector(".name").textContent = base(moments[m].shots[s][0]);
    figure.querySelector(".about").textContent = [...words, picture ? `${picture[1]} × ${picture[2]} pixels here` : "no image can be shown"].join("; ");
    figure.querySelector(".pick").checked = picks[m][s] === 1;
  });
}

function select(at) {
  side = at;
  sides.forEach((figure, other) => {
    if (other === at) figure.setAttribute("aria-current", "true");
    else figure.removeAttribute("aria-current");
  });
}

function step(by) { // another shot on this side; the other side's is left out
  const shots = moments[here[0]].shots.length;
  let next = shown[side] + by;
  if (!sides[1].hidden && next === shown[1 - side]) next += by;
  if (next < 0 || next >= shots || (sides[1].hidden && shots < 2)) return;
  shown[side] = next;
  fill(false);
}

function toMoment(m) {
  if (m !== null) show(m, 0);
}

function zoom() {
  const sharp = viewer.dataset.sharp === "1";
  viewer.dataset.sharp = sharp ? "0" : "1";
  viewer.querySelector(`[data-zoom=${sharp ? "whole" : "pixels"}]`).click();
}

const inViewer = {
  ArrowLeft: () => step(-1),
  ArrowRight: () => step(1),
  ArrowUp: () => toMoment(nextMoment(here[0], -1)),
  ArrowDown: () => toMoment(nextMoment(here[0], 1)),
  Home: () => toMoment(nextMoment(-1, 1)),
  End: () => toMoment(nextMoment(sections.length, -1)),
  p: () => pick(here[0], shown[side]),
  o: () => pickOnly(here[0], shown[side]),
  z: zoom,
  " ": () => compare.close(),
};

const onPage = {
  ...moves,
  p: () => pick(...here),
  o: () => pickOnly(...here),
  z: () => { open(...here); zoom(); },
  " ": () => open(...here),
  "/": () => search.focus(),
};

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("legend").open) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const writes = event.target.matches("input[type=search]") || (event.target.closest(".bar") && !"/?".includes(key));
  const clicks = event.target.matches("button, input") && (key === " " || key === "Enter");
  if (writes || clicks) return;
  if ((event.shiftKey && key.startsWith("Arrow")) || "+=-01".includes(key)) { // keys of the panes
    const pane = sides[side].querySelector(".pane");
    if (compare.open && !event.target.closest(".pane")) pane.dispatchEvent(new KeyboardEvent("keydown", { key: event.key, shiftKey: event.shiftKey }));
    return;
  }
  const action = key === "?" ? () => byId("legend").showModal() : (compare.open ? inViewer : onPage)[key];
  if (!action) return;
  event.preventDefault();
  event.stopPropagation(); // the panes have keys of their own
  action();
}

document.addEventListener("keydown", pressed, { capture: true });
sections.forEach((section, m) => {
  section.addEventListener("click", (event) => {
    const s = items[m].indexOf(event.target.closest(".shot"));
    if (s >= 0 && event.target.closest(".open")) open(m, s);
  });
  section.addEventListener("change", (event) => {
    const s = items[m].indexOf(event.target.closest(".shot"));
    place(m, s);
    pick(m, s);
  });
});
sides.forEach((figure, at) => {
  figure.addEventListener("focusin", () => select(at));
  figure.addEventListener("pointerdown", () => select(at));
  figure.querySelector(".pick").addEventListener("change", () => pick(here[0], shown[at]));
});
compare.addEventListener("close", () => focusShot(here[0], shown[side]));
viewer.querySelector("[data-zoom=whole]").addEventListener("click", () => (viewer.dataset.sharp = "0"));
viewer.querySelector("[data-zoom=pixels]").addEventListener("click", () => (viewer.dataset.sharp = "1"));
byId("close").addEventListener("click", () => compare.close());
for (const name of ["keys", "help"]) byId(name).addEventListener("click", () => byId("legend").showModal());
byId("export").addEventListener("click", download);
byId("reset").addEventListener("click", () => {
  if (confirm("Give up all changes of picks that you made here?")) moments.forEach((moment, m) => choose(m, moment.shots.map((shot) => shot[1])));
});
for (const name of ["search", "folder", "undecided"]) byId(name)?.addEventListener("input", filter);

load();
picks.forEach((shots, m) => shots.forEach((value, s) => { if (value || isChanged(m, s)) paint(m, s); }));
place(0, 0);
count();
