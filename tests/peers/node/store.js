// Storage by a third implementation: node store.js HOST PORT CALLED_AE CALLING_AE FILE...
// Prints {"statuses": [...], "problem": null} as JSON; exit 0 only when every file was answered 0000.
"use strict";
const { Client, constants, log, requests } = require("dcmjs-dimse");
const { peerFromArguments, run } = require("./outcome.js");

log.setLevel("silent");
const peer = peerFromArguments("store.js HOST PORT CALLED_AE CALLING_AE FILE...");
const client = new Client();
const statuses = [];
for (const file of peer.rest) {
  const request = new requests.CStoreRequest(file);
  request.on("response", (response) => statuses.push(response.getStatus()));
  client.addRequest(request);
}
run(client, peer, (problem) => {
  console.log(JSON.stringify({ statuses, problem: problem ?? null }));
  const all = statuses.length === peer.rest.length && statuses.every((s) => s === constants.Status.Success);
  return problem === undefined && all ? 0 : 1;
});
