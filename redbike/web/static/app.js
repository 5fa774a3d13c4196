// Keeps the page up to date, and helps with the keyboard. Everything works without this file, too.
"use strict";

(() => {
  const body = document.body;
  let seen = body.dataset.print || "";
  let stream = null;
  let isFetching = false;
  let isStale = false;
  let fetchedAt = 0;

  // Make `old` equal to `fresh`, and touch only what differs: so focus, scroll and typed text stay.
  function patch(old, fresh) {
    if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) {
      old.replaceWith(document.importNode(fresh, true));
      return;
    }
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
      return;
    }
    if (old.isEqualNode(fresh)) return;
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
    }
    for (const { name, value } of [...fresh.attributes]) {
      if (old.getAttribute(name) !== value && name !== "open") old.setAttribute(name, value);
    }
    const before = [...old.childNodes];
    const after = [...fresh.childNodes];
    after.forEach((child, index) => {
      if (index < before.length) patch(before[index], child);
      else old.append(document.importNode(child, true));
    });
    before.slice(after.length).forEach((child) => child.remove());
  }

  async function refresh() {
    if (document.hidden) {
      isStale = true;
      return;
    }
    if (isFetching) {
      isStale = true;
      return;
    }
    isFetching = true;
    isStale = false;
    const wait = 1000 - (performance.now() - fetchedAt);
    if (fetchedAt && wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
    fetchedAt = performance.now();
    try {
      const answer = await fetch(location.href, { headers: { "X-Redbike-Live": "1" }, redirect: "error" });
      if (answer.status === 401) location.reload();
      if (answer.ok) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        seen = page.body.dataset.print || "";
        document.querySelectorAll("[data-live]").forEach((section) => {
          const fresh = page.getElementById(section.id);
          if (fresh) patch(section, fresh);
        });
        document.title = page.title;
      }
    } catch {
      // The server is away: the stream says when it is back.
    }
    isFetching = false;
    if (isStale) refresh();
  }

  function open() {
    if (stream || document.hidden || !body.dataset.live) return;
    const query = new URLSearchParams({ page: location.pathname + location.search, seen });
    stream = new EventSource("/events?" + query);
    stream.onmessage = refresh;
    stream.onerror = () => {
      if (stream.readyState === EventSource.CLOSED) {
        close();
        setTimeout(open, 10000);
      }
    };
  }

  function close() {
    if (stream) stream.close();
    stream = null;
  }

  // A hidden page asks for nothing. (A browser has few connections per host for all its tabs.)
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) close();
    else open();
  });
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
  open();

  // The key / goes to the search, as in many lists; j and k go through the rows.
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (/^(INPUT|TEXTAREA|SELECT)$/.test(event.target.nodeName)) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (event.key === "/") {
      const field = document.querySelector("input[type=search]");
      if (field) {
        event.preventDefault();
        field.focus();
        field.select();
      }
    } else if (event.key === "j" || event.key === "k") {
      const links = [...document.querySelectorAll("main tbody a.row")];
      const next = links.indexOf(document.activeElement) + (event.key === "j" ? 1 : -1);
      if (links[next]) links[next].focus();
    }
  });

  // A choice in a filter takes effect at once.
  document.querySelectorAll("form[data-submits] select").forEach((field) => {
    field.addEventListener("change", () => field.form.requestSubmit());
  });

  // The schedule is checked while it is typed.
  const field = document.querySelector("[data-check]");
  if (field) {
    const shown = document.getElementById(field.dataset.check);
    let timer = 0;
    let last = field.value;
    field.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(async () => {
        if (field.value === last) return;
        last = field.value;
        const asked = last;
        try {
          const answer = await fetch("/check?" + new URLSearchParams({ schedule: asked }));
          const page = new DOMParser().parseFromString(await answer.text(), "text/html");
          if (field.value === asked && page.getElementById(shown.id)) patch(shown, page.getElementById(shown.id));
        } catch {
          shown.textContent = "The server does not answer.";
        }
      }, 250);
    });
  }
})();
