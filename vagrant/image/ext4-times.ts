/**
 * How does a file system that mke2fs made from a folder become the same each time?
 *
 * mke2fs copies the folder's times, and the kernel says when an inode of the folder was last changed: that differs from one build to
 * the next. Here atime, ctime and crtime of every inode become one given time; mtime is the folder's own and stays.
 * Layout: Linux, Documentation/filesystems/ext4/; without metadata_csum and 64bit, so nothing else has to follow.
 *
 *   node ext4-times.ts IMAGE SECONDS
 */
import { closeSync, openSync, readSync, writeSync } from "node:fs";

const [image, seconds] = process.argv.slice(2);
if (image === undefined || !/^\d+$/.test(seconds ?? "")) throw new Error("usage: ext4-times.ts IMAGE SECONDS");
const time = Number(seconds);
const file = openSync(image, "r+");

function read(length: number, position: number): Buffer {
  const bytes = Buffer.alloc(length);
  if (readSync(file, bytes, 0, length, position) !== length) throw new Error(`${image}: ends at ${position}`);
  return bytes;
}

const superblock = read(1024, 1024);
if (superblock.readUInt16LE(56) !== 0xef53) throw new Error(`${image}: no ext4 file system`);
const roCompat = superblock.readUInt32LE(100);
const incompat = superblock.readUInt32LE(96);
if ((roCompat & 0x400) !== 0 || (incompat & 0x80) !== 0) throw new Error(`${image}: has metadata_csum or 64bit`);
const inodes = superblock.readUInt32LE(0);
const blockSize = 1024 << superblock.readUInt32LE(24);
const perGroup = superblock.readUInt32LE(40);
const inodeSize = superblock.readUInt16LE(88);

const groups = Math.ceil(inodes / perGroup);
const descriptors = read(groups * 32, blockSize === 1024 ? 2048 : blockSize);
for (let group = 0; group < groups; group++) {
  const position = descriptors.readUInt32LE(group * 32 + 8) * blockSize;
  const table = read(perGroup * inodeSize, position);
  for (let at = 0; at < table.length; at += inodeSize) {
    if (table.readUInt16LE(at) === 0) continue;
    table.writeUInt32LE(time, at + 8); // i_atime
    table.writeUInt32LE(time, at + 12); // i_ctime
    if (inodeSize > 128) {
      table.writeUInt32LE(0, at + 132); // i_ctime_extra
      table.writeUInt32LE(0, at + 136); // i_mtime_extra
      table.writeUInt32LE(0, at + 140); // i_atime_extra
      table.writeUInt32LE(time, at + 144); // i_crtime
      table.writeUInt32LE(0, at + 148); // i_crtime_extra
    }
  }
  writeSync(file, table, 0, table.length, position);
}
closeSync(file);
