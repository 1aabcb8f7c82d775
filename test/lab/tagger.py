"""A VLAN port in user space, for kernels without 802.1Q: frames of INNER leave by OUTER with these tags, and back without.

usage: tagger.py INNER OUTER TPID:VID[,TPID:VID]     outermost first, hexadecimal TPID: 88a8:100,8100:200
"""
import select
import socket
import struct
import sys

SOL_PACKET, PACKET_AUXDATA, VLAN_VALID, TPID_VALID = 263, 8, 0x10, 0x40
inner_name, outer_name, text = sys.argv[1:4]
tags = b"".join(
    struct.pack("!HH", int(tpid, 16), int(vid)) for tpid, vid in (tag.split(":") for tag in text.split(","))
)


def port(name):
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    s.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    s.setsockopt(SOL_PACKET, 23, 1)  # PACKET_IGNORE_OUTGOING
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    s.bind((name, 3))
    return s


def receive(s):
    """The frame as it was on the wire: the kernel keeps the outer tag apart."""
    frame, control, _, _ = s.recvmsg(65536, 256)
    for level, kind, data in control:
        if level == SOL_PACKET and kind == PACKET_AUXDATA:
            status, _, _, _, _, tci, tpid = struct.unpack("IIIHHHH", data[:20])
            if status & VLAN_VALID:
                frame = frame[:12] + struct.pack("!HH", tpid if status & TPID_VALID else 0x8100, tci) + frame[12:]
    return frame


inner, outer = port(inner_name), port(outer_name)
print("ready", flush=True)
while True:
    for s in select.select([inner, outer], [], [])[0]:
        frame = receive(s)
        try:
            if s is inner:
                outer.send(frame[:12] + tags + frame[12:])
            elif frame[12 : 12 + len(tags)] == tags:
                inner.send(frame[:12] + frame[12 + len(tags) :])
        except OSError:
            pass  # too long, or the other side is down: as a switch would
