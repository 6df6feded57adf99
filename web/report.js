// What a node reports as text when it has finished stays on the node: facts about the saved file, and the warning that
// its sound is missing.
//
// The server's progress text cannot do this: newer editors take it away as soon as the job has ended.

import { app } from "../../scripts/app.js";

const NODES = ["SaveVideoWithAudio"];
const WIDGET = "report";
const STYLE = {
  font: "11px sans-serif",
  color: "var(--input-text)",
  overflow: "auto",
  overflowWrap: "anywhere",
  padding: "4px 8px",
  userSelect: "text",
  whiteSpace: "pre-wrap",
};

function reportWidget(node) {
  const known = node.widgets?.find((widget) => widget.name === WIDGET);
  if (known) return known;
  const element = document.createElement("div");
  element.className = "infinitetalk-report";
  Object.assign(element.style, STYLE);
  const widget = node.addDOMWidget(WIDGET, "report", element, {
    serialize: false,
    getMinHeight: () => 50,
    getMaxHeight: () => 50,
    getValue: () => element.textContent,
    setValue: (text) => (element.textContent = text),
  });
  widget.serialize = false;
  return widget;
}

function show(node, output) {
  if (!output?.text?.length) return;
  reportWidget(node).value = output.text.join("\n");
  const [width, height] = node.size;
  node.setSize([width, Math.max(height, node.computeSize()[1])]);
  node.setDirtyCanvas(true, true);
}

app.registerExtension({
  name: "InfiniteTalk.Report",
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (!NODES.includes(nodeData.name)) return;
    const onExecuted = nodeType.prototype.onExecuted;
    nodeType.prototype.onExecuted = function (output) {
      onExecuted?.apply(this, arguments);
      show(this, output);
    };
  },
  // Newer editors bring the outputs back when a tab is opened again.
  onNodeOutputsUpdated(outputs) {
    for (const [id, output] of Object.entries(outputs)) {
      const node = app.graph.getNodeById(id);
      if (node && NODES.includes(node.type)) show(node, output);
    }
  },
});
