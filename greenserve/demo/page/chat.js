// The chat: one WebSocket for as long as somebody is in a room, opened again when it is lost.

const MAX_LINES = 200;
const FIRST_PAUSE = 500; // milliseconds until the first attempt to connect again; each further one waits longer
const LONGEST_PAUSE = 8000;

export function startChat(at, say) {
  let socket = null;
  let me = null;
  let wanted = null; // the room and the name, while somebody wants to be in
  let pause = FIRST_PAUSE;
  let timer;

  at("chat-name").value = `Guest ${100 + Math.floor(Math.random() * 900)}`;

  function open() {
    const here = new URL("chat", location.href);
    here.protocol = here.protocol.replace("http", "ws");
    here.search = new URLSearchParams(wanted);
    const mine = socket = new WebSocket(here);
    mine.onmessage = (event) => { if (socket === mine) hear(JSON.parse(event.data)); };
    mine.onclose = (event) => { if (socket === mine) lost(event); };
  }

  function hear(news) {
    if (news.you) {
      me = news.you;
      pause = FIRST_PAUSE;
      enable(true);
      say("chat-result", ["You are in the ", { strong: wanted.room }, "."]);
    } else if (news.members) {
      present(news.members);
    } else if (news.text) {
      line(news);
    } else if (news.refused) {
      say("chat-result", news.refused, true);
    }
  }

  function lost(event) {
    socket = null;
    enable(false);
    present([]);
    if (!wanted) return;
    say("chat-result", event.code === 1013 ? "This page was too slow. Connecting again …" : "The connection is lost. Connecting again …", true);
    timer = setTimeout(open, pause);
    pause = Math.min(2 * pause, LONGEST_PAUSE);
  }

  function enter(event) {
    event.preventDefault();
    clearTimeout(timer);
    const room = new FormData(at("chat-join")).get("room");
    if (wanted?.room !== room) at("said").replaceChildren();
    wanted = { room, name: at("chat-name").value.trim() };
    const before = socket;
    socket = null; // what the old one still says is not heard
    before?.close(1000);
    enable(false);
    open();
    say("chat-result", "Connecting …");
  }

  function enable(on) {
    at("chat-text").disabled = at("chat-send").disabled = !on;
    at("chat-enter").textContent = on ? "Change" : "Come in";
    if (on) at("chat-text").focus({ preventScroll: true });
  }

  function present(members) {
    at("present-count").textContent = members.length;
    at("present").replaceChildren(...members.map(({ id, name }) => {
      const item = Object.assign(document.createElement("li"), { textContent: id === me ? `${name} (you)` : name });
      item.classList.toggle("me", id === me);
      return item;
    }));
  }

  function line({ id, name, text }) {
    const list = at("said");
    // Whoever has scrolled up to read something is left there.
    const follow = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
    const item = document.createElement("li");
    item.classList.toggle("mine", id === me);
    item.append(Object.assign(document.createElement("b"), { textContent: name }), text);
    list.append(item);
    while (list.childElementCount > MAX_LINES) list.firstElementChild.remove();
    if (follow) list.scrollTop = list.scrollHeight;
  }

  at("chat-join").addEventListener("submit", enter);
  at("chat-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = at("chat-text").value.trim();
    if (!text || socket?.readyState !== WebSocket.OPEN) return;
    socket.send(text);
    at("chat-text").value = "";
  });
}
