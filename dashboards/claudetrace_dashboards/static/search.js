// The search box suggests what begins with what is typed. Without this it is a form like any other.
"use strict";
(() => {
  const box = document.querySelector("[data-suggest]");
  if (!box) return;
  const list = Object.assign(document.createElement("ul"), { id: "suggested", className: "suggested", hidden: true });
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", "Suggestions");
  box.after(list);
  for (const [name, value] of [["role", "combobox"], ["aria-autocomplete", "list"], ["aria-controls", "suggested"],
    ["aria-expanded", "false"]]) box.setAttribute(name, value);
  const WAIT_MS = 120;
  let timer, asked = 0, found = [], at = -1;

  function close() {
    list.hidden = true;
    at = -1;
    box.setAttribute("aria-expanded", "false");
    box.removeAttribute("aria-activedescendant");
  }

  function choose(number) {
    at = number;
    [...list.children].forEach((each, place) => each.setAttribute("aria-selected", String(place === at)));
    if (at < 0) box.removeAttribute("aria-activedescendant");
    else {
      box.setAttribute("aria-activedescendant", list.children[at].id);
      list.children[at].scrollIntoView({ block: "nearest" });
    }
  }

  function option(hit, number) {
    const item = Object.assign(document.createElement("li"), { id: `suggested-${number}` });
    item.setAttribute("role", "option");
    item.setAttribute("aria-selected", "false");
    const kind = document.createElement("span");
    kind.textContent = hit.kind;
    item.append(kind, hit.value);
    item.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      location.assign(hit.url);
    });
    return item;
  }

  async function suggest() {
    const text = box.value.trim(), number = ++asked;
    if (!text) return close();
    try {
      const url = new URL(box.dataset.suggest, location.href);
      for (const [name, value] of new FormData(box.form)) if (name !== "id") url.searchParams.set(name, value);
      url.searchParams.set("text", text);
      const answer = await fetch(url, { credentials: "same-origin" });
      const hits = answer.ok ? await answer.json() : [];
      if (number !== asked) return;
      found = hits;
    } catch {
      found = [];
    }
    list.replaceChildren(...found.map(option));
    list.hidden = !found.length || document.activeElement !== box;
    at = -1;
    box.removeAttribute("aria-activedescendant");
    box.setAttribute("aria-expanded", String(!list.hidden));
  }

  box.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(suggest, WAIT_MS);
  });
  box.addEventListener("blur", close);
  box.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && !list.hidden) {
      event.preventDefault();
      const many = found.length + 1;
      choose((at + 1 + step + many) % many - 1);
    } else if (event.key === "Enter" && at >= 0 && !list.hidden) {
      event.preventDefault();
      location.assign(found[at].url);
    } else if (event.key === "Escape" && !list.hidden) {
      event.preventDefault();
      close();
    }
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target instanceof Element && event.target.closest("input, select, textarea, summary");
    if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    box.focus();
  });
})();
