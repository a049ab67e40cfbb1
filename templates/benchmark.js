// Starts a benchmark without leaving the page, shows how far it is, and stops it. Without this script, the form does the first,
// and the page, loading itself again, the second.
"use strict";

const part = (id) => document.getElementById(id);
const form = part("form");
const running = part("running");

function say(message) {
  part("message").textContent = message;
}

function show(status) {
  const { done, total, strategy, round } = status.progress ?? { done: 0, total: 1 };
  part("progress").max = total;
  part("progress").value = done;
  const now = strategy ? `, now ${strategy}${round === 0 ? " (warm-up)" : ""}` : "";
  part("progress-text").textContent = `${done} of ${total} runs${now}`;
}

function idle() {
  running.hidden = true;
  if (form) form.hidden = false;
}

function follow(id) {
  const cancel = part("cancel");
  if (form) form.hidden = true;
  running.hidden = false;
  cancel.hidden = false;
  cancel.disabled = false;
  cancel.onclick = async () => {
    cancel.disabled = true;
    const answer = await fetch(`/api/benchmarks/${id}`, { method: "DELETE" }).catch(() => null);
    if (!answer?.ok) {
      cancel.disabled = false;
      say("The benchmark could not be cancelled.");
    }
  };
  const events = new EventSource(`/api/benchmarks/${id}/events`);
  events.onmessage = (event) => {
    const status = JSON.parse(event.data);
    show(status);
    if (status.state === "running") return;
    events.close();
    if (status.state === "complete") {
      location.assign(`/benchmark?id=${id}`);
    } else {
      idle();
      say(status.state === "cancelled" ? "The benchmark was cancelled." : `The benchmark failed: ${status.error}.`);
      form?.querySelector("button").focus();
    }
  };
  // The browser tries again by itself, unless the server says that there is nothing any more.
  events.onerror = () => {
    if (events.readyState === EventSource.CLOSED) {
      idle();
      say("The benchmark is not known any more: the service was started anew.");
    }
  };
}

form?.addEventListener("submit", async (event) => {
  event.preventDefault();
  say("");
  const fields = new FormData(form);
  const strategies = fields.getAll("strategies");
  if (strategies.length === 0) {
    say("Choose one strategy at least.");
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
      part("cancel").focus();
    } else if (answer.status === 409 && body.location) {
      say("Another benchmark runs already; this is how far it is.");
      follow(body.location.split("/").pop());
    } else {
      say(body.detail ?? body.title);
    }
  } catch {
    say("The service cannot be reached.");
  }
});

if (running.dataset.id) follow(running.dataset.id);
