// Starts a benchmark without leaving the page, shows how far it is, and stops it. Without this script, the forms do the first and
// the last, and the page, loading itself again, the second.
"use strict";

const part = (id) => document.getElementById(id);
const form = part("form");
const running = part("running");
const cancel = part("cancel");

// Only what has changed: everything else would be read aloud again.
function write(id, text) {
  if (part(id).textContent !== text) part(id).textContent = text;
}

// A neutral one says that something is so, any other that something is wrong.
function tell(message, neutral = false) {
  part("message").classList.toggle("neutral", neutral);
  write("message", message);
}

function show({ progress }) {
  const { done, total, strategy, round } = progress ?? { done: 0, total: 1 };
  Object.assign(part("progress"), { max: total, value: done });
  const now = strategy ? `, now ${strategy}${round === 0 ? " (warm-up)" : ""}` : "";
  write("progress-text", progress ? `${done} of ${total} runs${now}` : "Starting…");
}

function idle(message, neutral) {
  running.hidden = true;
  if (form) form.hidden = false;
  tell(message, neutral);
  form?.querySelector("button").focus();
}

function follow(id) {
  if (form) form.hidden = true;
  running.hidden = false;
  const button = cancel.querySelector("button");
  button.disabled = false;
  cancel.onsubmit = async (event) => {
    event.preventDefault();
    button.disabled = true;
    const answer = await fetch(`${document.body.dataset.base}/api/benchmarks/${id}`, { method: "DELETE" }).catch(() => null);
    if (!answer?.ok) {
      button.disabled = false;
      tell("The benchmark could not be cancelled. Try again.");
    }
  };
  const events = new EventSource(`${document.body.dataset.base}/api/benchmarks/${id}/events`);
  events.onmessage = ({ data }) => {
    const status = JSON.parse(data);
    show(status);
    if (status.state === "running") return;
    events.close();
    if (status.state === "complete") location.assign(`/benchmark?id=${id}#result`);
    else if (status.state === "cancelled") idle("The benchmark was cancelled.", true);
    else idle(`The benchmark failed: ${status.error}.`);
  };
  // The browser tries again by itself, unless the server says that there is nothing any more.
  events.onerror = () => {
    if (events.readyState === EventSource.CLOSED) idle("The service was restarted, and the benchmark is gone. Run it again.");
  };
}

form?.addEventListener("submit", async (event) => {
  event.preventDefault();
  tell("");
  const fields = new FormData(form);
  const strategies = fields.getAll("strategies");
  if (strategies.length === 0) {
    tell("Choose at least one strategy.");
    return;
  }
  const rows = fields.get("rows");
  const options = { strategies, runs: Number(fields.get("runs")), rows: rows ? Number(rows) : null };
  try {
    const answer = await fetch(form.action, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(options),
    });
    const body = await answer.json();
    if (answer.ok) {
      show(body);
      follow(body.id);
      cancel.querySelector("button").focus();
    } else if (answer.status === 409 && body.location) {
      tell("Another benchmark is running; this is how far it is.", true);
      follow(body.location.split("/").pop());
    } else {
      tell(body.detail ?? body.title);
    }
  } catch {
    tell("The service cannot be reached. Check your connection and try again.");
  }
});

if (running.dataset.id) follow(running.dataset.id);
