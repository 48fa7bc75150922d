// One photo: it can be deleted, and the arrow keys lead to its neighbours.

const { photo, project, question } = JSON.parse(document.getElementById("data").textContent);

document.getElementById("delete").addEventListener("click", async () => {
  if (!confirm(question)) return;
  const answer = await fetch(`/api/photos/${photo}`, { method: "DELETE" }).catch(() => null);
  if (answer && (answer.ok || answer.status === 404)) location.href = `/photos/${project}`;
  else alert((await answer?.json().catch(() => null))?.error ?? "–");
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
  if (event.target.matches("input, select, textarea, [tabindex]")) return;
  const rel = { ArrowLeft: "prev", ArrowRight: "next" }[event.key];
  const link = rel && document.querySelector(`a[rel=${rel}]`);
  if (link) link.click();
});
