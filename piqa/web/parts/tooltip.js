// Elements with data-tip show its text under the pointer, on focus and on a click; Escape takes it away.

for (const owner of document.querySelectorAll("[data-tip]")) {
  const target = owner.querySelector("button") ?? owner;
  const show = () => {
    const box = target.getBoundingClientRect();
    tell(owner.dataset.tip, box.left + box.width / 2, box.top);
  };
  target.setAttribute("aria-description", owner.dataset.tip);
  for (const name of ["pointerenter", "focus"]) target.addEventListener(name, show);
  if (target.classList.contains("hint")) target.addEventListener("click", show);
  target.addEventListener("blur", hush);
  target.addEventListener("pointerleave", (event) => {
    if (event.relatedTarget?.id !== "tip" && document.activeElement !== target) hush();
  });
}

tipElement().addEventListener("pointerleave", hush);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") hush();
});
