// One request for one picture: its place in the line while it waits, then the answer.

// question: {file, name, task, confidence, expressions, picture}; onAhead(n): n requests come first.
// Throws an Error with the server's line.
export async function ask(question, onAhead, signal) {
  const address = new URL("/predict", location.href);
  const fields = address.searchParams;
  fields.set("task", question.task);
  fields.set("name", question.name.slice(-150));
  if (question.confidence !== undefined) fields.set("confidence", question.confidence);
  for (const text of question.expressions) fields.append("expression", text);
  if (question.picture) fields.set("picture", "true");
  let response;
  try {
    response = await fetch(address, {
      method: "POST", body: question.file, signal,
      headers: { accept: "application/x-ndjson", "content-type": "application/octet-stream" },
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer. Is it still running?");
  }
  if (!response.ok) throw new Error(await lineOf(response));
  for await (const event of eventsOf(response.body)) {
    if (event.answer) return event.answer;
    if (event.error) throw new Error(event.error);
    onAhead(event.ahead);
  }
  throw new Error("The server has stopped before it answered.");
}

async function lineOf(response) {
  const text = await response.text();
  try {
    return JSON.parse(text).error;
  } catch {
    return text || `The server answers with status ${response.status}.`;
  }
}

async function* eventsOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) yield JSON.parse(line);
  }
}
