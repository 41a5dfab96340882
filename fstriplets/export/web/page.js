// What is on the screen. One job after the other: the networks share a thread with the page.
import { openModels, readFacts, unpacked } from './models.js';
import { fileOf, readPhoto, show } from './photo.js';
import { makeSwapper } from './swap.js';

const facts = readFacts(), $ = (id) => document.getElementById(id);
const panels = { source: panel('source', false), target: panel('target', true) };
const times = new Map();
let swapper, result, queue = Promise.resolve();

start();

function start() {
  $('model').textContent = facts.about;
  for (const side of Object.values(panels)) listen(side);
  // Beside the frames too: a browser would leave the page and show the photo.
  for (const kind of ['dragover', 'drop']) document.addEventListener(kind, (event) => event.preventDefault());
  $('example').addEventListener('click', example);
  $('swap').addEventListener('click', () => job('Swapping …', swapFaces));
  $('divide').addEventListener('input', divide);
  for (const kind of ['png', 'jpeg']) $(kind).addEventListener('click', () => job('Saving …', () => save(kind)));
  job('Loading the networks …', async () => {
    const models = await openModels(facts).catch((error) => {
      throw new Error(`This browser cannot run the networks (${error.message}). It may be too old.`);
    });
    swapper = makeSwapper(models, facts, (step, ms) => times.set(step, (times.get(step) ?? 0) + ms));
  });
}

/** Runs a job when those before it are done, with a word about it on the screen. */
function job(what, work) {
  queue = queue.then(async () => {
    say(what);
    document.body.setAttribute('aria-busy', 'true');
    await painted();
    let done = '';
    try {
      done = await work();
    } catch (error) {
      done = error.message;
    }
    document.body.removeAttribute('aria-busy');
    say(done || next());
    $('swap').disabled = !ready();
  });
  return queue;
}

function say(text) {
  $('status').textContent = text;
}

/** What the user can do now. */
function next() {
  if (!swapper) return 'The networks are not loaded.';
  const missing = Object.values(panels).filter((side) => !side.faces.length).map((side) => side.name);
  if (missing.length) return `Ready. Choose a photo for the ${missing.join(' and the ')}.`;
  return 'Ready to swap.';
}

const ready = () => Boolean(swapper) && Object.values(panels).every((side) => side.faces.length);

/** Lets the browser show what has changed before a job keeps it busy. */
const painted = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));

// photos

/** One of the two photos. */
function panel(name, several) {
  const part = (selector) => document.querySelector(`#${name} ${selector}`);
  const elements = { root: $(name), input: part('input'), canvas: part('canvas'), list: part('.faces'), note: part('.note') };
  return { name, several, ...elements, photo: null, faces: [], chosen: new Set() };
}

function listen(side) {
  side.input.addEventListener('change', () => {
    const [file] = side.input.files;
    side.input.value = '';  // the same file again is a change too
    if (file) take(side, file);
  });
  side.root.addEventListener('drop', (event) => {
    const [file] = event.dataTransfer.files;
    if (file) take(side, file);
  });
}

/** Reads a photo and finds its faces. */
function take(side, file) {
  return job(`Looking for faces in ${file.name} …`, async () => {
    Object.assign(side, { photo: null, faces: [], chosen: new Set() });
    side.list.replaceChildren();
    side.root.classList.remove('filled');
    side.note.textContent = '';
    forget();
    if (!swapper) throw new Error('The networks could not be loaded; no photo can be read.');
    side.photo = await readPhoto(file);
    show(side.canvas, side.photo.image);
    side.root.classList.add('filled');
    await painted();
    times.clear();
    side.faces = await swapper.find(side.photo);
    side.chosen = new Set(side.faces.slice(0, 1));
    side.times = new Map(times);
    outline(side);
  });
}

/** Frames around the faces, which are buttons where there is a choice. */
function outline(side) {
  const { width, height } = side.photo.image, count = side.faces.length;
  const frames = side.faces.map((face, k) => {
    const [x0, y0, x1, y1] = face.box, frame = document.createElement('button');
    frame.type = 'button';
    frame.disabled = count === 1;
    frame.setAttribute('aria-label', `Face ${k + 1} of ${count}`);
    frame.setAttribute('aria-pressed', String(side.chosen.has(face)));
    const share = { left: x0 / width, top: y0 / height, width: (x1 - x0) / width, height: (y1 - y0) / height };
    for (const [name, value] of Object.entries(share)) frame.style[name] = `${100 * value}%`;
    frame.addEventListener('click', () => choose(side, face));
    return frame;
  });
  side.list.replaceChildren(...frames);
  const which = side.several ? 'choose those to be swapped' : 'choose the one to take';
  const found = count ? (count === 1 ? 'One face found.' : `${count} faces found: ${which}.`)
    : 'No face found. Take a photo that shows one larger, sharper or more from the front.';
  side.note.textContent = side.photo.smaller ? `${found} The photo was made smaller to fit.` : found;
}

function choose(side, face) {
  if (!side.several) side.chosen = new Set([face]);
  else if (!side.chosen.delete(face)) side.chosen.add(face);
  if (!side.chosen.size) side.chosen.add(face);
  [...side.list.children].forEach((frame, k) => {
    frame.setAttribute('aria-pressed', String(side.chosen.has(side.faces[k])));
  });
}

function example() {
  for (const side of Object.values(panels)) {
    job('Opening the example …', async () => {
      side.example ??= new File([await unpacked(`example-${side.name}`)], `${side.name}.jpg`, { type: 'image/jpeg' });
      take(side, side.example);
    });
  }
}

// the result

async function swapFaces() {
  const { source, target } = panels;
  times.clear();
  const [face] = source.chosen;
  const image = await swapper.swap(target.photo, [...target.chosen], await swapper.embed(face));
  result = { image, name: target.photo.name.replace(/\.[^.]*$/, '') };
  show($('before'), target.photo.image);
  show($('after'), image);
  $('divide').value = 100;
  $('result').hidden = false;
  divide();
  const all = [['detect', target.times.get('detect')], ['landmarks', target.times.get('landmarks')], ...times];
  $('times').replaceChildren(...all.flatMap(([step, ms]) => [text('dt', step), text('dd', `${Math.round(ms)} ms`)]));
  $('result').scrollIntoView({ behavior: 'smooth', block: 'nearest' });
  return 'Swapped.';
}

function divide() {
  $('compare').style.setProperty('--part', `${$('divide').value}%`);
}

function forget() {
  result = null;
  $('result').hidden = true;
}

async function save(kind) {
  const file = await fileOf(result.image, `image/${kind}`, facts.packet);
  const link = Object.assign(document.createElement('a'), {
    href: URL.createObjectURL(file), download: `${result.name}-swapped.${kind === 'jpeg' ? 'jpg' : kind}`,
  });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  return `Saved as ${link.download}. The file says that it is synthetic.`;
}

function text(tag, content) {
  return Object.assign(document.createElement(tag), { textContent: content });
}
