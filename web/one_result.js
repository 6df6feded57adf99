// A saved video is one result. History names its file twice, under core's key `images` and under `gifs` for API clients
// that read VideoHelperSuite's, and the app mode of newer editors would show two videos.

import { api } from "../../scripts/api.js";

const sameFile = (one, other) => ["filename", "subfolder", "type"].every((key) => one?.[key] === other?.[key]);

function once(output) {
  if (!Array.isArray(output?.images) || !Array.isArray(output.gifs)) return;
  output.gifs = output.gifs.filter((gif) => !output.images.some((image) => sameFile(image, gif)));
}

// Capturing: in front of the editor's own listeners.
api.addEventListener("executed", ({ detail }) => once(detail.output), { capture: true });
