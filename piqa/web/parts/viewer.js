// Two images with one zoom. The view is kept in fractions of each image's face box (of the whole image where there is
// none), so that two framings of one person show the same part: x, y of its centre, and the height of the box in panes.

const STEP = 1.25;

class Pane {
  constructor(element) {
    this.element = element;
    this.image = element.querySelector("img");
    this.percent = element.closest("figure").querySelector(".percent");
    this.read();
  }
  read() { // the size and the face box of the image
    const { element } = this;
    [this.width, this.height] = element.dataset.size.split(" ").map(Number);
    const box = element.dataset.box?.split(" ").map(Number) ?? [0, 0, this.width, this.height];
    this.box = { left: box[0], top: box[1], width: box[2] - box[0], height: box[3] - box[1] };
    this.image.style.width = `${this.width}px`;
    this.image.style.height = `${this.height}px`;
  }
  get scale() { // window pixels for a pixel of the image
    return (this.view.size * this.element.clientHeight) / this.box.height;
  }
  sizeAt(scale) {
    return (scale * this.box.height) / this.element.clientHeight;
  }
  show(view, fitted = false) { // fitted: the whole image, which it stays when the window changes
    this.view = view;
    this.fitted = fitted;
    if (!this.element.clientHeight) return; // it is not shown now
    const scale = this.scale;
    const left = this.element.clientWidth / 2 - (this.box.left + view.x * this.box.width) * scale;
    const top = this.element.clientHeight / 2 - (this.box.top + view.y * this.box.height) * scale;
    this.image.style.transform = `translate(${left}px, ${top}px) scale(${scale})`;
    this.element.classList.toggle("sharp", scale * devicePixelRatio > 3);
    this.percent.textContent = `${Math.round(scale * devicePixelRatio * 100)} %`;
  }
  whole() {
    const size = this.sizeAt(Math.min(this.element.clientWidth / this.width, this.element.clientHeight / this.height));
    return { x: (this.width / 2 - this.box.left) / this.box.width, y: (this.height / 2 - this.box.top) / this.box.height, size };
  }
  face() {
    return { x: 0.5, y: 0.5, size: this.sizeAt(0.8 * Math.min(this.element.clientWidth / this.box.width, this.element.clientHeight / this.box.height)) };
  }
  pixels() {
    return { ...this.view, size: this.sizeAt(1 / devicePixelRatio) };
  }
  moved(right, down) { // in window pixels
    const { x, y, size } = this.view;
    return { x: x - right / (this.scale * this.box.width), y: y - down / (this.scale * this.box.height), size };
  }
  zoomed(factor, right = 0, down = 0) { // about a place, counted from the centre of the pane in window pixels
    const to = Math.min(Math.max(this.view.size * factor, 0.02), 60) / this.view.size;
    const there = this.moved(-right, -down);
    const [x, y] = [this.view.x - there.x, this.view.y - there.y];
    return { x: there.x + x / to, y: there.y + y / to, size: this.view.size * to };
  }
}

function makeViewer(box) {
  const panes = [...box.querySelectorAll(".pane")].map((pane) => new Pane(pane));
  const linked = box.querySelector(".linked");
  let current = panes[0];
  const show = (view) => {
    for (const pane of linked.checked ? panes : [current]) pane.show(view);
  };
  const move = ({ x, y }) => { // the size of each stays, so that both stay at their own pixels
    for (const pane of linked.checked ? panes : [current]) pane.show({ ...pane.view, x, y });
  };
  const whole = () => {
    for (const pane of linked.checked ? panes : [current]) pane.show(pane.whole(), true);
  };
  const actions = {
    in: () => show(current.zoomed(STEP)),
    out: () => show(current.zoomed(1 / STEP)),
    whole,
    face: () => show(current.face()),
    pixels: () => { // each its own, also where the faces are not of one size
      const { x, y } = current.view;
      for (const pane of linked.checked ? panes : [current]) pane.show({ ...pane.pixels(), x, y });
    },
  };
  const keys = { "+": "in", "=": "in", "-": "out", 0: "whole", 1: "pixels" };
  const arrows = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  for (const button of box.querySelectorAll("[data-zoom]")) button.addEventListener("click", () => actions[button.dataset.zoom]());
  linked.addEventListener("change", () => show(current.view));
  for (const pane of panes) {
    const place = (event) => {
      const frame = pane.element.getBoundingClientRect();
      return [event.clientX - frame.left - frame.width / 2, event.clientY - frame.top - frame.height / 2];
    };
    const fingers = new Map();
    const apart = () => {
      const [a, b] = [...fingers.values()];
      return Math.hypot(a[0] - b[0], a[1] - b[1]);
    };
    pane.element.addEventListener("focus", () => (current = pane));
    pane.element.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const step = arrows[event.key];
      if (!step && !(event.key in keys)) return;
      event.preventDefault();
      if (step) move(pane.moved(40 * step[0], 40 * step[1]));
      else actions[keys[event.key]]();
    });
    pane.element.addEventListener("wheel", (event) => {
      event.preventDefault();
      current = pane;
      show(pane.zoomed(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.002)), ...place(event)));
    }, { passive: false });
    pane.element.addEventListener("pointerdown", (event) => {
      current = pane;
      pane.element.setPointerCapture(event.pointerId);
      fingers.set(event.pointerId, place(event));
    });
    pane.element.addEventListener("pointermove", (event) => {
      const before = fingers.get(event.pointerId);
      if (!before) return;
      const width = fingers.size === 2 ? apart() : 0;
      const now = place(event);
      fingers.set(event.pointerId, now);
      if (fingers.size === 2) show(pane.zoomed(apart() / Math.max(width, 1), ...now));
      else if (fingers.size === 1) move(pane.moved(now[0] - before[0], now[1] - before[1]));
    });
    for (const name of ["pointerup", "pointercancel"]) pane.element.addEventListener(name, (event) => fingers.delete(event.pointerId));
  }
  box.addEventListener("change-images", (event) => { // other images have been put into the panes
    for (const pane of panes) {
      pane.read();
      if (event.detail?.whole) pane.show(pane.whole(), true);
      else pane.show(pane.view, pane.fitted);
    }
  });
  whole();
  const again = (pane) => pane.show(pane.fitted ? pane.whole() : pane.view, pane.fitted);
  new ResizeObserver(() => panes.forEach(again)).observe(panes[0].element);
}

for (const box of document.querySelectorAll("[data-widget=viewer]")) makeViewer(box);
