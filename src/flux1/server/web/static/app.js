// Every page: what forms and htmx cannot say by themselves.
"use strict";

// Buttons that copy the text of an element.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const source = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(source.textContent);
    button.textContent = "Copied";
  } catch {
    // without https a browser may refuse: select it, so that Ctrl+C takes it
    getSelection().selectAllChildren(source);
    button.textContent = "Selected: press Ctrl+C";
  }
});

// A file that the server would refuse is refused before it travels.
document.addEventListener("change", ({ target }) => {
  if (!target.dataset.most) return;
  const most = Number(target.dataset.most);
  const large = [...target.files].some((file) => file.size > most);
  target.setCustomValidity(large ? `This file is larger than ${Math.floor(most / 2 ** 20)} MB.` : "");
  target.reportValidity();
});
