// The networks, out of the page itself: nothing is fetched. ONNX Runtime Web runs them on one thread.

/** What the exporter wrote about the networks; see export/page.py. */
export function readFacts() {
  return JSON.parse(document.getElementById('facts').textContent);
}

/** A file that lies in the page, gzipped and in base64. */
export async function unpacked(name) {
  const element = document.getElementById(`data-${name}`), packed = atob(element.textContent.trim());
  element.remove();  // its text is not needed twice
  const bytes = new Uint8Array(packed.length);
  for (let k = 0; k < packed.length; k++) bytes[k] = packed.charCodeAt(k);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/**
 * Functions that run the networks: detect, analyse, embed, generate.
 * @param facts of readFacts
 */
export async function openModels(facts) {
  const script = new Blob([await unpacked('runtime-script')], { type: 'text/javascript' });
  const address = URL.createObjectURL(script), ort = await import(address);
  URL.revokeObjectURL(address);
  Object.assign(ort.env.wasm, { numThreads: 1, wasmBinary: (await unpacked('runtime-wasm')).buffer });
  ort.env.logLevel = 'error';
  const open = async (name) => ort.InferenceSession.create(await unpacked(name), { executionProviders: ['wasm'] });
  const detector = await open('detector'), analyser = await open('analyser');
  const embedder = await open('embedder'), generator = await open('generator');
  const run = async (session, inputs) => {
    const tensors = Object.entries(inputs).map(([name, [data, ...shape]]) => [name, new ort.Tensor('float32', data, shape)]);
    const said = await session.run(Object.fromEntries(tensors));
    return Object.fromEntries(Object.entries(said).map(([name, tensor]) => [name, tensor.data]));
  };
  const { size } = facts;
  return {
    detect: (photo, height, width) => run(detector, { photo: [photo, 1, 3, height, width] }),
    analyse: (face) => run(analyser, { face: [face, 1, 3, 128, 128] }),
    embed: async (face) => (await run(embedder, { face: [face, 1, 3, size, size] })).embedding,
    generate: async (target, embedding) => {
      const inputs = { target: [target, 1, 3, size, size], embedding: [embedding, 1, embedding.length] };
      return (await run(generator, inputs)).swapped;
    },
  };
}
