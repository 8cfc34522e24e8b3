"use strict";
// One figure after the other, so that the text can be read and scrolled meanwhile.
const waiting = Array.from(document.querySelectorAll(".plot"));
const settings = { responsive: true, displayModeBar: false };
async function drawNext() {
  const place = waiting.shift();
  if (!place) {
    document.body.dataset.drawn = "all";
    return;
  }
  try {
    const figure = JSON.parse(place.querySelector("script").textContent);
    place.replaceChildren();
    await Plotly.newPlot(place, figure.data, figure.layout, settings);
  } catch (error) {
    place.textContent = "This figure cannot be drawn here; it lies beside the page as PNG, in report/.";
    console.error(error);
  }
  setTimeout(drawNext);
}
drawNext();
for (const button of document.querySelectorAll("button[data-copies]")) {
  button.addEventListener("click", async () => {
    const text = document.getElementById(button.dataset.copies).textContent;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "copied";
    } catch {
      window.getSelection().selectAllChildren(document.getElementById(button.dataset.copies));
    }
  });
}
