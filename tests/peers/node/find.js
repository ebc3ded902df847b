// Worklist query by a third implementation: node find.js HOST PORT CALLED_AE CALLING_AE [KEY=VALUE ...]
// KEY is a DICOM keyword; ScheduledStationAETitle, ScheduledProcedureStepStartDate and Modality go into the
// Scheduled Procedure Step Sequence. Known: dcmjs-dimse takes 0xFF01 (pending, optional keys unsupported) for a final answer, so wlmscpfs gives it no rows.
// Prints {"rows": [...], "statuses": [...], "problem": null} as JSON.
"use strict";
const { Client, constants, log, requests } = require("dcmjs-dimse");
const { peerFromArguments, run } = require("./outcome.js");

const STEP_KEYS = new Set(["ScheduledStationAETitle", "ScheduledProcedureStepStartDate", "Modality"]);

log.setLevel("silent");
const peer = peerFromArguments("find.js HOST PORT CALLED_AE CALLING_AE [KEY=VALUE ...]");
const keys = {};
const step = {
  ScheduledStationAETitle: "",
  ScheduledProcedureStepStartDate: "",
  ScheduledProcedureStepStartTime: "",
  Modality: "",
  ScheduledProcedureStepDescription: "",
  ScheduledProcedureStepID: "",
};
for (const pair of peer.rest) {
  const [key, ...value] = pair.split("=");
  (STEP_KEYS.has(key) ? step : keys)[key] = value.join("=");
}
const request = requests.CFindRequest.createWorklistFindRequest({
  ...keys,
  ScheduledProcedureStepSequence: [step],
});
const rows = [];
const statuses = [];
request.on("response", (response) => {
  statuses.push(response.getStatus());
  if (response.getStatus() === constants.Status.Pending && response.hasDataset()) {
    rows.push(response.getDataset().getElements());
  }
});
const client = new Client();
client.addRequest(request);
run(client, peer, (problem) => {
  console.log(JSON.stringify({ rows, statuses, problem: problem ?? null }));
  return problem === undefined && statuses.at(-1) === constants.Status.Success ? 0 : 1;
});
