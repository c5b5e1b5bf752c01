/* Keeps a live part of a page up to date where htmx alone stops: after a 304, an error, or no answer.
   The part is [data-live]; it polls on the event `retry`. #announcement says that the server does not answer. */

const AWAY_RETRY_SECONDS = 5;

const livePart = () => document.querySelector("[data-live]");

function retryAfter(seconds) {
  setTimeout(() => htmx.trigger(livePart(), "retry"), 1000 * seconds);
}

function announceAway(away) {
  const announcement = document.getElementById("announcement");
  announcement.textContent = away ? announcement.dataset.away : "";
  announcement.classList.toggle("unseen", !away);
}

function serverIsAway() {
  announceAway(true);
  retryAfter(AWAY_RETRY_SECONDS);
}

document.addEventListener("htmx:sendError", serverIsAway);
document.addEventListener("htmx:timeout", serverIsAway);

document.addEventListener("htmx:responseError", (event) => {
  const { status } = event.detail.xhr;
  if (status >= 500 || status === 429) serverIsAway();
  else location.reload(); // deleted, or the session has ended
});

document.addEventListener("htmx:afterRequest", (event) => {
  const { xhr } = event.detail;
  if (xhr.status !== 304) return;
  announceAway(false);
  const after = Number(xhr.getResponseHeader("Retry-After"));
  livePart().setAttribute("hx-vals", JSON.stringify({ after }));
  retryAfter(after);
});

document.addEventListener("htmx:beforeSwap", (event) => {
  const { xhr, pathInfo } = event.detail;
  if (xhr.status !== 200) return;
  if (new URL(xhr.responseURL).pathname === new URL(pathInfo.requestPath, location).pathname) {
    announceAway(false);
    return;
  }
  event.detail.shouldSwap = false; // redirected to the sign-in page: the session has ended
  location.reload();
});
