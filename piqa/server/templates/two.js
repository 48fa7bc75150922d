// The slider: A left of its edge, B right of it.

const slider = document.querySelector(".slider");
const range = slider.querySelector("input");
const stack = slider.querySelector(".stack");

function show() {
  stack.querySelectorAll("img")[1].style.clipPath = `inset(0 0 0 ${range.value}%)`;
  stack.querySelector(".edge").style.left = `${range.value}%`;
}

function move(event) {
  const frame = stack.getBoundingClientRect();
  range.value = (100 * (event.clientX - frame.left)) / frame.width;
  show();
}

range.addEventListener("input", show);
stack.addEventListener("dragstart", (event) => event.preventDefault());
stack.addEventListener("pointerdown", (event) => {
  stack.setPointerCapture(event.pointerId);
  move(event);
});
stack.addEventListener("pointermove", (event) => {
  if (stack.hasPointerCapture(event.pointerId)) move(event);
});
show();
