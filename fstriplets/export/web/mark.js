// The mark that says a picture is synthetic: an XMP packet in PNG and JPEG files, as swapping/containers.py puts it.

const JPEG_HEAD = 'http://ns.adobe.com/xap/1.0/\0', PNG_KEY = 'XML:com.adobe.xmp';

/** A file's bytes with the packet in it; all else untouched. */
export function marked(file, packet) {
  return file[0] === 0xff && file[1] === 0xd8 ? intoJpeg(file, packet) : intoPng(file, packet);
}

function intoJpeg(file, packet) {
  const body = new TextEncoder().encode(JPEG_HEAD + packet), length = body.length + 2;
  const segment = joined([Uint8Array.of(0xff, 0xe1, length >> 8, length & 255), body]);
  let place = 2;
  while (file[place] === 0xff && file[place + 1] === 0xe0) {  // behind JFIF, which must come first
    place += 2 + (file[place + 2] << 8) + file[place + 3];
  }
  return joined([file.subarray(0, place), segment, file.subarray(place)]);
}

function intoPng(file, packet) {
  const body = new TextEncoder().encode(`iTXt${PNG_KEY}\0\0\0\0\0${packet}`);
  const afterHead = 33;  // signature and IHDR
  const chunk = [number(body.length - 4), body, number(checksum(body))];
  return joined([file.subarray(0, afterHead), ...chunk, file.subarray(afterHead)]);
}

/** CRC-32, as PNG has it. */
function checksum(bytes) {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let k = 0; k < 8; k++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}

const number = (value) => Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value);

function joined(parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  parts.reduce((at, part) => (whole.set(part, at), at + part.length), 0);
  return whole;
}
