// What both scripts share: arguments, and one way to end. Exit 0 only when the peer answered as asked.
"use strict";

function peerFromArguments(usage) {
  const [host, port, calledAE, callingAE, ...rest] = process.argv.slice(2);
  if (!callingAE || !Number.isInteger(Number(port))) {
    console.error(`usage: ${usage}`);
    process.exit(2);
  }
  return { host, port: Number(port), calledAE, callingAE, rest };
}

// Sends what `client` holds and calls `finish` once, whatever way the association ends.
function run(client, peer, finish) {
  let ended = false;
  const end = (problem) => {
    if (ended) return;
    ended = true;
    process.exitCode = finish(problem);
  };
  client.on("networkError", (error) => end(`network: ${error.message}`));
  client.on("associationRejected", () => end("association rejected"));
  client.on("closed", () => end(undefined));
  client.send(peer.host, peer.port, peer.callingAE, peer.calledAE);
}

module.exports = { peerFromArguments, run };
