// Shows what stands now, every few seconds; and says so when the console no longer answers, because an old screen
// must not look like a good one. Without scripts the page reloads itself instead.
"use strict";

const PERIOD_MS = 10_000;
const PATIENCE_MS = 8_000;
const lost = document.getElementById("lost");
const lastSeen = document.getElementById("last-seen");

function show(answers) {
  lost.hidden = answers;
  document.body.classList.toggle("lost", !answers);
  lastSeen.textContent = document.querySelector("main").dataset.at;
}

async function refresh() {
  try {
    const options = { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) };
    const answer = await fetch(location.pathname, options);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    // Someone may be copying a command just now
    if (getSelection().isCollapsed) {
      document.querySelector("main").replaceWith(page.querySelector("main"));
      document.title = page.title;
    }
    show(true);
  } catch {
    show(false);
  }
  setTimeout(refresh, PERIOD_MS);
}

setTimeout(refresh, PERIOD_MS);
