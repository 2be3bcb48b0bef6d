// Draws beside the page, which stays awake. Hears {open} or {draw}; says {loaded}, {model}, {step},
// {picture} or {error}.

import { Pipeline } from "./pipeline.js";

let pipeline;

onmessage = async ({ data }) => {
  try {
    if (data.open) {
      const { folder, provider } = data.open;
      pipeline = await Pipeline.open(folder, provider, (done, all) => {
        postMessage({ loaded: done / all });
      });
      postMessage({ model: pipeline.index });
    } else {
      const told = (done, all) => postMessage({ step: done, steps: all });
      postMessage(await pipeline.draw(data.draw, told));
    }
  } catch (failure) {
    postMessage({ error: String(failure.message ?? failure).replace(/\s+/g, " ") });
  }
};
