"use strict";
// Keeps what lives on a page fresh without taking away focus or place, and sends forms without leaving it.

const SECONDS = 2;
const live = document.querySelector("[data-poll]");
const stale = document.getElementById("stale");
let latest = 0;

/** Makes `old` what `fresh` is, touching only what differs. */
function morph(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeName !== fresh.nodeName || old.id !== fresh.id || old.nodeName === "svg") {
    old.replaceWith(fresh);
  } else if (old.nodeType !== Node.ELEMENT_NODE) {
    old.nodeValue = fresh.nodeValue;
  } else {
    for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    morphChildren(old, fresh);
  }
}

function morphChildren(old, fresh) {
  // What has an id is kept wherever it is in both; what has none is paired in order.
  const wanted = new Set([...fresh.children].map((child) => child.id).filter(Boolean));
  const there = new Set([...old.children].map((child) => child.id).filter(Boolean));
  let at = old.firstChild;
  const pass = () => {
    const passed = at;
    at = at.nextSibling;
    return passed;
  };
  for (const child of [...fresh.childNodes]) {
    while (at && (at.id ? !wanted.has(at.id) : there.has(child.id))) pass().remove();
    if (!at) old.append(child);
    else if ((child.id ?? "") !== (at.id ?? "")) old.insertBefore(child, at);
    else morph(pass(), child);
  }
  while (at) pass().remove();
}

/** What is answered, and whether it is what was asked for; else it says why not. */
async function answered(address, options, silence = "What is shown may be out of date.") {
  try {
    const response = await fetch(address, options);
    return { ok: response.ok, text: await response.text() };
  } catch {
    return { ok: false, text: `<p class="failure">algodock ui doesn't answer. ${silence}</p>` };
  }
}

async function refresh() {
  const asked = ++latest;
  const answer = await answered(live.dataset.poll);
  if (asked === latest) show(answer);
}

/** Shows what lives, or above it why it lives no longer. */
function show({ ok, text }) {
  put(stale, ok ? "" : text);
  if (!ok) return;
  const following = [...document.querySelectorAll("[data-follow]")].filter(atEnd);
  put(live, text);
  following.forEach(toEnd);
}

function put(place, text) {
  const fresh = document.createElement("div");
  fresh.innerHTML = text;
  morphChildren(place, fresh);
}

const atEnd = (box) => box.scrollTop + box.clientHeight >= box.scrollHeight - 4;
const toEnd = (box) => { box.scrollTop = box.scrollHeight; };

/** Looks again and again; less often where an answer takes long, for the machine is the jobs'. */
async function poll() {
  const began = performance.now();
  if (!document.hidden) await refresh();
  setTimeout(poll, Math.max(SECONDS * 1000, 10 * (performance.now() - began)));
}

if (live) {
  document.querySelectorAll("[data-follow]").forEach(toEnd);
  setTimeout(poll, SECONDS * 1000);
}

/** Sends a form and answers with what comes back. */
function send(form, silence) {
  return answered(`${form.action}?part=1`, { method: "POST", body: new FormData(form) }, silence);
}

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (form.matches("[data-filter]")) {
    event.preventDefault();
    await refresh();
  } else if (form.matches("[data-live]")) {
    event.preventDefault();
    latest += 1;
    show(await send(form));
  } else if (form.matches("[data-ask]")) {
    event.preventDefault();
    const button = form.querySelector("#send");
    if (button.ariaDisabled === "true") return;
    const answer = document.getElementById(form.dataset.ask);
    // `disabled` would take the focus away.
    button.ariaDisabled = "true";
    answer.textContent = "Asking …";
    // Browsers don't send a file that has changed since, and don't tell so either.
    answer.innerHTML = (await send(form, "If the file has changed meanwhile, choose it again.")).text;
    button.ariaDisabled = "false";
    refresh();
  }
});

document.addEventListener("input", (event) => {
  // A file goes before the text: whoever writes again doesn't mean it any more.
  if (event.target.matches("#body")) document.getElementById("file").value = "";
  if (!event.target.matches("#filter")) return;
  const query = event.target.value ? `q=${encodeURIComponent(event.target.value)}` : "";
  live.dataset.poll = `/?part=1&${query}`;
  history.replaceState(null, "", query ? `/?${query}` : "/");
  refresh();
});

document.addEventListener("keydown", (event) => {
  const form = event.target.closest("[data-ask]");
  if (form && event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
});

// A file is taken wherever it is dropped: beside the zone a browser would leave the page for it.
const zone = document.querySelector("[data-drop]");
for (const kind of zone ? ["dragover", "dragleave", "drop"] : []) {
  document.addEventListener(kind, (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    zone.classList.toggle("over", kind === "dragover");
    if (kind === "drop") zone.querySelector("input").files = event.dataTransfer.files;
  });
}
