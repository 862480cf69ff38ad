// A drawing or a photograph as the model sees it, 28x28 white on black: the same steps as `api/prediction/mnist_images.py`
// and `shared/datasets/mnist_form.py`, with the same rounding, so that the server and this page see the same image. (Pillow
// decides by a rule of its own which direction it scales first; where that differs, so do some pixels, by a few levels.)

export const SIDE = 28;

const BOX_SIDE = 20;
const CENTRE = 14; // the pixel at which MNIST's own images have their centre of mass
const MIN_CONTRAST = 32; // of 255: an image with less is blank
const MIN_INK = 0.1; // of the darkest ink: fainter marks are the paper's grain
const LANCZOS_LOBES = 3;
const PRECISION = 2 ** 22; // Pillow's fixed-point numbers

/**
 * Converts an image of one digit, of any colours.
 * @param {{data: Uint8ClampedArray, width: number, height: number}} image RGBA, as `ImageData`
 * @returns {Uint8ClampedArray} 784 pixels, 0 is paper and 255 ink; all 0 if the image is blank
 */
export function toDigit(image) {
  const ink = inkOf(greyOf(image.data));
  let darkest = 0;
  for (const value of ink) if (value > darkest) darkest = value;
  if (darkest < MIN_CONTRAST) return new Uint8ClampedArray(SIDE * SIDE);
  const levels = Uint8ClampedArray.from({ length: 256 }, (_, level) =>
    level < MIN_INK * darkest ? 0 : roundHalfEven(Math.min(level * (255 / darkest), 255)));
  for (let place = 0; place < ink.length; place += 1) ink[place] = levels[ink[place]];
  return toMnistForm(ink, image.width, image.height);
}

/** Luminance, on paper of the colour, black or white, that contrasts with the drawing. */
function greyOf(data) {
  const grey = new Uint8ClampedArray(data.length / 4);
  let isOpaque = true;
  let sum = 0;
  let opacities = 0;
  for (let place = 0; place < grey.length; place += 1) {
    const pixel = 4 * place;
    grey[place] = (data[pixel] * 19_595 + data[pixel + 1] * 38_470 + data[pixel + 2] * 7_471 + 0x8000) >> 16;
    if (data[pixel + 3] !== 255) isOpaque = false;
  }
  if (isOpaque) return grey;
  for (let place = 0; place < grey.length; place += 1) {
    const opacity = data[4 * place + 3] / 255;
    sum += grey[place] * opacity;
    opacities += opacity;
  }
  const paper = sum / Math.max(opacities, 1) < 128 ? 255 : 0;
  for (let place = 0; place < grey.length; place += 1) {
    const opacity = data[4 * place + 3] / 255;
    grey[place] = roundHalfEven(grey[place] * opacity + paper * (1 - opacity));
  }
  return grey;
}

/** Each pixel's difference from the paper, which is most of the image, on the side of the ink. */
function inkOf(grey) {
  const paper = median(grey);
  let lighter = 0;
  let darker = 0;
  for (const value of grey) {
    if (value > paper) lighter += value - paper;
    else darker += paper - value;
  }
  const sign = lighter > darker ? 1 : -1;
  const ink = new Uint8ClampedArray(grey.length); // a clamped array: below 0 is 0
  for (let place = 0; place < grey.length; place += 1) ink[place] = sign * (grey[place] - paper);
  return ink;
}

function median(values) {
  const counts = new Uint32Array(256);
  for (const value of values) counts[value] += 1;
  const at = (rank) => {
    let level = 0;
    for (let seen = counts[0]; seen <= rank; seen += counts[level]) level += 1;
    return level;
  };
  return Math.floor((at(Math.floor((values.length - 1) / 2)) + at(Math.floor(values.length / 2))) / 2);
}

/** Crops the empty margins, scales the rest to fit the box, and moves its centre of mass to the middle. */
function toMnistForm(ink, width, height) {
  const { top, left, bottom, right } = bounds(ink, width, height);
  const crop = { width: right - left, height: bottom - top };
  const longest = Math.max(crop.width, crop.height);
  const scaled = (side) => Math.max(1, roundHalfEven((side * BOX_SIDE) / longest));
  const box = { width: scaled(crop.width), height: scaled(crop.height) };
  const cropped = new Uint8ClampedArray(crop.width * crop.height);
  for (let row = 0; row < crop.height; row += 1) {
    cropped.set(ink.subarray((top + row) * width + left, (top + row) * width + right), row * crop.width);
  }
  const digit = resize(cropped, crop, box);
  const image = new Uint8ClampedArray(SIDE * SIDE);
  if (!digit.some(Boolean)) return image;
  const firstRow = offset(sums(digit, box, (row) => row));
  const firstColumn = offset(sums(digit, box, (_, column) => column));
  for (let row = 0; row < box.height; row += 1) {
    image.set(digit.subarray(row * box.width, (row + 1) * box.width), (firstRow + row) * SIDE + firstColumn);
  }
  return image;
}

function bounds(ink, width, height) {
  const found = { top: height, left: width, bottom: 0, right: 0 };
  for (let row = 0; row < height; row += 1) {
    for (let column = 0; column < width; column += 1) {
      if (ink[row * width + column] === 0) continue;
      if (row < found.top) found.top = row;
      found.bottom = row + 1;
      if (column < found.left) found.left = column;
      if (column >= found.right) found.right = column + 1;
    }
  }
  return found;
}

/** The sum of each line's pixels, rows or columns. */
function sums(pixels, { width, height }, line) {
  const totals = new Float64Array(Math.max(line(height, 0), line(0, width)));
  for (let row = 0; row < height; row += 1) {
    for (let column = 0; column < width; column += 1) totals[line(row, column)] += pixels[row * width + column];
  }
  return totals;
}

/** Where the first line goes so that the centre of mass is in the middle and every line inside. */
function offset(mass) {
  const total = mass.reduce((sum, value) => sum + value, 0);
  const centre = mass.reduce((sum, value, line) => sum + value * line, 0) / total;
  return Math.min(Math.max(roundHalfEven(CENTRE - centre), 0), SIDE - mass.length);
}

/** Pillow's Lanczos filter, in fixed-point numbers: columns first, then rows; of what is tall, rows first. */
function resize(pixels, from, to) {
  if (from.height > 2 * from.width && from.height > to.height) {
    return resizeColumns(resizeRows(pixels, from.width, from.height, to.height), to.height, from.width, to.width);
  }
  return resizeRows(resizeColumns(pixels, from.height, from.width, to.width), to.width, from.height, to.height);
}

function resizeColumns(pixels, lines, from, to) {
  return from === to ? pixels : resizeLines(pixels, lines, { length: from, step: 1, line: from }, { length: to, step: 1, line: to });
}

function resizeRows(pixels, lines, from, to) {
  return from === to ? pixels : resizeLines(pixels, lines, { length: from, step: lines, line: 1 }, { length: to, step: lines, line: 1 });
}

/** Scales each line; `step` is the distance of its pixels, `line` that of the lines. */
function resizeLines(pixels, lines, from, to) {
  const result = new Uint8ClampedArray(lines * to.length);
  for (let place = 0; place < to.length; place += 1) {
    const { first, weights } = lanczos(place, from.length, to.length);
    for (let line = 0; line < lines; line += 1) {
      let sum = PRECISION / 2;
      let source = line * from.line + first * from.step;
      for (let step = 0; step < weights.length; step += 1, source += from.step) sum += weights[step] * pixels[source];
      result[line * to.line + place * to.step] = Math.floor(sum / PRECISION); // a clamped array
    }
  }
  return result;
}

function lanczos(place, fromLength, toLength) {
  const scale = fromLength / toLength;
  const stretch = Math.max(scale, 1);
  const support = LANCZOS_LOBES * stretch;
  const centre = (place + 0.5) * scale;
  const first = Math.max(Math.trunc(centre - support + 0.5), 0);
  const last = Math.min(Math.trunc(centre + support + 0.5), fromLength);
  const raw = Array.from({ length: last - first }, (_, step) => lobe((first + step - centre + 0.5) / stretch));
  const total = raw.reduce((sum, weight) => sum + weight, 0);
  return { first, weights: raw.map((weight) => Math.trunc((weight / total) * PRECISION + (weight < 0 ? -0.5 : 0.5))) };
}

function lobe(x) {
  return x >= -LANCZOS_LOBES && x < LANCZOS_LOBES ? sinc(x) * sinc(x / LANCZOS_LOBES) : 0;
}

function sinc(x) {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

/** Rounds as Python and NumPy do: halves to the even number. */
function roundHalfEven(value) {
  const rounded = Math.round(value);
  return Math.abs(value % 1) === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}
