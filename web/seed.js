// A sampler that is put on the canvas keeps its seed. The editor would choose another one for every run, with which a job
// that was stopped begins from the start.

import { app } from "../../scripts/app.js";

app.registerExtension({
  name: "infinitetalk.seed",
  nodeCreated(node) {
    if (node.comfyClass !== "InfiniteTalkSampler") return;
    const seed = node.widgets?.find((widget) => widget.name === "seed");
    for (const control of seed?.linkedWidgets ?? []) if (control.value === "randomize") control.value = "fixed";
  },
});
