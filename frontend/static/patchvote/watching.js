/* Keeps the page of a job asking while the server is away: htmx alone would stop at the first failure. */

const RETRY_AFTER_MS = 4000;

function askAgain() {
  const live = document.getElementById("live");
  if (!live) return;
  let note = live.querySelector(".offline");
  if (!note) {
    note = document.createElement("p");
    note.className = "offline errornote";
    note.setAttribute("role", "status");
    live.prepend(note);
  }
  note.textContent = live.dataset.textOffline;
  setTimeout(() => htmx.trigger(live, "retry"), RETRY_AFTER_MS);
}

document.addEventListener("htmx:sendError", askAgain);
document.addEventListener("htmx:timeout", askAgain);

document.addEventListener("htmx:responseError", (event) => {
  const { status } = event.detail.xhr;
  if (status >= 500 || status === 429) askAgain();
  else location.reload(); // the job is gone, or the session has ended
});

document.addEventListener("htmx:beforeSwap", (event) => {
  const { xhr } = event.detail;
  if (xhr.status !== 200) return;
  if (new URL(xhr.responseURL).pathname !== new URL(event.detail.pathInfo.requestPath, location).pathname) {
    event.detail.shouldSwap = false; // led to the sign-in page: the session has ended
    location.reload();
  }
});
