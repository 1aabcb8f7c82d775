"""Frames for test/ebpf: sends one out of an adapter, waits for one on another, prints it in hexadecimal.

usage: wire.py SEND_IF HEX WAIT_IF CONTAINS_HEX
"""
import socket
import struct
import sys
import time

send_if, frame, wait_if, contains = sys.argv[1:5]
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
out.bind((send_if, 3))
inp = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
inp.bind((wait_if, 3))
inp.setsockopt(263, 8, 1)  # SOL_PACKET, PACKET_AUXDATA: the kernel keeps the outer tag apart
inp.settimeout(0.2)
wanted = bytes.fromhex(contains)
out.send(bytes.fromhex(frame))
end = time.time() + 5
while time.time() < end:
    try:
        got, control, _, where = inp.recvmsg(65536, 256)
    except TimeoutError:
        continue
    for _, _, data in control:
        status, _, _, _, _, tci, tpid = struct.unpack("IIIHHHH", data[:20])
        if status & 0x10:  # TP_STATUS_VLAN_VALID
            got = got[:12] + struct.pack("!HH", tpid, tci) + got[12:]
    if where[2] != socket.PACKET_OUTGOING and wanted in got:
        print(got.hex())
        sys.exit(0)
sys.exit("nothing came")
