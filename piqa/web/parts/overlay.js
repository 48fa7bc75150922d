// Photos with maps over them: which map, how opaque, and whether the face is outlined.

for (const box of document.querySelectorAll("[data-widget=overlay]")) {
  const photo = box.querySelector(".photo");
  const layers = [...box.querySelectorAll(".layer")];
  const slider = box.querySelector("input[type=range]");
  const outline = box.querySelector(".face-box");
  for (const layer of layers) layer.prepend(element("img", { class: "under", src: photo.src, alt: "", width: photo.getAttribute("width"), height: photo.getAttribute("height") })); // for print
  const show = () => {
    const chosen = box.querySelector("input[type=radio]:checked")?.value ?? "";
    for (const layer of layers) layer.classList.toggle("shown", layer.dataset.map === chosen);
    photo.classList.toggle("grey", chosen !== "");
    if (!slider) return;
    slider.disabled = chosen === "";
    box.querySelector(".opacity output").textContent = `${slider.value} %`;
    for (const layer of layers) layer.querySelector(".map").style.opacity = slider.value / 100;
  };
  box.addEventListener("input", show);
  box.querySelector(".show-box")?.addEventListener("change", (event) => {
    outline.toggleAttribute("hidden", !event.target.checked);
  });
  show();
}
