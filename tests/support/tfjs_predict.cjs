// Loads a model by TensorFlow.js and prints its outputs: node tfjs_predict.cjs FOLDER URL [KEY] < images.json
// FOLDER has `@tensorflow/tfjs` installed; images.json has images as rows of pixels from 0 to 1.
const { createRequire } = require('node:module');
const { readFileSync } = require('node:fs');

const [folder, url, key] = process.argv.slice(2);
const tf = createRequire(`${folder}/`)('@tensorflow/tfjs');

async function main() {
  const requestInit = key ? { headers: { Authorization: `Bearer ${key}` } } : {};
  const model = await tf.loadLayersModel(url, { requestInit });
  const images = JSON.parse(readFileSync(0, 'utf8'));
  const outputs = model.predict(tf.tensor(images).reshape([images.length, 28, 28, 1]));
  const layers = model.layers.map((layer) => [layer.getClassName(), layer.name, layer.countParams()]);
  process.stdout.write(JSON.stringify({ version: tf.version.tfjs, layers, outputs: outputs.arraySync() }));
}

main();
