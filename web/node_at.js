// Where a node is, whatever the server or the editor calls it by.

import { app } from "../../scripts/app.js";

// "12", or "18:12" for node 12 in the subgraph that node 18 is, or "UUID:12" for node 12 in the subgraph UUID.
export function nodeAt(locator) {
  let graph = app.rootGraph ?? app.graph;
  let node;
  for (const id of String(locator).split(":")) {
    node = graph?.getNodeById(id);
    graph = node?.subgraph ?? graph?.subgraphs?.get(id);
  }
  return node;
}
