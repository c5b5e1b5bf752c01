/* The forms of data sets and training runs: shows what the choice needs, and how long a run will take. */

const ASK_AFTER_MS = 400;

function showSource() {
  const chosen = document.querySelector("input[name=source]:checked");
  if (!chosen) return;
  for (const name of ["archive", "folder", "reviews"]) {
    const fieldset = document.querySelector(`fieldset.source-${name}`);
    if (fieldset) fieldset.hidden = name !== chosen.value;
  }
}

for (const radio of document.querySelectorAll("input[name=source]")) radio.addEventListener("change", showSource);
showSource();

const estimate = document.getElementById("estimate");
if (estimate) {
  const form = estimate.closest("form");
  let timer;
  let asked = 0;

  const ask = async () => {
    asked += 1;
    const mine = asked;
    const fields = new URLSearchParams(new FormData(form));
    fields.delete("csrfmiddlewaretoken");
    if (!fields.get("data_set")) {
      estimate.textContent = "";
      return;
    }
    if (!fields.get("name")) fields.set("name", "model"); // not given yet, and it takes no time
    try {
      const answer = await fetch(`${estimate.dataset.url}?${fields}`);
      const { text } = answer.ok ? await answer.json() : { text: "" };
      if (mine === asked) estimate.textContent = text;
    } catch {
      if (mine === asked) estimate.textContent = "";
    }
  };

  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(ask, ASK_AFTER_MS);
  });
  ask();
}
