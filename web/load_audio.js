// Load Audio File gets the player that the graph editor's upload button expects.
//
// The editor adds its upload button to every node whose `audio` input allows uploads, and the button looks for a player
// named `audioUI`. But the editor adds that player to its own Load Audio only (by name); on any other node the button
// fails and the node cannot be made. So the player is added here, in front of the button.

import { app } from "../../scripts/app.js";

app.registerExtension({
  name: "infinitetalk.load_audio",
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (nodeData.name !== "InfiniteTalkLoadAudio") return;
    const inputs = nodeData.input.required;
    delete inputs.upload;
    inputs.audioUI = ["AUDIO_UI", {}];
    inputs.upload = ["AUDIOUPLOAD", {}];
  },
});
