// The same in Node (onnxruntime-node) or a browser (onnxruntime-web):
// node predict.mjs model.onnx image.ppm labels.pgm
import fs from 'node:fs'
import * as ort from 'onnxruntime-node'

export async function semanticLabels(session, rgb, height, width) {
  const image = new Float32Array(3 * height * width) // channels first, 0 to 255
  for (let p = 0; p < height * width; p++)
    for (let c = 0; c < 3; c++) image[c * height * width + p] = rgb[3 * p + c]
  const tasks = BigInt64Array.from([2n]) // 0n panoptic, 1n instance, 2n semantic; or all of them
  const { class_logits, mask_logits } = await session.run({
    image: new ort.Tensor('float32', image, [1, 3, height, width]),
    tasks: new ort.Tensor('int64', tasks, [1, tasks.length]),
  })
  const [, , Q, classes] = class_logits.dims // the last class is "no object"
  const K = classes - 1, pixels = (height / 4) * (width / 4)
  const weights = []
  for (let q = 0; q < Q; q++) {
    const e = class_logits.data.slice(q * classes, (q + 1) * classes).map(Math.exp)
    const sum = e.reduce((a, b) => a + b)
    weights.push(e.map((value) => value / sum))
  }
  const labels = new Uint8Array(pixels)
  for (let p = 0; p < pixels; p++) {
    const scores = new Float32Array(K)
    for (let q = 0; q < Q; q++) {
      const inside = 1 / (1 + Math.exp(-mask_logits.data[q * pixels + p]))
      for (let k = 0; k < K; k++) scores[k] += weights[q][k] * inside
    }
    labels[p] = scores.indexOf(Math.max(...scores))
  }
  return labels
}

const [model, input, output] = process.argv.slice(2)
const bytes = fs.readFileSync(input)
const [, width, height] = bytes.toString('latin1').match(/^P6\s+(\d+)\s+(\d+)\s+255\s/).map(Number)
const session = await ort.InferenceSession.create(model)
const rgb = bytes.subarray(bytes.length - 3 * width * height)
const labels = await semanticLabels(session, rgb, height, width)
const header = Buffer.from(`P5\n${width / 4} ${height / 4}\n255\n`)
fs.writeFileSync(output, Buffer.concat([header, labels]))
