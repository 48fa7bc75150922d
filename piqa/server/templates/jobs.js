// Work that goes on: how far each job is, asked again and again until it ends. Another script adds one by the event
// `watch-job`. When all have ended, the page is loaded anew, unless a script prevents that at the event `jobs-ended`.

const { jobs, kinds } = JSON.parse(document.getElementById("data").textContent);
const box = document.getElementById("jobs");
const PAUSE = 700; // ms between two questions
const ENDED = ["done", "failed", "stopped"];
const watched = new Map(); // lines by job

function lineOf(job) {
  const line = element("div", { class: "job" }, element("span"), element("progress", { "aria-label": kinds.running }), element("span", { "aria-hidden": "true" }), element("button", { type: "button", class: "button" }));
  line.lastChild.textContent = kinds.stop;
  line.lastChild.addEventListener("click", () => fetch(`/api/jobs/${job}/stop`, { method: "POST" }).catch(() => {}));
  box.append(line);
  return line;
}

function draw(line, state) {
  const [title, bar, count] = line.children;
  const name = kinds[state.kind] ?? state.kind;
  if (title.textContent !== name) title.textContent = name; // told once to who listens
  bar.setAttribute("aria-label", name);
  if (state.total) {
    bar.max = state.total;
    bar.value = state.done;
    count.textContent = kinds.of.replace("{done}", state.done).replace("{total}", state.total);
  }
}

async function watch(job) {
  if (watched.has(job)) return;
  watched.set(job, lineOf(job));
  const line = watched.get(job);
  for (;;) {
    try {
      const answer = await fetch(`/api/jobs/${job}`);
      if (answer.status === 404) break; // its project is deleted
      if (!answer.ok) throw new Error();
      const state = await answer.json();
      draw(line, state);
      if (ENDED.includes(state.state)) break;
    } catch {
      line.firstChild.textContent = kinds.lost;
    }
    await new Promise((next) => setTimeout(next, PAUSE));
  }
  line.remove();
  watched.delete(job);
  if (watched.size === 0 && document.dispatchEvent(new CustomEvent("jobs-ended", { cancelable: true }))) location.reload();
}

document.addEventListener("watch-job", (event) => watch(event.detail));
for (const job of jobs) watch(job);
