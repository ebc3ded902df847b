// HL7 received by a third implementation: node hl7_server.js HOST PORT CERTIFICATE KEY  (CERTIFICATE "": no TLS; with
// it who calls must show the same one). Answers each message AA and prints it as one line of JSON.
"use strict";
const fs = require("node:fs");
const net = require("node:net");
const { Server } = require("node-hl7-server");

const [host, port, ca, key] = process.argv.slice(2);
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (options, ...more) {
  return listen.call(this, { ...options, host }, ...more); // the package names its address by a word that Node ignores
};
const read = (path) => fs.readFileSync(path);
const tls = ca ? { ca: read(ca), cert: read(ca), key: read(key), requestCert: true } : undefined;
const server = new Server({ bindAddress: host, tls });
const inbound = server.createInbound({ port: Number(port) }, async (request, response) => {
  console.log(JSON.stringify(request.getMessage().toString()));
  await response.sendResponse("AA");
});
for (const event of ["error", "data.error"]) inbound.on(event, (error) => console.error(String(error)));
