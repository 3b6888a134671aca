"use strict";
// Keeps what lives on a page fresh without taking away focus or place, and sends forms without leaving it.

const SECONDS = 2;
const live = document.querySelector("[data-poll]");
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

async function refresh() {
  const asked = ++latest;
  const response = await fetch(live.dataset.poll);
  const text = await response.text();
  if (asked !== latest || !response.ok) return;
  show(text);
}

function show(text) {
  const fresh = document.createElement("div");
  fresh.innerHTML = text;
  const following = [...document.querySelectorAll("[data-follow]")].filter(atEnd);
  morphChildren(live, fresh);
  following.forEach(toEnd);
}

const atEnd = (box) => box.scrollTop + box.clientHeight >= box.scrollHeight - 4;
const toEnd = (box) => { box.scrollTop = box.scrollHeight; };

/** Looks again and again; less often where an answer takes long, for the machine is the jobs'. */
async function poll() {
  const began = performance.now();
  if (!document.hidden) await refresh().catch(() => {});
  setTimeout(poll, Math.max(SECONDS * 1000, 10 * (performance.now() - began)));
}

if (live) {
  document.querySelectorAll("[data-follow]").forEach(toEnd);
  setTimeout(poll, SECONDS * 1000);
}

/** Sends a form and answers with what comes back. */
async function send(form) {
  const response = await fetch(`${form.action}?part=1`, { method: "POST", body: new FormData(form) });
  return response.text();
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
    if (button.disabled) return;
    const answer = document.getElementById(form.dataset.ask);
    button.disabled = true;
    answer.textContent = "Asking …";
    try {
      answer.innerHTML = await send(form);
    } catch (error) {
      answer.textContent = `algodock ui doesn't answer: ${error.message}`;
    }
    button.disabled = false;
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

for (const zone of document.querySelectorAll("[data-drop]")) {
  const input = zone.querySelector("input");
  const over = (event) => {
    event.preventDefault();
    zone.classList.toggle("over", event.type === "dragover");
  };
  zone.addEventListener("dragover", over);
  zone.addEventListener("dragleave", over);
  zone.addEventListener("drop", (event) => {
    over(event);
    if (event.dataTransfer.files.length) input.files = event.dataTransfer.files;
  });
}
