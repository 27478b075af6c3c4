// The menu, the height of the bar, and folded code. Pages are complete without it.
(() => {
  "use strict";
  const bar = document.querySelector(".site-bar");
  const menus = () => document.querySelectorAll(".site-bar details[open]");

  function measure() {
    document.documentElement.style.setProperty("--bar", `${bar.offsetHeight}px`);
  }
  measure();
  addEventListener("resize", measure);

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const menu of menus()) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });
  document.addEventListener("click", (event) => {
    for (const menu of menus()) {
      if (!menu.contains(event.target)) menu.open = false;
    }
  });

  // The contents stand beside the text where there is room, and folded above it where there is not.
  const contents = document.querySelector(".contents details");
  if (contents && matchMedia("(max-width: 62rem)").matches) contents.open = false;

  const button = document.querySelector("#fold");
  const cells = [...document.querySelectorAll("details.code")];
  function fold(hidden) {
    for (const cell of cells) cell.open = !hidden;
    button.setAttribute("aria-pressed", String(hidden));
    button.textContent = hidden ? "Show code" : "Hide code";
  }
  if (button) {
    const key = "recsys-code-hidden";
    let hidden = false;
    try { hidden = localStorage.getItem(key) === "yes"; } catch { /* a browser that stores nothing */ }
    if (hidden) fold(true);
    button.addEventListener("click", () => {
      hidden = button.getAttribute("aria-pressed") !== "true";
      fold(hidden);
      try { localStorage.setItem(key, hidden ? "yes" : "no"); } catch { /* then only this page */ }
    });
  }
  // What is printed is open.
  addEventListener("beforeprint", () => fold && button && fold(false));
})();
