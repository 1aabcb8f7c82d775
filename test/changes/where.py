"""Sends one frame out of an adapter and prints on which of the others what it contains arrived first.

usage: where.py SEND_IF HEX CONTAINS_HEX WAIT_IF ...
"""
import select
import socket
import sys

send_if, frame, contains, *wait_ifs = sys.argv[1:]
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
out.bind((send_if, 3))
inputs = {}
for name in wait_ifs:
    each = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    each.bind((name, 3))
    inputs[each] = name
wanted = bytes.fromhex(contains)
out.send(bytes.fromhex(frame))
while True:
    ready, _, _ = select.select(list(inputs), [], [], 10)
    if not ready:
        sys.exit("nothing came")
    for each in ready:
        got, where = each.recvfrom(65536)
        if where[2] != socket.PACKET_OUTGOING and wanted in got:
            print(inputs[each])
            sys.exit(0)
