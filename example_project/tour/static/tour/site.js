// Keeps the results fresh. The page works without this file: buttons are forms.
"use strict";

const BUSY = 500;
const IDLE = 4000;
let timer = 0;

/** Is somebody reading, selecting or typing in this part of the page? */
function isInUse(part) {
  const selection = document.getSelection();
  const selects = !selection.isCollapsed && part.contains(selection.anchorNode);
  return selects || part.contains(document.activeElement);
}

/** Replace what has changed, and leave open what was open. */
function replace(part, fresh) {
  if (part.innerHTML === fresh.innerHTML || isInUse(part)) return;
  const open = [...part.querySelectorAll("details[open]")].map((each) => each.id);
  part.replaceChildren(...fresh.childNodes);
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
}

async function refresh() {
  clearTimeout(timer);
  let pause = IDLE;
  try {
    const answer = await fetch("/live/");
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of document.querySelectorAll("[data-live]")) {
      const found = fresh.querySelector(`[data-live="${part.dataset.live}"]`);
      if (found) replace(part, found);
    }
    if (fresh.body.hasAttribute("data-busy")) pause = BUSY;
  } catch {
    // The site is being restarted: look again later.
  }
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(refresh, pause);
}

/** Press a button without leaving the place on the page. */
async function press(event) {
  if (event.target.method !== "post") return;
  event.preventDefault();
  const button = event.target.querySelector("button");
  button.disabled = true;
  try {
    const answer = await fetch(event.target.action, {
      method: "POST",
      body: new FormData(event.target),
      redirect: "manual",
    });
    if (answer.type !== "opaqueredirect") return event.target.submit();
    await refresh();
  } finally {
    button.disabled = false;
    button.focus();
  }
}

document.addEventListener("submit", press);
document.addEventListener("visibilitychange", refresh);
refresh();
