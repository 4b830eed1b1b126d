"use strict";
(() => {
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const number = (value, digits = 0) =>
  value === null ? "–" : value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
const element = (name, text, className = "") => {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
};

// Stretches of one strategy, [code, columns] one after another, as a row of colours.
function drawStretches(canvas, stretches, colours) {
  const total = stretches.reduce((sum, value, i) => sum + (i % 2 ? value : 0), 0);
  const width = canvas.width = Math.round(canvas.clientWidth * devicePixelRatio);
  const height = canvas.height = Math.round(canvas.clientHeight * devicePixelRatio);
  const context = canvas.getContext("2d");
  let at = 0;
  for (let i = 0; i < stretches.length; i += 2) {
    const from = Math.floor(at / total * width);
    at += stretches[i + 1];
    context.fillStyle = colours[stretches[i]];
    context.fillRect(from, 0, Math.max(1, Math.ceil(at / total * width) - from), height);
  }
}

// The table of games

const SHOWN = 200;
const columns = data.columns;
const place = Object.fromEntries(columns.map((column, i) => [column.name, i]));
const table = { sort: place.game, descending: false, shown: SHOWN };
const drawnWhenSeen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    drawnWhenSeen.unobserve(entry.target);
    drawStretches(entry.target, data.timelines[entry.target.dataset.game], data.colours);
  }
});

function matching() {
  const text = $("filter").value.trim().toLowerCase();
  const role = $("role").value, end = $("end").value, least = $("least").value;
  return data.games.map((game, i) => i).filter((i) => {
    const game = data.games[i];
    return (!role || game[place.role] === role) && (!end || game[place.end] === end)
      && (least === "" || game[place.score] >= Number(least))
      && (!text || game.some((value) => typeof value === "string" && value.toLowerCase().includes(text)));
  });
}

// What is not known comes last, whichever way the rest is sorted.
function compare(a, b, sign) {
  if (a === b) return 0;
  if (a === null || b === null) return a === null ? 1 : -1;
  return sign * (typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b);
}

function fill() {
  const rows = matching();
  const sign = table.descending ? -1 : 1;
  rows.sort((a, b) => compare(data.games[a][table.sort], data.games[b][table.sort], sign) || a - b);
  const body = $("table").tBodies[0];
  body.replaceChildren(...rows.slice(0, table.shown).map(row));
  $("count").textContent = `${number(rows.length)} of ${number(data.games.length)}`;
  $("more").hidden = rows.length <= table.shown;
  $("more").textContent = `Show ${number(Math.min(SHOWN, rows.length - table.shown))} more`;
  for (const head of $("table").tHead.rows[0].cells) {
    if (head.dataset.column === String(table.sort)) head.ariaSort = table.descending ? "descending" : "ascending";
    else head.ariaSort = null;
  }
}

function row(game) {
  const made = document.createElement("tr");
  columns.forEach((column, i) => {
    const value = data.games[game][i];
    const text = typeof value === "number" || value === null ? number(value, column.digits) : value;
    const cell = element("td", column.name === "game" ? "" : text, column.class);
    if (column.name === "cause") cell.title = value;
    if (column.name === "game") {
      const film = data.films.indexOf(value);
      if (film < 0) cell.textContent = value;
      else {
        const watch = element("button", `▶ ${value}`);
        watch.type = "button";
        watch.addEventListener("click", () => { player.choose(film); $("player").scrollIntoView(); });
        cell.append(watch);
      }
    }
    made.append(cell);
    if (column.name === "game" && data.timelines) made.append(timeline(game));
  });
  return made;
}

function timeline(game) {
  const cell = element("td", "", "text");
  const canvas = document.createElement("canvas");
  canvas.dataset.game = game;
  cell.append(canvas);
  drawnWhenSeen.observe(canvas);
  return cell;
}

function makeTable() {
  const head = $("table").tHead.rows[0];
  columns.forEach((column, i) => {
    const cell = element("th", "", column.class);
    cell.dataset.column = i;
    const sort = element("button", column.title);
    sort.type = "button";
    sort.addEventListener("click", () => {
      table.descending = table.sort === i ? !table.descending : data.games.some((game) => typeof game[i] === "number");
      table.sort = i;
      fill();
    });
    cell.append(sort);
    head.append(cell);
    if (column.name === "game" && data.timelines) head.append(element("th", "Strategies", "text plain"));
  });
  for (const name of ["role", "end"]) {
    for (const value of [...new Set(data.games.map((game) => game[place[name]]))].sort()) $(name).append(new Option(value, value));
  }
  for (const id of ["filter", "role", "end", "least"]) {
    $(id).addEventListener("input", () => { table.shown = SHOWN; fill(); });
  }
  $("more").addEventListener("click", () => { table.shown += SHOWN; fill(); });
  fill();
}

// The player

const KEYFRAME = 256;
const ROWS = 24, COLUMNS = 80;

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const buffer = await new Response(stream).arrayBuffer();
  const length = new DataView(buffer).getUint32(0, true);
  const film = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  let at = 4 + length;
  for (const [name, size] of film.arrays) {
    film[name] = new Uint8Array(buffer, at, size);
    at += size;
  }
  film.ids = joined(film.ids, 3);
  film.strategyRuns = runs(film.strategy, joined(film.strategyLengths, 3));
  film.substrategyRuns = runs(film.substrategy, joined(film.substrategyLengths, 3));
  film.html = new Array(film.chars.length / COLUMNS);
  keyframes(film);
  return film;
}

// Numbers from their planes of bytes, low ones first.
function joined(planes, count) {
  const size = planes.length / count;
  const values = new Uint32Array(size);
  for (let plane = 0; plane < count; plane++) {
    for (let i = 0; i < size; i++) values[i] |= planes[plane * size + i] << (8 * plane);
  }
  return values;
}

function runs(codes, lengths) {
  const starts = new Uint32Array(codes.length);
  for (let i = 1; i < codes.length; i++) starts[i] = starts[i - 1] + lengths[i - 1];
  return { codes, starts, lengths };
}

// The last of ascending values that is not above one.
function lastNotAbove(values, value) {
  let low = 0, high = values.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (values[middle] <= value) low = middle; else high = middle - 1;
  }
  return low;
}

function keyframes(film) {
  const count = Math.ceil(film.steps / KEYFRAME);
  film.kept = new Uint32Array(count * ROWS);
  film.changesBefore = new Uint32Array(film.steps + 1);
  const state = new Uint32Array(ROWS);
  for (let step = 0, change = 0; step < film.steps; step++) {
    if (step % KEYFRAME === 0) film.kept.set(state, step / KEYFRAME * ROWS);
    for (const end = change + film.counts[step]; change < end; change++) state[film.places[change]] = film.ids[change];
    film.changesBefore[step + 1] = change;
  }
}

// Which rows the screen has at a step.
function stateAt(film, step) {
  const keyframe = Math.floor(step / KEYFRAME);
  const state = film.kept.slice(keyframe * ROWS, (keyframe + 1) * ROWS);
  for (let change = film.changesBefore[keyframe * KEYFRAME]; change < film.changesBefore[step + 1]; change++) {
    state[film.places[change]] = film.ids[change];
  }
  return state;
}

const ESCAPED = { "&": "&amp;", "<": "&lt;", ">": "&gt;" };

function rowHtml(film, id) {
  if (film.html[id] !== undefined) return film.html[id];
  let html = "", colour = -1;
  for (let column = 0; column < COLUMNS; column++) {
    const character = String.fromCharCode(film.chars[id * COLUMNS + column]);
    const wanted = film.colours[id * COLUMNS + column];
    if (character !== " " && wanted !== colour) {
      if (colour >= 0) html += "</span>";
      html += `<span style="color:${data.terminal[wanted]}">`;
      colour = wanted;
    }
    html += ESCAPED[character] ?? character;
  }
  return film.html[id] = colour >= 0 ? html + "</span>" : html;
}

const rowText = (film, id) => String.fromCharCode(...film.chars.subarray(id * COLUMNS, (id + 1) * COLUMNS));

const player = {
  film: null, step: 0, playing: false, since: 0, first: 0, shown: new Array(ROWS).fill(-1),

  async choose(index) {
    this.pause();
    $("film").value = index;
    const chosen = this.chosen = index;
    this.film = null;
    let film;
    try {
      film = await unpack($(`film-${index}`).textContent);
    } catch (error) {
      $("film-title").textContent = `This browser cannot show it (${error.message}).`;
      return;
    }
    if (chosen !== this.chosen) return; // another was chosen meanwhile
    this.film = film;
    this.shown.fill(-1);
    $("film-title").textContent = film.title;
    $("timeline").ariaValueMax = film.steps - 1;
    this.legend();
    this.go(0);
  },

  legend() {
    const steps = new Map();
    const { codes, lengths } = this.film.strategyRuns;
    codes.forEach((code, i) => steps.set(code, (steps.get(code) ?? 0) + lengths[i]));
    const sorted = [...steps].sort((a, b) => b[1] - a[1]);
    $("film-legend").replaceChildren(...sorted.map(([code, count]) => {
      const name = this.film.strategies[code];
      const entry = element("span", `${name} ${number(100 * count / this.film.steps, 1)} %`);
      entry.style.setProperty("--strategy", data.colourOf[name] ?? data.otherColour);
      entry.prepend(document.createElement("i"));
      return entry;
    }));
  },

  go(step) {
    const film = this.film;
    if (!film) return;
    this.step = step = Math.min(Math.max(Math.trunc(step), 0), film.steps - 1);
    const state = stateAt(film, step), rows = $("screen").children;
    for (let row = 0; row < ROWS; row++) {
      if (this.shown[row] !== state[row]) rows[row].innerHTML = rowHtml(film, this.shown[row] = state[row]);
    }
    const cursor = $("cursor").style, style = getComputedStyle($("stage"));
    cursor.top = `calc(${style.paddingTop} + ${1.25 * film.cursors[step]}em)`;
    cursor.left = `calc(${style.paddingLeft} + ${film.cursors[film.steps + step]}ch)`;
    const run = lastNotAbove(film.strategyRuns.starts, step);
    const name = film.strategies[film.strategyRuns.codes[run]];
    $("strategy").textContent = name;
    $("strategy").style.setProperty("--strategy", data.colourOf[name] ?? data.otherColour);
    const sub = film.substrategyRuns.codes[lastNotAbove(film.substrategyRuns.starts, step)];
    $("substrategy").textContent = sub === 255 ? "" : film.substrategies[sub];
    $("action").textContent = film.actionNames[film.actions[step]] ?? "";
    $("reply").textContent = film.replies[step] ?? "";
    $("step").textContent = `step ${number(step)} of ${number(film.steps - 1)}`;
    $("timeline").ariaValueNow = step;
    this.drawTimeline();
  },

  drawTimeline() {
    const film = this.film, canvas = $("timeline");
    if (!film || !canvas.clientWidth) return; // it is drawn when there is room for it
    if (film.width !== canvas.clientWidth) {
      film.width = canvas.clientWidth;
      const { codes, lengths } = film.strategyRuns, stretches = [];
      codes.forEach((code, i) => stretches.push(code, lengths[i]));
      const colours = {};
      for (const [code, name] of Object.entries(film.strategies)) colours[code] = data.colourOf[name] ?? data.otherColour;
      drawStretches(canvas, stretches, colours);
      film.strip = document.createElement("canvas");
      Object.assign(film.strip, { width: canvas.width, height: canvas.height });
      film.strip.getContext("2d").drawImage(canvas, 0, 0);
    }
    const context = canvas.getContext("2d");
    context.drawImage(film.strip, 0, 0);
    const at = (film.steps > 1 ? this.step / (film.steps - 1) : 0) * canvas.width, thick = 2 * devicePixelRatio;
    context.fillStyle = "#000000";
    context.fillRect(at - 1.5 * thick, 0, 3 * thick, canvas.height);
    context.fillStyle = "#ffffff";
    context.fillRect(at - thick / 2, 0, thick, canvas.height);
  },

  play() {
    if (!this.film) return;
    if (this.step === this.film.steps - 1) this.go(0);
    this.playing = true;
    $("play").textContent = "Pause";
    this.restart();
    requestAnimationFrame(() => this.tick());
  },

  pause() {
    this.playing = false;
    $("play").textContent = "Play";
  },

  restart() {
    this.since = performance.now();
    this.first = this.step;
  },

  tick() {
    if (!this.playing) return;
    const step = this.first + Math.floor((performance.now() - this.since) / 1000 * Number($("speed").value));
    if (step > this.step) this.go(step);
    if (this.step === this.film.steps - 1) this.pause();
    else requestAnimationFrame(() => this.tick());
  },

  move(steps) {
    this.pause();
    this.go(this.step + steps);
  },

  change(direction) {
    if (!this.film) return;
    this.pause();
    const { starts } = this.film.strategyRuns;
    let run = lastNotAbove(starts, this.step);
    if (direction > 0) run += 1;
    else if (starts[run] === this.step) run -= 1;
    if (run >= 0 && run < starts.length) this.go(starts[run]);
  },

  find(text) {
    const film = this.film;
    if (!film || !text) return;
    this.pause();
    const wanted = text.toLowerCase(), says = new Map();
    const said = (id) => {
      if (!says.has(id)) says.set(id, rowText(film, id).toLowerCase().includes(wanted));
      return says.get(id);
    };
    let top = stateAt(film, this.step)[0];
    for (let step = this.step + 1; step < film.steps; step++) {
      const before = top;
      for (let change = film.changesBefore[step]; change < film.changesBefore[step + 1]; change++) {
        if (film.places[change] === 0) top = film.ids[change];
      }
      if (said(top) && !said(before)) return this.go(step);
    }
    $("step").textContent = `no further message with “${text}”`;
  },

  seek(event) {
    if (!this.film) return;
    const box = $("timeline").getBoundingClientRect();
    this.go((event.clientX - box.left) / box.width * (this.film.steps - 1));
    this.restart();
  },

  start() {
    for (let row = 0; row < ROWS; row++) $("screen").append(document.createElement("div"));
    $("film").addEventListener("change", () => this.choose(Number($("film").value)));
    $("play").addEventListener("click", () => this.playing ? this.pause() : this.play());
    $("back").addEventListener("click", () => this.move(-1));
    $("on").addEventListener("click", () => this.move(1));
    $("previous").addEventListener("click", () => this.change(-1));
    $("next").addEventListener("click", () => this.change(1));
    $("speed").addEventListener("change", () => this.restart());
    $("search").addEventListener("submit", (event) => { event.preventDefault(); this.find($("message").value.trim()); });
    const timeline = $("timeline");
    timeline.addEventListener("pointerdown", (event) => { timeline.setPointerCapture(event.pointerId); this.seek(event); });
    timeline.addEventListener("pointermove", (event) => { if (event.buttons) this.seek(event); });
    $("player").addEventListener("keydown", (event) => {
      if (event.target.closest("input, select")) return;
      const page = Math.max(1, Math.round((this.film?.steps ?? 0) / 20));
      const keys = {
        ArrowLeft: () => this.move(-1), ArrowRight: () => this.move(1), n: () => this.change(1), p: () => this.change(-1),
        PageUp: () => this.move(-page), PageDown: () => this.move(page), Home: () => this.move(-Infinity), End: () => this.move(1e9),
      };
      if (event.key === " " && event.target.id === "timeline") keys[" "] = () => $("play").click();
      if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
    });
    new ResizeObserver(() => this.film && this.go(this.step)).observe(timeline);
    this.choose(0);
  },
};

makeTable();
if (data.films.length) player.start();
})();
