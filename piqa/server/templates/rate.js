// A rater's page: one question at a time. An answer is saved before the next question is shown, and a request that got
// no reply is sent again: the server counts a question once.

const { address, words, state: first } = JSON.parse(document.getElementById("data").textContent);
const find = (selector) => document.querySelector(selector);
const sections = [...document.querySelectorAll("main > section")];
const viewer = find("#viewer");
const figures = [...viewer.querySelectorAll("figure")];
const answers = [...document.querySelectorAll("[data-answer]")];
const LONGEST_WAIT = 10_000; // ms between two tries
const LONGEST = 86_400; // seconds of an answer that the server takes: who comes back days later still answers
let state = null;
let busy = false;
let zoomed = false; // by the rater, who then keeps the zoom for the next images
let shown = null; // when the images were seen, in ms, moved on by the time when the page was hidden
let hidden = null; // since when the page is hidden, after the images were seen
let preloaded = [];

function say(text, alert = false) {
  find("#status").textContent = text;
  find("#status").classList.toggle("alert", alert);
}

function filled(text, values) {
  return text.replace(/\{(\w+)\}/g, (all, name) => values[name] ?? all);
}

function open(name) {
  for (const section of sections) section.hidden = section.id !== name;
  if (name !== "judging" && name !== "begin") find(`#${name} h2`).focus();
}

async function send(what, content) {
  for (let wait = 500; ; wait = Math.min(2 * wait, LONGEST_WAIT)) {
    try {
      const reply = await fetch(`${address}/${what}`, {
        method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(content),
      });
      if (reply.ok || reply.status === 409) return await reply.json();
      if (reply.status < 500 && reply.status !== 429) {
        say(words.gone, true);
        return null;
      }
    } catch {
      // no connection: try again
    }
    say(words.not_saved, true);
    await new Promise((done) => setTimeout(done, wait));
  }
}

async function request(what, content) {
  if (busy) return null;
  busy = true;
  for (const button of answers) button.disabled = true;
  try {
    return await send(what, content);
  } finally {
    busy = false;
    for (const button of answers) button.disabled = false;
  }
}

// Questions

async function show(next) {
  state = next;
  shown = null;
  find("#advance").hidden = state.phase === "begin";
  const { done, of } = state.progress;
  find("#advance progress").max = Math.max(of, 1);
  find("#advance progress").value = done;
  find("#advance span").textContent = filled(words.progress, { done, of });
  find("#undo").disabled = find("#undo_last").hidden = state.answers === 0;
  open(state.phase === "question" ? "judging" : state.phase);
  if (state.phase === "question") await showQuestion(state.question);
}

async function showQuestion(question) {
  say(question.training ? filled(words.training, question.training) : "");
  const boxes = question.images.every((image) => image.face);
  find("#face").hidden = !boxes;
  const loaded = await Promise.all(figures.map((figure, place) => load(figure, question.images[place], boxes)));
  if (state.question?.id !== question.id) return; // another one has come meanwhile
  if (!loaded.every(Boolean)) {
    say(words.no_image, true);
    return;
  }
  viewer.dispatchEvent(new CustomEvent("change-images", { detail: { whole: !zoomed } }));
  for (const figure of figures) figure.classList.remove("loading");
  shown = performance.now();
  if (document.hidden) hidden = shown; // they are seen when the rater comes back
  viewer.dataset.question = question.id;
  preloaded = state.next.map((address) => {
    const image = new Image();
    image.src = address;
    return image;
  });
}

async function load(figure, { address: source, face }, boxed) {
  const pane = figure.querySelector(".pane");
  const image = pane.querySelector("img");
  figure.classList.add("loading"); // the image of the question before must not be judged
  image.src = source;
  try {
    await image.decode();
  } catch {
    return false;
  }
  const [width, height] = [image.naturalWidth, image.naturalHeight];
  pane.dataset.size = `${width} ${height}`;
  if (boxed) pane.dataset.box = [face[0] * width, face[1] * height, face[2] * width, face[3] * height].join(" ");
  else delete pane.dataset.box;
  return true;
}

async function answer(choice) {
  if (shown === null || state.phase !== "question" || busy) return;
  const seconds = Math.min(Math.max((performance.now() - shown) / 1000, 0), LONGEST);
  const zoom = parseFloat(figures[0].querySelector(".percent").textContent) / 100;
  const reply = await request("answers", {
    question: state.question.id, choice, seconds, zoom: Number.isFinite(zoom) ? zoom : null,
    window: [innerWidth, innerHeight], pixel_ratio: devicePixelRatio,
  });
  if (!reply) return;
  if (reply.feedback) {
    state = reply.state;
    find("#feedback h2").textContent = reply.feedback.right ? words.right : words.wrong;
    find("#feedback .text").textContent = reply.feedback.text;
    say("");
    open("feedback");
    return;
  }
  await show(reply.state);
  if (!reply.counted) say(words.elsewhere, true);
}

async function undo() {
  if (!state.answers || !["question", "done", "break"].includes(state.phase)) return;
  const reply = await request("undo", { answers: state.answers });
  if (!reply) return;
  await show(reply.state);
  say(reply.undone ? words.undone : words.elsewhere, !reply.undone);
}

async function goOn() {
  if (!find("#feedback").hidden) return show(state);
  const reply = await request("continue", {});
  return reply && show(reply.state);
}

// Keys and buttons

const open_section = () => sections.find((section) => !section.hidden)?.id;

function zoomBy(name) {
  viewer.querySelector(`[data-zoom=${name}]`).click();
}

function pan(key) {
  const inside = document.activeElement.closest?.(".pane") ?? figures[0].querySelector(".pane");
  inside.dispatchEvent(new FocusEvent("focus")); // it is the one that moves where zoom is not linked
  inside.dispatchEvent(new KeyboardEvent("keydown", { key }));
}

function keyOfQuestion(event) {
  const { key } = event;
  const lower = key.toLowerCase();
  const button = (choice) => answers.find((one) => one.dataset.answer === choice);
  if (key.startsWith("Arrow") && event.shiftKey) return () => pan(key);
  if (key === "ArrowLeft" && button("left")) return () => !event.repeat && answer("left");
  if (key === "ArrowRight" && button("right")) return () => !event.repeat && answer("right");
  if ((lower === "s" || (key === " " && event.target.tagName !== "BUTTON")) && button("same")) {
    return () => !event.repeat && answer("same");
  }
  if (/^[1-5]$/.test(key) && button(key)) return () => !event.repeat && answer(key);
  if (lower === "u") return () => !event.repeat && undo();
  const zooms = { "+": "in", "=": "in", "-": "out", 0: "whole", z: "pixels", 1: "pixels" };
  if (lower === "f" && !find("#face").hidden) return () => zoomBy("face");
  return lower in zooms ? () => zoomBy(zooms[lower]) : null;
}

document.addEventListener("keydown", (event) => {
  if (!event.isTrusted || event.ctrlKey || event.metaKey || event.altKey) return;
  let act = null;
  if (open_section() === "judging" && event.target.tagName !== "INPUT") act = keyOfQuestion(event);
  else if (["feedback", "break"].includes(open_section()) && event.target.tagName !== "BUTTON" && event.target.tagName !== "A") {
    if (["Enter", " ", "ArrowRight"].includes(event.key)) act = () => !event.repeat && goOn();
  }
  if (open_section() === "done" && event.key.toLowerCase() === "u") act = undo;
  if (!act) return;
  event.preventDefault();
  event.stopPropagation();
  act();
}, { capture: true });

for (const button of answers) {
  button.addEventListener("click", (event) => {
    if (event.detail) button.blur(); // by pointer: the next space is no second click
    answer(button.dataset.answer);
  });
}
for (const button of document.querySelectorAll("[data-go]")) button.addEventListener("click", goOn);
find("#undo").addEventListener("click", (event) => {
  if (event.detail) event.currentTarget.blur();
  undo();
});
find("#undo_last").addEventListener("click", undo);
for (const button of viewer.querySelectorAll("[data-zoom]")) {
  button.addEventListener("click", () => (zoomed = button.dataset.zoom !== "whole"));
}
for (const kind of ["wheel", "pointermove"]) {
  viewer.addEventListener(kind, (event) => { if (kind === "wheel" || event.buttons) zoomed = true; }, { passive: true });
}
find("#conditions").addEventListener("submit", async (event) => {
  event.preventDefault();
  const given = new FormData(event.currentTarget);
  const distance = given.get("distance") ? Number(given.get("distance")) : null;
  const reply = await request("begin", { light: given.get("light"), distance, screen: [screen.width, screen.height] });
  if (reply) await show(reply.state);
});
document.addEventListener("visibilitychange", async () => {
  if (document.hidden) {
    hidden = performance.now();
    return;
  }
  if (shown !== null && hidden !== null) shown += performance.now() - hidden;
  hidden = null;
  if (busy || open_section() === "feedback") return;
  const before = state; // an answer that is given here meanwhile makes the reply one of the past
  try { // another window of this link may have answered
    const reply = await fetch(`${address}/state`);
    const now = reply.ok ? await reply.json() : null;
    if (now && !busy && state === before && (now.state.phase !== state.phase || now.state.question?.id !== state.question?.id)) await show(now.state);
  } catch {
    // the next answer will tell
  }
});

show(first);
