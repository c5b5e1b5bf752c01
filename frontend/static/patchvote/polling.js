/* Keeps the result page asking while nothing has changed and while the server is away: htmx alone would stop there. */

const RETRY_AFTER_MS = 5000;

function askAgain() {
  const status = document.getElementById("case-status");
  const announcement = document.getElementById("announcement");
  announcement.textContent = status.dataset.textOffline;
  announcement.className = "note warning";
  setTimeout(() => htmx.trigger(status, "retry"), RETRY_AFTER_MS);
}

document.addEventListener("htmx:sendError", askAgain);
document.addEventListener("htmx:timeout", askAgain);

document.addEventListener("htmx:responseError", (event) => {
  const status = event.detail.xhr.status;
  if (status >= 500 || status === 429) askAgain();
  else location.reload(); // the case is gone, or it is another person's now
});

function serverIsThere() {
  const announcement = document.getElementById("announcement");
  announcement.textContent = "";
  announcement.className = "unseen";
}

document.addEventListener("htmx:afterRequest", (event) => {
  const { xhr } = event.detail;
  if (xhr.status !== 304) return;
  serverIsThere();
  const status = document.getElementById("case-status");
  const seconds = xhr.getResponseHeader("Retry-After");
  const [path] = status.getAttribute("hx-get").split("?");
  status.setAttribute("hx-get", `${path}?after=${seconds}`);
  status.setAttribute("hx-trigger", "retry");
  htmx.process(status);
  setTimeout(() => htmx.trigger(status, "retry"), 1000 * seconds);
});

document.addEventListener("htmx:beforeSwap", (event) => {
  const { xhr } = event.detail;
  if (xhr.status !== 200) return;
  if (new URL(xhr.responseURL).pathname !== new URL(event.detail.pathInfo.requestPath, location).pathname) {
    event.detail.shouldSwap = false; // led elsewhere: the session has ended
    location.reload();
    return;
  }
  serverIsThere();
});
