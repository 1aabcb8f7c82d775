/**
 * How is a backup kept from whoever finds it?
 *
 *   magic · salt · { length and last flag (4 octets) · AES-256-GCM of at most 64 KiB · tag (16) } …
 *
 * The key comes from the passphrase by scrypt (RFC 7914, N = 2^15). Each piece is sealed with its number and with whether it is the
 * last, so that none can be changed, moved, left out or cut off without being noticed. Both directions stream.
 */
import { createCipheriv, createDecipheriv, randomBytes, scryptSync } from "node:crypto";

const magic = Buffer.from("OFFRAMP-SEALED-1");
const saltOctets = 16;
const pieceOctets = 64 * 1024;
const tagOctets = 16;
const lastFlag = 0x8000_0000;

export class SealError extends Error {}

export const isSealed = (head: Buffer): boolean => head.subarray(0, magic.length).equals(magic);

const keyOf = (passphrase: string, salt: Buffer): Buffer =>
  scryptSync(passphrase.normalize("NFC"), salt, 32, { N: 2 ** 15, r: 8, p: 1, maxmem: 64 << 20 });

function nonceOf(piece: number): Buffer {
  const nonce = Buffer.alloc(12);
  nonce.writeBigUInt64BE(BigInt(piece), 4);
  return nonce;
}

/** Whatever comes, in pieces of exactly `octets`; the last may be shorter, or empty, and says that it is the last. */
async function* pieces(source: AsyncIterable<Buffer>, octets: number): AsyncGenerator<[Buffer, boolean]> {
  let rest: Buffer[] = [];
  let have = 0;
  for await (const chunk of source) {
    rest.push(chunk);
    have += chunk.length;
    if (have <= octets) continue;
    let whole = Buffer.concat(rest);
    while (whole.length > octets) {
      yield [whole.subarray(0, octets), false];
      whole = whole.subarray(octets);
    }
    rest = [whole];
    have = whole.length;
  }
  yield [Buffer.concat(rest), true];
}

export async function* seal(source: AsyncIterable<Buffer>, passphrase: string): AsyncGenerator<Buffer> {
  const salt = randomBytes(saltOctets);
  const key = keyOf(passphrase, salt);
  yield Buffer.concat([magic, salt]);
  let number = 0;
  for await (const [piece, last] of pieces(source, pieceOctets)) {
    const head = Buffer.alloc(4);
    head.writeUInt32BE((piece.length | (last ? lastFlag : 0)) >>> 0);
    const cipher = createCipheriv("aes-256-gcm", key, nonceOf(number)).setAAD(head);
    yield Buffer.concat([head, cipher.update(piece), cipher.final(), cipher.getAuthTag()]);
    number += 1;
  }
}

/** @throws SealError for another passphrase, and for whatever has been changed or cut off */
export async function* unseal(source: AsyncIterable<Buffer>, passphrase: string): AsyncGenerator<Buffer> {
  const wrong = () => new SealError("another passphrase, or the file is damaged");
  let held: Buffer = Buffer.alloc(0);
  let key: Buffer | undefined;
  let number = 0;
  let ended = false;
  for await (const chunk of source) {
    held = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
    if (!key) {
      if (held.length < magic.length + saltOctets) continue;
      if (!isSealed(held)) throw new SealError("it is no sealed backup");
      key = keyOf(passphrase, held.subarray(magic.length, magic.length + saltOctets));
      held = held.subarray(magic.length + saltOctets);
    }
    while (held.length >= 4) {
      const head = held.readUInt32BE();
      const octets = head & ~lastFlag;
      if (ended || octets > pieceOctets) throw wrong();
      const end = 4 + octets + tagOctets;
      if (held.length < end) break;
      const open = createDecipheriv("aes-256-gcm", key, nonceOf(number)).setAAD(held.subarray(0, 4));
      open.setAuthTag(held.subarray(4 + octets, end));
      try {
        yield Buffer.concat([open.update(held.subarray(4, 4 + octets)), open.final()]);
      } catch {
        throw wrong();
      }
      ended = (head & lastFlag) !== 0;
      held = held.subarray(end);
      number += 1;
    }
  }
  if (!ended || held.length > 0) throw new SealError("the file is cut off");
}
