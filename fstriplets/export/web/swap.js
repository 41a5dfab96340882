// Swapping the faces of one photo: find -> embed -> swap -> match -> paste. As fstriplets/swapping/swapper.py.
import { analyse, labelsOf, refined } from './analyse.js';
import { detect } from './detect.js';
import { fivePoints, moved, similarity, templatePoints } from './geometry.js';
import { cutOut, planes, raster } from './image.js';
import { faceMask } from './mask.js';
import { matchColour, paste } from './paste.js';
import { copyOf } from './photo.js';

/**
 * What swaps faces.
 * @param models of openModels @param facts of readFacts
 * @param note called with the name of a step and its milliseconds
 */
export function makeSwapper(models, facts, note) {
  const timed = async (name, job) => {
    const start = performance.now(), made = await job();
    note(name, performance.now() - start);
    return made;
  };

  /** Faces of a photo, the largest first: {box, matrix: photo to crop, crop, landmarks: of the crop}. */
  async function find(photo) {
    const found = await timed('detect', () => detect(models.detect, photo.seen));
    return timed('landmarks', async () => {
      const faces = [];
      for (const { box, points } of found) {
        const better = await refined(models.analyse, facts, photo.seen, points);
        const matrix = similarity(fivePoints(better), templatePoints(facts.crop, facts.size));
        faces.push({ box, matrix, crop: cutOut(photo.seen, matrix, facts.size), landmarks: moved(better, matrix) });
      }
      return faces;
    });
  }

  const embed = (face) => timed('embed', () => models.embed(planes(face.crop)));

  /** The photo's ImageData with the source's face on those faces. */
  async function swap(photo, faces, embedding) {
    const image = copyOf(photo.image);
    for (const face of faces) {
      const made = await timed('swap', () => models.generate(planes(face.crop), embedding));
      await timed('paste', async () => {
        const labels = labelsOf(await analyse(models.analyse, facts, face.crop, face.landmarks), facts.size);
        const mask = faceMask(face.crop, labels, sixtyEight(face.landmarks), facts.parts);
        paste(image, matchColour(pixels(made), face.crop, mask), mask, face.matrix);
      });
    }
    return image;
  }

  /** Landmarks of a face for which the analyser has none of its own: the mean face's. */
  const sixtyEight = (points) =>
    points.length === 68 ? points : moved(facts.mean68, similarity(fivePoints(facts.mean68), points));

  /** What the generator gives, [3, S, S] in -1..1, as a raster. */
  function pixels(tensor) {
    const made = raster(facts.size, facts.size), area = facts.size ** 2;
    for (let k = 0; k < area; k++) {
      for (let c = 0; c < 3; c++) {
        made.data[3 * k + c] = Math.min(Math.max(Math.round((tensor[c * area + k] + 1) * 127.5), 0), 255);
      }
    }
    return made;
  }

  return { find, embed, swap };
}
