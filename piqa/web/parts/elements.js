// What all scripts of a page share. Text only ever enters through textContent.

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function drawn(name, attributes = {}, text = null) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== null) made.textContent = text;
  return made;
}

function number(value, digits = 3) {
  return value === null ? "–" : value.toFixed(digits).replace("-", "−");
}

function short(text, length) {
  return text.length <= length ? text : text.slice(0, length - 1) + "…";
}

// The one tooltip of the page, at a place in the window

function tipElement() {
  const there = document.getElementById("tip");
  if (there) return there;
  const made = element("div", { id: "tip", role: "status", hidden: "" });
  document.body.append(made);
  return made;
}

function tell(text, left, top) {
  const tip = tipElement();
  tip.textContent = text;
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(left + 10, innerWidth - box.width - 4))}px`;
  tip.style.top = `${top - box.height - 10 > 4 ? top - box.height - 10 : top + 12}px`;
}

function hush() {
  tipElement().hidden = true;
}
