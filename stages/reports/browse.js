"use strict";
(async () => {
  const PAGE = 20;
  const root = document.getElementById("browse");
  const packed = document.getElementById("rows");
  if (!root || !packed) return;
  const status = document.getElementById("found");
  if (typeof DecompressionStream === "undefined") {
    status.textContent = "This browser is too old to search the queries; some are listed below.";
    return;
  }
  const bytes = Uint8Array.from(atob(packed.textContent.trim()), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const data = await new Response(stream).json();
  const [low, high] = data.scale;

  const make = (tag, cls, text) => {
    const node = document.createElement(tag);
    if (cls) node.className = cls;
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const drawn = (name, attributes) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const key in attributes) node.setAttribute(key, attributes[key]);
    return node;
  };
  const words = (text) => text.toLowerCase().match(/[\p{L}\p{N}_]+/gu) || [];
  const marked = (node, text, shared) => {
    for (const piece of text.split(/([\p{L}\p{N}_]+)/u)) {
      if (shared.has(piece.toLowerCase())) node.append(make("mark", "", piece));
      else node.append(piece);
    }
  };
  const picture = (at, says) => {
    const img = make("img", "thumbnail");
    img.src = data.pictures[at];
    img.alt = says || "a picture without a caption";
    return img;
  };
  const place = (score) => Math.min(1, Math.max(0, (score - low) / ((high - low) || 1))) * 100;

  const bar = (score, against, style) => {
    const says = score === null ? "no score" : `score ${score.toFixed(4)}` + (against === null ? "" : `, held against ${against.toFixed(4)}`);
    const svg = drawn("svg", { class: "score", viewBox: "-1 -2 102 12", preserveAspectRatio: "none", role: "img", "aria-label": says });
    svg.append(drawn("rect", { class: "track", width: 100, height: 8, rx: 2 }));
    if (score !== null) svg.append(drawn("rect", { class: `bar ${style}`, width: place(score).toFixed(1), height: 8, rx: 2 }));
    if (against !== null) svg.append(drawn("path", { class: "mark", d: `M${place(against).toFixed(1)} -2V10` }));
    return svg;
  };

  const item = (candidate, style, shared) => {
    const [doc, rank, score] = candidate;
    const against = style === "positives" ? null : candidate[3];
    const [id, title, text, image] = data.documents[doc];
    const li = make("li", "document");
    li.dataset.doc = id;
    const numbers = make("div", "numbers");
    numbers.append(make("span", "rank", rank ? `#${rank}` : "not found"), bar(score, against, style),
      make("span", "value", score === null ? "no score" : score.toFixed(3)));
    if (score !== null && against) {
      const gap = (against - score) / Math.abs(against);
      const says = make("span", "gap", `${gap < 0 ? "−" : "+"}${Math.abs(gap) < 10 ? Math.abs(100 * gap).toFixed(1) : ">1000"}%`);
      says.title = "gap: how far the score lies below that of the positive, as a share of it";
      numbers.append(says);
    }
    const p = make("p", "text");
    if (title) { const strong = make("strong"); marked(strong, title, shared); p.append(strong, " "); }
    marked(p, text, shared);
    const note = make("p", "note");
    note.append(make("code", "", id));
    if (style === "kept" && candidate[4]) { note.append(" · ", make("b", "tag", "sampled")); li.classList.add("sampled"); }
    if (style === "dropped") {
      const [verdict, value, limit] = candidate.slice(4);
      li.dataset.verdict = data.verdicts[verdict];
      note.append(` · ${data.verdicts[verdict]}` + (value === null ? "" : ` ${value.toFixed(3)}`) + (limit === null ? "" : ` against ${limit.toFixed(3)}`));
    }
    li.append(numbers);
    if (image !== undefined) li.append(picture(image, text));
    li.append(p, note);
    return li;
  };

  const list = (name, heading, items, more, shared) => {
    const section = make("section", "list");
    section.dataset.list = name;
    section.append(make("h4", name, heading));
    if (!items.length) section.append(make("p", "note", "none"));
    const ol = make("ol");
    for (const candidate of items) ol.append(item(candidate, name, shared));
    section.append(ol);
    if (more) section.append(make("p", "note", `and ${more.toLocaleString("en")} more`));
    return section;
  };

  const fill = (details, query) => {
    if (details.querySelector(".sides")) return;
    const shared = new Set(query[3].flatMap(([doc]) => words(data.documents[doc].slice(1, 3).join(" "))).filter((w) => w.length > 2));
    const sides = make("div", "sides");
    sides.append(list("positives", "Positives", query[3], 0, new Set()), list("kept", "Negatives kept", query[4], query[6][0], shared),
      list("dropped", "Candidates dropped", query[5], query[6][1], shared));
    details.append(sides);
  };

  const gap = (query) => (query[8] === null ? Infinity : query[8]);
  const orders = { given: () => 0, gap, fewest: (q) => q[4].length + q[6][0], dropped: (q) => -(q[5].length + q[6][1]) };
  const text = data.queries.map((q) => `${q[0]} ${q[1]}`.toLowerCase());
  const deep = new Map();
  const whole = (i) => {
    if (!deep.has(i)) {
      const q = data.queries[i];
      deep.set(i, [...q[3], ...q[4], ...q[5]].map(([doc]) => data.documents[doc].slice(0, 3).join(" ")).join(" ").toLowerCase());
    }
    return deep.get(i);
  };
  const control = (id) => document.getElementById(id);
  const [search, verdict, order, documents, more, results] = ["search", "verdict", "order", "documents", "more", "results"].map(control);
  data.verdicts.forEach((name) => verdict.append(new Option(`something dropped by ${name}`, name)));

  let found = [];
  let shown = 0;
  const extend = () => {
    for (const i of found.slice(shown, shown + PAGE)) {
      const query = data.queries[i];
      const li = make("li");
      const details = make("details", "query");
      details.dataset.query = query[0];
      const summary = make("summary");
      if (query[9] !== undefined) summary.append(picture(query[9], query[1]), " ");
      summary.append(make("span", "asks", query[1]), make("span", "note", `${query[0]} · ${query[2]} · ${query[3].length} ${query[3].length === 1 ? "positive" : "positives"}, ` +
        `${query[4].length + query[6][0]} kept, ${query[5].length + query[6][1]} dropped` +
        (query[7].length ? ` (${query[7].map(([verdict, count]) => `${data.verdicts[verdict]} ${count}`).join(", ")})` : "")));
      details.append(summary);
      details.addEventListener("toggle", () => { if (details.open) fill(details, query); });
      li.append(details);
      results.append(li);
    }
    shown = Math.min(found.length, shown + PAGE);
    more.hidden = shown >= found.length;
    status.textContent = `${found.length.toLocaleString("en")} of ${data.queries.length.toLocaleString("en")} queries` +
      (shown < found.length ? `, the first ${shown} shown` : "");
  };
  const update = () => {
    const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const index = data.verdicts.indexOf(verdict.value);
    found = data.queries.map((_, i) => i).filter((i) => {
      const q = data.queries[i];
      if (verdict.value === "starved" && q[4].length) return false;
      if (index >= 0 && !q[7].some(([verdict]) => verdict === index)) return false;
      return wanted.every((w) => text[i].includes(w) || (documents.checked && whole(i).includes(w)));
    });
    const by = orders[order.value] || orders.given;
    const keys = new Map(found.map((i) => [i, by(data.queries[i])]));
    found.sort((a, b) => (keys.get(a) < keys.get(b) ? -1 : keys.get(a) > keys.get(b) ? 1 : a - b));
    results.replaceChildren();
    shown = 0;
    extend();
  };
  const load = () => {
    const asked = new URLSearchParams(location.hash.slice(1));
    if (asked.has("q")) search.value = asked.get("q");
    if (asked.has("verdict")) verdict.value = asked.get("verdict");
    if (asked.has("order")) order.value = asked.get("order");
    if (asked.has("documents")) documents.checked = asked.get("documents") === "1";
    update();
    const first = asked.has("open") && results.querySelector("details");
    if (first) first.open = true;
  };
  let waits;
  search.addEventListener("input", () => { clearTimeout(waits); waits = setTimeout(update, 120); });
  for (const one of [verdict, order, documents]) one.addEventListener("change", update);
  more.addEventListener("click", () => {
    const at = shown;
    extend();
    results.children[at].querySelector("summary").focus();
  });
  addEventListener("hashchange", () => { if (location.hash.includes("=")) load(); });
  load();
  root.hidden = false;
  const examples = document.getElementById("examples");
  if (examples) examples.hidden = true;
  root.dataset.ready = "1";
})();
