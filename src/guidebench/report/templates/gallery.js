"use strict";
(() => {
  const content = JSON.parse(document.getElementById("content").textContent);
  const { columns, measures, configs, rows } = content;
  const byId = (id) => document.getElementById(id);
  const grid = byId("grid");
  const panel = byId("panel");

  // As large as lets all methods stand side by side, within the limits of the slider.
  const fitting = Math.round(Math.min(208, Math.max(96, (window.innerWidth - 300) / columns.length - 16)) / 8) * 8;

  // What the controls say. Everything on the page follows from this record, and the address bar keeps it.
  const defaults = { search: "", category: "", seed: "", outcome: "", measure: "", minuend: "0", subtrahend: "",
    ascending: "", hidden: "", size: String(fitting) };
  const state = { ...defaults };

  function element(tag, className, text) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  }

  function option(select, value, text) {
    const node = element("option", "", text);
    node.value = value;
    select.append(node);
  }

  function format(value, signed = false) {
    if (value === null || value === undefined) return "missing";
    const size = Math.abs(value);
    const text = Number.isInteger(value) ? String(value)
      : size >= 1000 ? value.toFixed(0) : size >= 10 ? value.toFixed(1) : size >= 0.001 || size === 0 ? value.toFixed(3)
      : value.toExponential(2);
    return signed && value > 0 ? `+${text}` : text;
  }

  const distinct = (values) => [...new Set(values)].sort((a, b) => typeof a === "number" ? a - b : a < b ? -1 : 1);
  const samples = rows.flatMap((row) => row.samples).filter(Boolean);
  // A metric that only ever is 0 or 1 (or 0 or 100, in percent) is a verdict, shown as a tick and open to filters.
  const top = measures.map((measure, m) => measure.isCost ? 0
    : samples.reduce((largest, sample) => Math.max(largest, sample.values[m]), 0));
  const isBinary = measures.map((_, m) => [1, 100].includes(top[m])
    && samples.every((sample) => [null, 0, top[m]].includes(sample.values[m])));
  const hiddenColumns = () => new Set(state.hidden ? state.hidden.split(",").map(Number) : []);
  const visibleColumns = () => columns.map((_, c) => c).filter((c) => !hiddenColumns().has(c));

  const outcomes = new Map([
    ["", { label: "all samples", keeps: () => true }],
    ["complete", { label: "rows without failures", keeps: (shown) => shown.every((sample) => sample.status === "ok") }],
    ["failed", { label: "rows with a failure", keeps: (shown) => shown.some((sample) => sample.status !== "ok") }],
  ]);
  measures.forEach((measure, m) => {
    if (!isBinary[m]) return;
    const values = (shown) => shown.map((sample) => sample.values[m]).filter((value) => value !== null);
    outcomes.set(`some-${m}`, { label: `${measure.name}: met by some`, keeps: (shown) => values(shown).includes(top[m]) });
    outcomes.set(`none-${m}`, { label: `${measure.name}: met by none`,
      keeps: (shown) => values(shown).length > 0 && !values(shown).includes(top[m]) });
    outcomes.set(`split-${m}`, { label: `${measure.name}: methods disagree`,
      keeps: (shown) => values(shown).includes(0) && values(shown).includes(top[m]) });
  });

  // Rows are built once; sorting moves them and filtering hides them. Images are decoded when they come near.
  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      near.unobserve(entry.target);
      const row = rows[entry.target.dataset.row];
      entry.target.querySelectorAll("img").forEach((image) => {
        image.src = row.samples[image.closest("button").dataset.column].thumbnail;
      });
    }
  }, { root: grid, rootMargin: "800px" });

  function card(row, r, c) {
    const sample = row.samples[c];
    if (!sample) {
      const absent = element("div", "absent");
      absent.dataset.column = c;
      absent.append(element("span", "nothing", "not run"));
      return absent;
    }
    const button = element("button", `sample ${sample.status === "ok" ? "" : "failed"}`);
    button.type = "button";
    button.dataset.column = c;
    button.setAttribute("aria-label", `${columns[c]}, seed ${row.seed}: ${row.prompt}`);
    if (sample.thumbnail) {
      const image = element("img", sample.pixelated ? "pixelated" : "");
      image.alt = "";
      image.loading = "lazy";
      image.decoding = "async";
      image.style.aspectRatio = `${sample.width} / ${sample.height}`;
      button.append(image);
    } else {
      button.append(element("span", "nothing",
        sample.status === "ok" ? sample.problem : `failed: ${sample.failure || "no reason stored"}`));
    }
    const caption = element("span", "caption");
    caption.append(element("span", "name", columns[c]), element("span", "shown"));
    isBinary.forEach((binary, m) => {
      if (!binary || sample.values[m] === null) return;
      const met = sample.values[m] === top[m];
      caption.append(element("span", `tick ${met ? "met" : "unmet"}`, `${met ? "✓" : "✗"} ${measures[m].name}`));
    });
    button.append(caption);
    return button;
  }

  rows.forEach((row, r) => {
    row.order = r;
    row.words = `${row.prompt} ${row.case}`.toLowerCase();
    row.node = element("article", "row");
    row.node.dataset.row = r;
    const about = element("div", "about");
    about.append(element("p", "text", row.prompt),
      element("p", "soft", `${row.category ? `${row.category} · ` : ""}seed ${row.seed}`),
      element("p", "soft", row.case), element("p", "delta"));
    row.node.append(about, ...columns.map((_, c) => card(row, r, c)));
    grid.append(row.node);
    near.observe(row.node);
  });
  let ordered = rows;

  function sortValue(row) {
    const m = Number(state.measure);
    const value = row.samples[Number(state.minuend)]?.values[m] ?? null;
    if (state.subtrahend === "") return value;
    const other = row.samples[Number(state.subtrahend)]?.values[m] ?? null;
    return value === null || other === null ? null : value - other;
  }

  function sort() {
    const sign = state.ascending ? 1 : -1;
    if (state.measure !== "") rows.forEach((row) => { row.value = sortValue(row); });
    ordered = [...rows].sort((a, b) => {
      if (state.measure === "") return state.ascending ? b.order - a.order : a.order - b.order;
      if (a.value === null || b.value === null) return (a.value === null) - (b.value === null) || a.order - b.order;
      return sign * (a.value - b.value) || a.order - b.order;
    });
    const fragment = document.createDocumentFragment();
    ordered.forEach((row) => fragment.append(row.node));
    grid.append(fragment);
  }

  function filter() {
    const words = state.search.toLowerCase().split(/\s+/).filter(Boolean);
    const keeps = outcomes.get(state.outcome).keeps;
    const visible = visibleColumns();
    let kept = 0;
    for (const row of rows) {
      const shown = visible.map((c) => row.samples[c]).filter(Boolean);
      const keep = (!state.category || row.category === state.category)
        && (state.seed === "" || row.seed === Number(state.seed))
        && words.every((word) => row.words.includes(word)) && shown.length > 0 && keeps(shown);
      row.node.hidden = !keep;
      if (keep) kept += 1;
    }
    byId("count").textContent = `${kept} of ${rows.length} rows`;
    byId("empty").hidden = kept > 0;
    byId("heads").hidden = kept === 0;
  }

  function label() {
    const m = state.measure === "" ? 0 : Number(state.measure);
    const hidden = hiddenColumns();
    const difference = state.measure !== "" && state.subtrahend !== "";
    grid.style.setProperty("--n-columns", columns.length - hidden.size);
    grid.style.setProperty("--thumb", `${state.size}px`);
    grid.querySelectorAll("[data-column]").forEach((node) => { node.hidden = hidden.has(Number(node.dataset.column)); });
    for (const row of rows) {
      row.node.querySelectorAll("button").forEach((button) => {
        const sample = row.samples[button.dataset.column];
        const shown = button.querySelector(".shown");
        shown.replaceChildren();
        if (sample.status === "ok" && measures.length && !isBinary[m]) {
          shown.append(element("b", "", format(sample.values[m])), ` ${measures[m].name}`);
        }
      });
      row.node.querySelector(".delta").textContent = difference
        ? `${measures[m].name}, ${columns[state.minuend]} − ${columns[state.subtrahend]}: ${format(row.value, true)}` : "";
    }
    byId("direction").textContent = state.measure === "" ? (state.ascending ? "Z → A" : "A → Z")
      : (state.ascending ? "↑ lowest first" : "↓ highest first");
  }

  function update() {
    sort();
    filter();
    label();
    const changed = Object.entries(state).filter(([key, value]) => value !== defaults[key]);
    history.replaceState(null, "", `#${new URLSearchParams(changed)}`);
  }

  // Controls.
  const bound = ["search", "category", "seed", "outcome", "measure", "minuend", "subtrahend", "size"];
  distinct(rows.map((row) => row.category)).forEach((name) => name && option(byId("category"), name, name));
  distinct(rows.map((row) => row.seed)).forEach((seed) => option(byId("seed"), String(seed), String(seed)));
  outcomes.forEach((outcome, key) => option(byId("outcome"), key, outcome.label));
  measures.forEach((measure, m) => option(byId("measure"), String(m),
    measure.isCost ? measure.name : `${measure.name} ${measure.higherIsBetter ? "↑" : "↓"}`));
  byId("heads").append(element("div", "about", "prompt"));
  columns.forEach((name, c) => {
    option(byId("minuend"), String(c), name);
    option(byId("subtrahend"), String(c), name);
    const chip = element("button", "", name);
    chip.type = "button";
    chip.dataset.chip = c;
    chip.addEventListener("click", () => {
      const hidden = hiddenColumns();
      if (!hidden.delete(c)) hidden.add(c);
      if (hidden.size === columns.length) hidden.clear();
      state.hidden = [...hidden].sort((a, b) => a - b).join(",");
      showState();
      update();
    });
    byId("columns").append(chip);
    const head = element("div", "", name);
    head.dataset.column = c;
    const all = rows.map((row) => row.samples[c]).filter(Boolean);
    const nFailed = all.filter((sample) => sample.status !== "ok").length;
    head.append(element("small", "", `${all.length} samples${nFailed ? `, ${nFailed} failed` : ""}`));
    byId("heads").append(head);
  });

  function showState() {
    bound.forEach((id) => { byId(id).value = state[id]; });
    byId("direction").setAttribute("aria-pressed", String(Boolean(state.ascending)));
    document.querySelectorAll("[data-chip]").forEach((chip) => {
      chip.setAttribute("aria-pressed", String(!hiddenColumns().has(Number(chip.dataset.chip))));
    });
    const sorted = state.measure !== "";
    byId("minuend").disabled = byId("subtrahend").disabled = !sorted;
  }

  bound.forEach((id) => byId(id).addEventListener(byId(id).tagName === "SELECT" ? "change" : "input", (event) => {
    state[id] = event.target.value;
    if (id === "measure" && state.measure !== "") {
      state.ascending = measures[Number(state.measure)].higherIsBetter ? "" : "1";
    }
    showState();
    if (id === "size") label(); else update();
  }));
  byId("direction").addEventListener("click", () => {
    state.ascending = state.ascending ? "" : "1";
    showState();
    update();
  });
  byId("reset").addEventListener("click", () => {
    Object.assign(state, { search: "", category: "", seed: "", outcome: "", hidden: "" });
    showState();
    update();
  });

  // Details panel.
  let current = null;

  function yaml(value, indent = "") {
    if (Array.isArray(value)) {
      if (value.every((entry) => entry === null || typeof entry !== "object")) return ` [${value.map(scalar).join(", ")}]`;
      return value.map((entry) => `\n${indent}-${yaml(entry, `${indent}  `)}`).join("");
    }
    if (value !== null && typeof value === "object") {
      const entries = Object.entries(value);
      return entries.length ? entries.map(([key, entry]) => `\n${indent}${key}:${yaml(entry, `${indent}  `)}`).join("") : " {}";
    }
    return ` ${scalar(value)}`;
  }
  const scalar = (value) => value === null ? "null" : value === "" ? '""' : String(value);

  function open(row, c) {
    current = { row, c };
    const sample = row.samples[c];
    byId("panel-title").textContent = columns[c];
    byId("panel-prompt").textContent = row.prompt;
    byId("panel-where").textContent = [row.category, `seed ${row.seed}`, `case ${row.case}`].filter(Boolean).join(" · ");
    byId("panel-failure").hidden = sample.status === "ok";
    byId("panel-failure").textContent = `This sample failed and is not counted: ${sample.failure || "no reason stored"}`;
    const figure = byId("panel-figure");
    figure.replaceChildren();
    if (sample.thumbnail) {
      const image = element("img", sample.pixelated ? "pixelated" : "");
      image.alt = row.prompt;
      image.addEventListener("error", () => { image.src = sample.thumbnail; }, { once: true });
      image.src = sample.href;
      const link = element("a", "", "original file");
      link.href = sample.href;
      const caption = element("figcaption");
      caption.append(link, `, ${sample.width} × ${sample.height}`);
      figure.append(image, caption);
    } else {
      figure.append(element("div", "nothing", sample.status === "ok" ? sample.problem : "failed"));
    }
    const table = byId("panel-measures");
    const heads = element("tr");
    heads.append(element("th", "", ""));
    const visible = visibleColumns();
    visible.forEach((other) => heads.append(element("th", other === c ? "current" : "", columns[other])));
    table.replaceChildren(heads);
    measures.forEach((measure, m) => {
      const line = element("tr");
      line.append(element("th", "", measure.isCost ? measure.name : `${measure.name} ${measure.higherIsBetter ? "↑" : "↓"}`));
      visible.forEach((other) => line.append(element("td", other === c ? "current" : "",
        row.samples[other] ? format(row.samples[other].values[m]) : "not run")));
      table.append(line);
    });
    byId("panel-config").querySelector("summary").textContent = `Config ${sample.config.slice(0, 12)}`;
    byId("panel-config").querySelector("pre").textContent = yaml(configs[sample.config]).trim();
    if (!panel.open) panel.showModal();
    panel.scrollTop = 0;
  }

  const shownRows = () => ordered.filter((row) => !row.node.hidden);

  // The next sample from (row, c) in a direction, over visible rows and columns; null at the edge.
  function neighbour(row, c, dx, dy) {
    const columnsShown = visibleColumns();
    const rowsShown = shownRows();
    let x = columnsShown.indexOf(c) + dx, y = rowsShown.indexOf(row) + dy;
    while (columnsShown[x] !== undefined && rowsShown[y] !== undefined) {
      if (rowsShown[y].samples[columnsShown[x]]) return { row: rowsShown[y], c: columnsShown[x] };
      x += dx;
      y += dy;
    }
    return null;
  }

  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const button = ({ row, c }) => row.node.querySelector(`button[data-column="${c}"]`);

  grid.addEventListener("click", (event) => {
    const target = event.target.closest("button.sample");
    if (target) open(rows[target.closest(".row").dataset.row], Number(target.dataset.column));
  });
  grid.addEventListener("keydown", (event) => {
    const target = event.target.closest("button.sample");
    if (!target || !arrows[event.key]) return;
    event.preventDefault();
    const next = neighbour(rows[target.closest(".row").dataset.row], Number(target.dataset.column), ...arrows[event.key]);
    if (next) button(next).focus();
  });
  panel.addEventListener("keydown", (event) => {
    if (!arrows[event.key] || event.target.closest("pre")) return;
    event.preventDefault();
    const next = neighbour(current.row, current.c, ...arrows[event.key]);
    if (next) open(next.row, next.c);
  });
  panel.addEventListener("close", () => button(current).focus());
  panel.addEventListener("click", (event) => { if (event.target === panel) panel.close(); });
  byId("panel-close").addEventListener("click", () => panel.close());
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.target.closest("input, select, dialog")) return;
    event.preventDefault();
    byId("controls").open = true;
    byId("search").focus();
  });

  // Start from the address, ignoring what no longer exists on this page.
  new URLSearchParams(location.hash.slice(1)).forEach((value, key) => {
    const control = byId(key);
    if (!(key in state)) return;
    if (control?.tagName === "SELECT" && ![...control.options].some((entry) => entry.value === value)) return;
    if (key === "hidden" && !/^\d+(,\d+)*$/.test(value)) return;
    state[key] = value;
  });
  byId("controls").open = window.matchMedia("(min-width: 761px)").matches;
  const nFailed = samples.filter((sample) => sample.status !== "ok").length;
  const totals = `${distinct(rows.map((row) => row.case)).length} cases × ${distinct(rows.map((row) => row.seed)).length} seeds`
    + ` × ${columns.length} methods, ${samples.length} samples${nFailed ? `, ${nFailed} failed` : ""}`;
  byId("summary").textContent = [byId("summary").textContent, totals].filter(Boolean).join(" · ");
  showState();
  update();
})();
