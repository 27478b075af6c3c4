// Search over every section of the site: the index is a script beside this one, so it also works from a disk and offline.
(() => {
  "use strict";
  const box = document.querySelector(".site-bar .search"), input = box.querySelector("input"), list = box.querySelector(".results");
  const status = box.querySelector("[role=status]");
  const WORD = /[\p{Script=Han}]|[\p{L}\p{N}@.]*[\p{L}\p{N}@]/gu;
  // British and American spelling are one word: both become the same form, which is never shown.
  const folded = (word) => word.toLowerCase().replace(/is(ation|ations|e|ed|es|ing|er|ers)$/, "iz$1").replace(/our/g, "or").replace(/tre(s|d)?$/, "ter$1");
  const words = (text) => (text.match(WORD) ?? []).map(folded);
  let sections = null, rarity = null;

  function load() {
    if (sections) return Promise.resolve();
    return new Promise((done, failed) => {
      const script = document.createElement("script");
      script.src = "search-index.js";
      script.onload = () => { prepare(window.SEARCH_INDEX); done(); };
      script.onerror = failed;
      document.head.append(script);
    });
  }

  function prepare(index) {
    const seen = new Map();
    sections = index.map(([page, anchor, notebook, heading, text]) => {
      const counts = new Map(), titles = words(`${notebook} ${heading}`);
      for (const word of [...words(text), ...titles]) counts.set(word, (counts.get(word) ?? 0) + 1);
      for (const word of counts.keys()) seen.set(word, (seen.get(word) ?? 0) + 1);
      return { page, anchor, notebook, heading, text, counts, titles: new Set(titles), size: text.length };
    });
    rarity = (word) => Math.log(1 + sections.length / (1 + (seen.get(word) ?? 0)));
  }

  // BM25 with headings worth three mentions; every word must occur, the last one may be unfinished.
  function find(query) {
    const asked = words(query), mean = sections.reduce((sum, s) => sum + s.size, 0) / sections.length;
    const found = [];
    for (const s of sections) {
      let score = 0;
      for (const [i, word] of asked.entries()) {
        const forms = s.counts.has(word) ? [word] : i === asked.length - 1 ? [...s.counts.keys()].filter((w) => w.startsWith(word)) : [];
        if (!forms.length) { score = 0; break; }
        score += Math.max(...forms.map((w) => {
          const n = s.counts.get(w) + (s.titles.has(w) ? 3 : 0);
          return rarity(w) * (n * 2.2) / (n + 1.2 * (0.25 + 0.75 * s.size / mean));
        }));
      }
      // Prose explains; the list of figures only shows.
      if (s.page === "figures.html") score /= 4;
      if (score > 0 && asked.length > 1 && adjacent(s, query)) score *= 1.5;
      if (score > 0) found.push([score, s]);
    }
    return found.sort((a, b) => b[0] - a[0]).slice(0, 12).map(([, s]) => s);
  }

  // Words that stand next to each other as asked, such as the characters of a Chinese term.
  const adjacent = (s, query) => `${s.heading} ${s.text}`.toLowerCase().includes(query.toLowerCase());

  function excerpt(text, asked) {
    const places = [...text.matchAll(WORD)].filter((m) => asked.includes(folded(m[0]))).map((m) => [m.index, m.index + m[0].length]);
    const at = places.length ? places[0][0] : 0;
    const start = Math.max(0, text.lastIndexOf(" ", Math.max(0, at - 60))), end = start + 170;
    const node = document.createElement("small");
    let done = start;
    node.append(start ? "… " : "");
    for (const [from, to] of places.filter(([from, to]) => from >= start && to <= end)) {
      node.append(text.slice(done, from), Object.assign(document.createElement("mark"), { textContent: text.slice(from, to) }));
      done = to;
    }
    node.append(text.slice(done, end));
    return node;
  }

  async function show() {
    const query = input.value.trim(), asked = words(query);
    if (!asked.length) { list.replaceChildren(); status.textContent = ""; return; }
    await load();
    if (input.value.trim() !== query) return;
    const found = find(query);
    list.replaceChildren(...found.map((s) => {
      const item = document.createElement("li"), link = document.createElement("a");
      link.href = s.anchor ? `${s.page}#${encodeURIComponent(s.anchor)}` : s.page;
      link.append(Object.assign(document.createElement("b"), { textContent: s.heading || s.notebook }));
      if (s.heading) link.append(Object.assign(document.createElement("small"), { textContent: s.notebook }));
      link.append(excerpt(s.text, asked));
      item.append(link);
      return item;
    }));
    if (!found.length) list.append(Object.assign(document.createElement("li"), { className: "none", textContent: `Nothing has all of: ${query}` }));
    status.textContent = `${found.length} results`;
  }

  const links = () => [...list.querySelectorAll("a")];
  input.addEventListener("input", show);
  input.addEventListener("focus", () => { load().catch(() => {}); if (input.value) show(); });
  box.addEventListener("keydown", (event) => {
    const all = links(), at = all.indexOf(document.activeElement);
    if (event.key === "ArrowDown" && at < all.length - 1) { all[at + 1].focus(); event.preventDefault(); }
    if (event.key === "ArrowUp") { (at > 0 ? all[at - 1] : input).focus(); event.preventDefault(); }
    if (event.key === "Enter" && document.activeElement === input && all.length) { all[0].click(); event.preventDefault(); }
    if (event.key === "Escape") { list.replaceChildren(); input.focus(); }
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, textarea, select, [contenteditable]");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) { input.focus(); event.preventDefault(); }
  });
  document.addEventListener("click", (event) => {
    if (!box.contains(event.target) || event.target.closest(".results a")) list.replaceChildren();
  });
  const asked = new URLSearchParams(location.search).get("q");
  if (asked) { input.value = asked; show(); }
})();
