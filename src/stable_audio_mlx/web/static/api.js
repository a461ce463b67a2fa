// The server: requests, and its stream of news.

export class Failed extends Error {}

export async function call(method, path, body, type = "application/json") {
  let reply;
  try {
    reply = await fetch(path, {
      method,
      body: body === undefined ? undefined : type === "application/json" ? JSON.stringify(body) : body,
      headers: body === undefined ? {} : { "Content-Type": type },
    });
  } catch {
    throw new Failed("The studio does not answer. Is it still running in its terminal?");
  }
  if (reply.status === 204) return null;
  const value = await reply.json().catch(() => null);
  if (!reply.ok) throw new Failed(value?.error?.message ?? `The studio answered with ${reply.status}.`);
  return value;
}

export const get = (path) => call("GET", path);

export const upload = (file) => {
  const type = /^(audio|video)\//.test(file.type) ? file.type : "application/octet-stream";
  return call("POST", `/v1/uploads?name=${encodeURIComponent(file.name)}`, file, type);
};

// Calls `news` with every state, and `lost` when the server is gone; hidden pages give their connection back.
export function follow(news, lost) {
  let source = null;
  const open = () => {
    if (source || document.hidden) return;
    source = new EventSource("/v1/events");
    source.addEventListener("state", (event) => news(JSON.parse(event.data)));
    source.onerror = () => {
      lost();
      if (source?.readyState === EventSource.CLOSED) { source = null; setTimeout(open, 2000); }
    };
  };
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { source?.close(); source = null; } else open();
  });
  window.addEventListener("pagehide", () => { source?.close(); source = null; });
  window.addEventListener("pageshow", open);
  open();
}
