// HL7 by a third implementation: node hl7.js HOST PORT CERTIFICATE KEY FILE...  (CERTIFICATE "": no TLS)
// Sends the UTF-8 messages one after the other on one connection and prints {"answers": [...], "problem": null}
// as JSON; exit 0 only when each was answered.
"use strict";
const fs = require("node:fs");
const { Client, Message } = require("node-hl7-client");

const [host, port, ca, key, ...files] = process.argv.slice(2);
const read = (path) => fs.readFileSync(path);
const tls = ca ? { ca: read(ca), cert: read(ca), key: read(key), servername: "localhost" } : undefined;
const client = new Client({ host, tls });
const answers = [];
let sent = 0;

function end(problem) {
  console.log(JSON.stringify({ answers, problem }));
  process.exit(problem === null ? 0 : 1);
}

function next() {
  if (sent === files.length) return end(null);
  return connection.sendMessage(new Message({ text: read(files[sent++]).toString("utf8") }));
}

const connection = client.createOutbound({ port: Number(port), waitAck: true }, (response) => {
  answers.push(response.getMessage().toString());
  next();
});
connection.on("error", (error) => end(`error: ${error}`));
connection.on("end", () => end("the gateway ended the connection"));
connection.on("client.connect", next);
setTimeout(() => end("no answer in time"), 20000);
