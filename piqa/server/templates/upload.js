// Photos are sent in small groups, one after the other. A group that found the server busy is sent again when the server
// says so: it takes a photo once, however often it comes.

const { address, most, words } = JSON.parse(document.getElementById("data").textContent);
const find = (selector) => document.querySelector(selector);
const GROUP = { files: Math.min(20, most.files), bytes: Math.min(2 ** 25, most.bytes / 2) };
const TRIES = 5; // of a group that gets no answer
const NO_PHOTOS = /(^|\/)(\..*|Thumbs\.db|desktop\.ini)$/i;
const drop = find(".drop");
let queue = [];
let total = 0;
let totalBytes = 0;
let sentFiles = 0;
let sentBytes = 0;
let refused = 0;
let sending = false;

function filled(text, values) {
  return text.replace(/\{(\w+)\}/g, (all, name) => values[name] ?? all);
}

function say(text) {
  find("#told").textContent = text;
}

function refuse(text) {
  refused += 1;
  find("#refused").hidden = false;
  find("#refused").append(element("li", {}, text));
}

function pause(seconds) {
  return new Promise((next) => setTimeout(next, 1000 * seconds));
}

async function wait(seconds, text) {
  for (let left = seconds; left > 0; left -= 1) {
    say(filled(text, { seconds: Math.ceil(left) }));
    await pause(Math.min(1, left));
  }
}

function progress(loaded = 0) {
  find("#sent").max = Math.max(totalBytes, 1);
  find("#sent").value = sentBytes + loaded;
  say(filled(words.progress, { done: sentFiles, of: total }));
}

function nextGroup() {
  const group = [];
  let bytes = 0;
  while (queue.length && group.length < GROUP.files && (!group.length || bytes + queue[0].file.size <= GROUP.bytes)) {
    bytes += queue[0].file.size;
    group.push(queue.shift());
  }
  return group;
}

function post(group) {
  const form = new FormData();
  for (const { file, name } of group) form.append("images", file, name);
  const bytes = group.reduce((sum, one) => sum + one.file.size, 0);
  return new Promise((answer) => {
    const request = new XMLHttpRequest();
    const told = () => {
      let body = {};
      try {
        body = JSON.parse(request.responseText);
      } catch { /* an answer that is not the server's own */ }
      answer({ status: request.status, body, after: Number(request.getResponseHeader?.("Retry-After")) });
    };
    request.upload.addEventListener("progress", (event) => progress(Math.min(event.loaded, bytes)));
    request.addEventListener("load", told);
    request.addEventListener("error", () => answer({ status: 0, body: {} }));
    request.open("POST", address);
    request.send(form);
  });
}

async function readable(group) {
  const kept = [];
  for (const one of group) {
    try {
      await one.file.slice(0, 1).arrayBuffer();
      kept.push(one);
    } catch {
      refuse(filled(words.unreadable, { name: one.name }));
    }
  }
  return kept;
}

function done(group, count) {
  sentFiles += count;
  sentBytes += group.reduce((sum, one) => sum + one.file.size, 0);
  progress();
}

// Sends a group until the server has answered; returns why it gives up, or "".
async function deliver(group) {
  for (let tried = 1; ; ) {
    const { status, body, after } = await post(group);
    if (status === 202) {
      for (const one of body.refused) refuse(one.error.includes(one.name) ? one.error : filled(words.not_sent, { name: one.name, reason: one.error }));
      done(group, group.length - body.refused.length);
      if (body.job) document.dispatchEvent(new CustomEvent("watch-job", { detail: body.job }));
      return "";
    }
    if (status === 413 && group.length > 1) {
      for (const one of group) {
        const why = await deliver([one]);
        if (why) return why; // photos of the group that are there already are not added twice
      }
      return "";
    }
    if (status === 413) {
      refuse(filled(words.too_large, { name: group[0].name }));
      done(group, 0);
      return "";
    }
    if (status === 503) await wait(after > 0 ? after : 5, words.wait);
    else if ((status === 0 || status === 408 || status === 500) && tried < TRIES) await wait(2 ** tried++, words.lost);
    else return body.error ?? words.stopped;
  }
}

async function sendAll() {
  if (sending) return;
  sending = true;
  find("#again").hidden = find("#show").hidden = true;
  let why = "";
  while (queue.length && !why) {
    const group = nextGroup();
    const kept = await readable(group);
    done(group.filter((one) => !kept.includes(one)), 0);
    if (!kept.length) continue;
    progress();
    why = await deliver(kept);
    if (why) queue = [...kept, ...queue];
  }
  sending = false;
  if (why) {
    say(`${filled(why, { left: queue.length })} ${why === words.stopped ? "" : filled(words.stopped, { left: queue.length })}`.trim());
    find("#again").hidden = false;
  } else {
    say(filled(refused ? words.some_sent : words.all_sent, { sent: sentFiles, of: total }));
    find("#show").hidden = !refused;
  }
}

function add(items, chosenOneByOne) {
  const photos = items.filter(({ file, name }) => !NO_PHOTOS.test(name) && (chosenOneByOne || !file.type || file.type.startsWith("image/")));
  find("#sending").hidden = false;
  if (photos.length < items.length) {
    find("#refused").hidden = false;
    find("#refused").append(element("li", {}, filled(words.left_out, { count: items.length - photos.length })));
  }
  if (!photos.length) {
    if (!sending) say(words.nothing);
    return;
  }
  queue.push(...photos);
  total += photos.length;
  totalBytes += photos.reduce((sum, one) => sum + one.file.size, 0);
  sendAll();
}

async function filesOf(entry, found) {
  if (entry.isFile) {
    const file = await new Promise((got) => entry.file(got, () => got(null)));
    const name = entry.fullPath.replace(/^\//, "");
    if (file) found.push({ file, name });
    else refuse(filled(words.unreadable, { name }));
    return;
  }
  const reader = entry.createReader();
  for (;;) { // it gives a part of the folder at once
    const entries = await new Promise((got) => reader.readEntries(got, () => got([])));
    if (!entries.length) return;
    for (const one of entries) await filesOf(one, found);
  }
}

for (const input of [find("#files"), find("#folder")]) {
  input.addEventListener("change", () => {
    add([...input.files].map((file) => ({ file, name: file.webkitRelativePath || file.name })), input.id === "files");
    input.value = "";
  });
}
for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    drop.classList.add("over");
  });
}
document.addEventListener("dragleave", (event) => event.relatedTarget ?? drop.classList.remove("over"));
document.addEventListener("drop", async (event) => {
  if (!event.dataTransfer?.files.length) return;
  event.preventDefault();
  drop.classList.remove("over");
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean); // before any await
  const plain = [...event.dataTransfer.files].map((file) => ({ file, name: file.name }));
  const found = [];
  for (const entry of entries) await filesOf(entry, found);
  add(entries.length ? found : plain, false);
});
find("#again").addEventListener("click", sendAll);
find("#show").addEventListener("click", () => location.reload());
window.addEventListener("beforeunload", (event) => {
  if (sending) event.preventDefault();
});
document.addEventListener("jobs-ended", (event) => {
  const used = document.querySelector(".choose:checked") || document.activeElement?.matches("input:not([type=file]), select");
  if (!sending && !queue.length && !refused && !used) return;
  event.preventDefault(); // what is told or chosen here would be lost
  find("#sending").hidden = false;
  if (!sending && !refused) say(words.changed);
  find("#show").hidden = sending;
});
