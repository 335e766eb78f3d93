"use strict";
const { pairs, methods, metrics, scores } = JSON.parse(document.getElementById("scores").textContent);
const [ours, theirs, order, kind] = ["ours", "theirs", "order", "kind"].map(id => document.getElementById(id));
const pairTable = document.getElementById("pairs"), cardList = document.getElementById("cards");

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
  return made;
}

// A score is null where a method has none.
function difference(pair, one, other, metric) {
  const a = scores[pair][one][metric], b = scores[pair][other][metric];
  return a === null || b === null ? null : a - b;
}

function valueCell(value) {
  return element("td", value === null ? "–" : value.toFixed(3), { "data-key": value ?? "" });
}

function differenceCell(value, metric) {
  const gain = value === null ? null : value * metrics[metric].better;
  const [mark, verdict] = gain === null || !metrics[metric].better ? ["", ""]
    : gain > 0 ? [" ✓", "better"] : gain < 0 ? [" ✗", "worse"] : [" =", "equal"];
  const number = value === null ? "–" : (value < 0 ? "−" : "+") + Math.abs(value).toFixed(3);
  return element("td", number + mark, { "data-key": value ?? "", class: verdict, title: verdict });
}

function fillPairs() {
  pairTable.tBodies[0].replaceChildren(...pairs.map((name, pair) => {
    const row = document.createElement("tr"), head = element("td", "", { "data-key": name });
    head.append(element("a", name, { href: `#pair-${pair}` }));
    row.append(head, ...metrics.flatMap((_, metric) => [
      valueCell(scores[pair][ours.value][metric]),
      differenceCell(difference(pair, ours.value, theirs.value, metric), metric),
    ]));
    return row;
  }));
  const heads = [...pairTable.tHead.rows[0].cells];
  const column = heads.findIndex(head => head.hasAttribute("aria-sort"));
  if (column >= 0) sortRows(pairTable, column, heads[column].getAttribute("aria-sort") === "descending");
}

// How bad a pair is for the first method, or how much worse than for the other; of a score that is neither better
// high nor low, high comes first. What has no score comes last.
function badness(pair) {
  const metric = Number(order.value), sign = -metrics[metric].better || 1;
  const value = kind.value === "value" ? scores[pair][ours.value][metric]
    : difference(pair, ours.value, theirs.value, metric);
  return value === null ? -Infinity : sign * value;
}

function sortCards() {
  const cards = [...cardList.children], by = card => badness(Number(card.dataset.pair));
  const compare = (a, b) => a === b ? 0 : b - a;
  cards.sort((one, other) => compare(by(one), by(other)) || one.dataset.pair - other.dataset.pair)
    .forEach(card => cardList.append(card));
}

function fillFacts(card, sides) {
  const pair = Number(card.dataset.pair), head = document.createElement("tr");
  head.append(...["", ...metrics.map(each => each.name)].map(text => element("th", text, { scope: "col" })));
  const rows = sides.map(method => {
    const row = document.createElement("tr");
    row.append(element("th", methods[method], { scope: "row" }), ...scores[pair][method].map(valueCell));
    return row;
  });
  const last = document.createElement("tr");
  last.append(element("th", "left − right", { scope: "row" }),
    ...metrics.map((_, metric) => differenceCell(difference(pair, ...sides, metric), metric)));
  card.querySelector(".facts").replaceChildren(head, ...rows, last);
}

function describe(card) {
  const slider = card.querySelector("input"), [left, right] = card.querySelectorAll("select");
  card.querySelector(".stack").style.setProperty("--at", `${slider.value}%`);
  slider.setAttribute("aria-valuetext",
    `${slider.value} % ${methods[left.value]}, ${100 - slider.value} % ${methods[right.value]}`);
}

function show(card) {
  const sides = [...card.querySelectorAll("select")].map(select => Number(select.value));
  card.querySelectorAll(".stack img").forEach(image => {
    const method = Number(image.dataset.method), shown = sides.includes(method);
    // The same file as another picture of the card: it is in the page only once.
    if (shown && image.dataset.same && !image.src) {
      image.src = card.querySelector(`[data-file="${image.dataset.same}"]`).src;
    }
    image.classList.toggle("left", method === sides[0]);
    image.classList.toggle("right", method === sides[1]);
    image.hidden = !shown;
  });
  fillFacts(card, sides);
  describe(card);
}

function compare() {
  fillPairs();
  [...cardList.children].forEach(card => {
    [card.querySelector(".choose-left").value, card.querySelector(".choose-right").value] = [ours.value, theirs.value];
    show(card);
  });
  sortCards();
}

[...cardList.children].forEach(card => {
  card.querySelectorAll("select").forEach(select => select.addEventListener("change", () => show(card)));
  card.querySelector("input").addEventListener("input", () => describe(card));
  const image = card.querySelector(".stack img[width]");
  if (image) {
    const aspect = image.getAttribute("width") / image.getAttribute("height");
    card.querySelector(".stack").style.setProperty("--aspect", aspect);
  }
});
[ours, theirs].forEach(select => select.addEventListener("change", compare));
[order, kind].forEach(select => select.addEventListener("change", sortCards));
compare();
