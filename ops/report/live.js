"use strict";
const [shown, link, seen, announcement, problem] = ["run", "link", "seen", "announcement", "problem"].map(id => document.getElementById(id));
let last = Date.now(), over = false;
const clock = moment => new Date(moment).toISOString().slice(11, 19) + " UTC";
const showLink = (text, lost) => {
  if (link.textContent !== text) link.textContent = text;
  link.classList.toggle("lost", lost);
};
const lost = () => { if (!over) showLink(`connection lost: this is the state of ${clock(last)}; it is tried again`, true); };
const put = html => {
  const next = document.createElement("div");
  next.innerHTML = html;
  for (const open of shown.querySelectorAll("details[open]")) {
    const same = next.querySelector("#" + open.id);
    if (same) same.open = true;
  }
  const [before, after] = [[...shown.children], [...next.children]];
  if (before.map(it => it.id).join() !== after.map(it => it.id).join()) shown.replaceChildren(...after);
  else before.forEach((it, at) => { if (it.outerHTML !== after[at].outerHTML) it.replaceWith(after[at]); });
  const headline = shown.querySelector("h1").textContent;
  if (announcement.textContent !== headline) announcement.textContent = headline;
};
const hear = (source, name, act) => source.addEventListener(name, event => {
  last = Date.now();
  if (!over) showLink("live", false);
  act(JSON.parse(event.data));
});
const connect = () => {
  const source = new EventSource("events");
  hear(source, "page", data => { document.title = data.title; put(data.html); });
  hear(source, "beat", data => {
    seen.textContent = `last update ${clock(data.at)}`;
    problem.hidden = !data.problem;
    problem.textContent = data.problem || "";
  });
  hear(source, "end", data => { over = true; source.close(); showLink(data.text, false); });
  source.onerror = () => {
    lost();
    if (source.readyState === EventSource.CLOSED && !over) setTimeout(connect, 2000);
  };
};
setInterval(() => { if (Date.now() - last > 15000) lost(); }, 1000);
connect();
